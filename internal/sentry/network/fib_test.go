package network

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// twoLinks returns a network with two links, whose hosts .2 are gateways.
func twoLinks(t *testing.T) (n *Namespace, a, b int32) {
	t.Helper()
	n = Loopback()
	pair(t, n, NewLink{Name: "a"}, n, NewLink{Name: "a2"})
	pair(t, n, NewLink{Name: "b"}, n, NewLink{Name: "b2"})
	for _, name := range []string{"a2", "b2"} {
		ok(t, n.SetUp(named(t, n, name).Index, true))
	}
	up(t, n, "a", "10.1.0.1/24")
	up(t, n, "b", "10.2.0.1/24")
	return n, named(t, n, "a").Index, named(t, n, "b").Index
}

func mark(mark, table uint32) RuleInfo {
	return RuleInfo{Family: unix.AF_INET, Action: unix.FR_ACT_TO_TBL, Mark: mark, Mask: 0xffffffff, Table: table, Suppress: -1}
}

// TestSteeringEnds: with the last rule, and the last route that refuses, the stack has its table again.
func TestSteeringEnds(t *testing.T) {
	n, a, b := twoLinks(t)
	ok(t, n.AddRoute(RouteInfo{Destination: netip.MustParsePrefix("10.9.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.2"), Type: unix.RTN_UNICAST}, RouteCreate))
	ok(t, n.AddRoute(RouteInfo{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.2.0.2"), Table: 100, Type: unix.RTN_UNICAST}, RouteCreate))
	before := n.Stack().GetRouteTable()
	k := RouteKey{To: netip.MustParseAddr("10.9.0.1"), Mark: 7}
	if link, _, err := n.Way(k); link != 0 || err != nil {
		t.Errorf("not steered: %d, %v", link, err)
	}
	ok(t, n.AddRule(mark(7, 100), false, true))
	if link, source, err := n.Way(k); link != b || source != netip.MustParseAddr("10.2.0.1") || err != nil {
		t.Errorf("by the rule: %d, %v, %v", link, source, err)
	}
	if link, _, err := n.Way(RouteKey{To: k.To}); link != a || err != nil {
		t.Errorf("beside the rule: %d, %v", link, err)
	}
	blackhole := RouteInfo{Destination: netip.MustParsePrefix("10.9.1.0/24"), Type: unix.RTN_BLACKHOLE}
	ok(t, n.AddRoute(blackhole, RouteCreate))
	ok(t, n.DeleteRule(func(r *RuleInfo) bool { return r.Mark == 7 }))
	if _, _, err := n.Way(RouteKey{To: netip.MustParseAddr("10.9.1.1")}); err != unix.EINVAL {
		t.Errorf("a blackhole: %v", err)
	}
	blackhole.Scope = unix.RT_SCOPE_NOWHERE
	ok(t, n.DeleteRoute(blackhole))
	if n.Steered() {
		t.Error("it is steered still")
	}
	after := n.Stack().GetRouteTable()
	if len(after) != len(before) {
		t.Fatalf("the table was %v and is %v", before, after)
	}
	for i := range after {
		if !after[i].Equal(before[i]) {
			t.Errorf("route %d was %v and is %v", i, before[i], after[i])
		}
	}
}

// TestHopsByWeight: of many flows each hop gets what its weight says, and what lies beyond a link that is down none.
func TestHopsByWeight(t *testing.T) {
	n, a, b := twoLinks(t)
	ok(t, n.AddRoute(RouteInfo{Destination: netip.MustParsePrefix("10.9.0.0/16"), Type: unix.RTN_UNICAST, Hops: []NextHop{
		{Gateway: netip.MustParseAddr("10.1.0.2"), Weight: 3}, {Gateway: netip.MustParseAddr("10.2.0.2"), Weight: 1},
	}}, RouteCreate))
	count := func() map[int32]int {
		links := map[int32]int{}
		for i := range 4000 {
			link, _, err := n.Way(RouteKey{To: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), From: netip.Addr{}})
			if err != nil {
				t.Fatal(err)
			}
			links[link]++
		}
		return links
	}
	if c := count(); c[a] < 2700 || c[a] > 3300 || c[a]+c[b] != 4000 {
		t.Errorf("3 to 1: %v", c)
	}
	ok(t, n.SetUp(b, false))
	if c := count(); c[a] != 4000 {
		t.Errorf("with one link: %v", c)
	}
	ok(t, n.SetUp(a, false))
	if n.Steered() {
		t.Errorf("without links there are routes: %v", n.Routes())
	}
}

// TestRulesAreBounded: there is an end to rules, and to where they jump.
func TestRulesAreBounded(t *testing.T) {
	n := Loopback()
	var err error
	added := 0
	for ; err == nil; added++ {
		err = n.AddRule(RuleInfo{Family: unix.AF_INET6, Action: unix.FR_ACT_GOTO, Priority: uint32(added + 1), Target: uint32(added + 2), Suppress: -1}, true, true)
	}
	if !errors.Is(err, unix.ENOSPC) || added > maxRules {
		t.Errorf("%d rules, %v", added, err)
	}
	if _, _, err := n.Way(RouteKey{To: netip.MustParseAddr("2001:db8::1")}); err != unix.ENETUNREACH {
		t.Errorf("after all rules: %v", err)
	}
	for range added {
		n.DeleteRule(func(r *RuleInfo) bool { return r.Action == unix.FR_ACT_GOTO })
	}
	if n.Steered() {
		t.Error("it is steered without rules")
	}
}
