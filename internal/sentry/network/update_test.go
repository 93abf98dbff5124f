package network

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	hostlink "coffer/internal/link"

	"golang.org/x/sys/unix"
)

// given is an interface that leads out, over a socket.
func given(t *testing.T, name string, addresses ...string) Interface {
	i, _ := givenWith(t, name, addresses...)
	return i
}

// givenWith returns the socket's other end too, which is closed with the test.
func givenWith(t *testing.T, name string, addresses ...string) (Interface, *os.File) {
	t.Helper()
	f, other, err := hostlink.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	i := kept(name, addresses...)
	if i.FD, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return i, other
}

// kept is one that the network has already.
func kept(name string, addresses ...string) Interface {
	i := Interface{Name: name, HardwareAddr: "02:00:00:00:00:01", MTU: 1500, Link: LinkPacket, FD: -1}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return i
}

func route(to, via, name string) Route {
	r := Route{Destination: netip.MustParsePrefix(to), Interface: name}
	if via != "" {
		r.Gateway = netip.MustParseAddr(via)
	}
	return r
}

// has tells the addresses, and the routes that take a gateway, of all interfaces but lo.
func has(n *Namespace) string {
	var list []string
	for _, a := range n.Addresses() {
		if l, _ := n.LinkByIndex(a.Link); l.Name != "lo" {
			list = append(list, l.Name+" "+a.Prefix.String())
		}
	}
	for _, r := range n.Routes() {
		if r.Gateway.IsValid() {
			list = append(list, r.Destination.String()+" via "+r.Gateway.String())
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func TestUpdate(t *testing.T) {
	n := Loopback()
	t.Cleanup(func() { n.Close(0) })
	expect := func(want string) {
		t.Helper()
		if got := has(n); got != want {
			t.Errorf("there is %q, and not %q", got, want)
		}
	}
	ok(t, n.Update(Config{Interfaces: []Interface{given(t, "eth0", "10.1.0.2/24")}, Routes: []Route{route("0.0.0.0/0", "10.1.0.1", "eth0")}}))
	expect("0.0.0.0/0 via 10.1.0.1, eth0 10.1.0.2/24")
	eth0 := named(t, n, "eth0").Index

	// What programs change stays, as long as it is not changed from outside.
	ok(t, n.AddAddress(AddressInfo{Link: eth0, Prefix: netip.MustParsePrefix("10.3.0.2/24")}))
	ok(t, n.DeleteRoute(RouteInfo{Destination: netip.MustParsePrefix("0.0.0.0/0"), Scope: unix.RT_SCOPE_NOWHERE}))
	second := []Interface{kept("eth0", "10.1.0.2/24"), given(t, "eth1", "10.2.0.2/24")}
	ok(t, n.Update(Config{Interfaces: second, Routes: []Route{route("0.0.0.0/0", "10.1.0.1", "eth0"), route("10.9.0.0/16", "10.2.0.1", "eth1")}}))
	expect("10.9.0.0/16 via 10.2.0.1, eth0 10.1.0.2/24, eth0 10.3.0.2/24, eth1 10.2.0.2/24")

	// Addresses and routes come and go, and a neighbour.
	second = []Interface{kept("eth0", "10.1.0.7/24"), kept("eth1", "10.2.0.2/24")}
	second[0].MTU = 1400
	ok(t, n.Update(Config{
		Interfaces: second, Routes: []Route{route("0.0.0.0/0", "10.2.0.1", "eth1")},
		Neighbours: []Neighbour{{Address: netip.MustParseAddr("10.2.0.1"), HardwareAddr: "02:00:00:00:00:09", Interface: "eth1"}},
	}))
	expect("0.0.0.0/0 via 10.2.0.1, eth0 10.1.0.7/24, eth0 10.3.0.2/24, eth1 10.2.0.2/24")
	if l := named(t, n, "eth0"); l.MTU != 1400 {
		t.Errorf("the MTU is %d", l.MTU)
	}
	permanent := func(i NeighbourInfo) bool { return i.State == unix.NUD_PERMANENT }
	if list := n.Neighbours(); !slices.ContainsFunc(list, permanent) {
		t.Errorf("the neighbours are %+v", list)
	}

	// One goes, and another one takes the name.
	inner := Empty()
	if _, err := n.Move(named(t, n, "eth1").Index, inner, "moved"); err != nil {
		t.Fatal(err)
	}
	ok(t, n.Update(Config{Interfaces: []Interface{kept("eth0", "10.1.0.7/24"), given(t, "eth1", "10.4.0.2/24")}}))
	expect("eth0 10.1.0.7/24, eth0 10.3.0.2/24, eth1 10.4.0.2/24")
	if _, is := inner.LinkByName("moved"); is {
		t.Error("what has gone outside is still where a program has moved it")
	}
	ok(t, n.Update(Config{}))
	expect("")
	if list := n.Links(); len(list) != 1 {
		t.Errorf("there are %+v", list)
	}
}

// TestUpdateRoutes: routes that refuse, of several hops or in other tables come and go, with the rules.
func TestUpdateRoutes(t *testing.T) {
	n := Loopback()
	t.Cleanup(func() { n.Close(0) })
	to := netip.MustParsePrefix
	gateway := netip.MustParseAddr
	routes := []Route{
		{Destination: to("10.1.0.0/24"), Interface: "eth0", Protocol: unix.RTPROT_KERNEL, Source: gateway("10.1.0.2")},
		{Destination: to("0.0.0.0/0"), Hops: []Hop{{Gateway: gateway("10.1.0.1"), Interface: "eth0", Weight: 1}, {Gateway: gateway("10.1.0.3"), Interface: "eth0", Weight: 2}}},
		{Destination: to("10.7.0.0/16"), Type: unix.RTN_PROHIBIT},
		{Destination: to("10.8.0.0/16"), Gateway: gateway("10.1.0.4"), Interface: "eth0", Table: 100, MTU: 1300, Protocol: unix.RTPROT_STATIC},
		{Destination: to("10.9.0.0/16"), Gateway: gateway("10.1.0.5"), Interface: "eth0"},
		{Destination: to("10.9.0.0/16"), Gateway: gateway("10.1.0.6"), Interface: "eth0", Protocol: unix.RTPROT_STATIC},
	}
	rules := slices.Insert(DefaultRules(), 1, RuleInfo{
		Family: unix.AF_INET, Priority: 7, To: to("10.8.0.0/16"), Table: 100, Action: unix.FR_ACT_TO_TBL, Suppress: -1,
	})
	count := func() (others, prohibited, hops int) {
		for _, r := range n.Routes() {
			switch {
			case r.Type == unix.RTN_PROHIBIT:
				prohibited++
			case r.Table == 100:
				others++
			case r.Table == unix.RT_TABLE_MAIN && !r.Destination.Addr().Is6():
				hops += max(len(r.Hops), 1)
			}
		}
		return others, prohibited, hops
	}
	ok(t, n.Update(Config{Interfaces: []Interface{given(t, "eth0", "10.1.0.2/24")}, Routes: routes, Rules: rules}))
	if a, b, c := count(); a != 1 || b != 1 || c != 5 || !slices.Equal(n.Rules(), rules) {
		t.Errorf("there are %+v, and the rules %+v", n.Routes(), n.Rules())
	}
	if a := n.Addresses(); a[len(a)-1].Flags&unix.IFA_F_NOPREFIXROUTE != 0 {
		t.Errorf("the address is %+v", a[len(a)-1])
	}
	for to, want := range map[string]error{"10.7.0.1": unix.EACCES, "10.8.0.1": nil} {
		r, err := n.Lookup(RouteKey{To: gateway(to)})
		if err != want || err == nil && r.Gateway != gateway("10.1.0.4") {
			t.Errorf("to %s it is %+v, %v", to, r, err)
		}
	}
	second := Config{Interfaces: []Interface{kept("eth0", "10.1.0.2/24", "10.6.0.2/24")}, Routes: routes[:1]}
	ok(t, n.Update(second))
	if a, b, c := count(); a != 0 || b != 0 || c != 1 || !slices.Equal(n.Rules(), DefaultRules()) {
		t.Errorf("then there are %+v, and the rules %+v", n.Routes(), n.Rules())
	}
	if a := n.Addresses(); a[len(a)-1].Flags&unix.IFA_F_NOPREFIXROUTE == 0 {
		t.Errorf("the address without a route to its network is %+v", a[len(a)-1])
	}
	ok(t, n.Update(Config{Interfaces: []Interface{kept("eth0", "10.1.0.2/24", "10.5.0.2/32")}, Routes: routes[:1], Rules: []RuleInfo{}}))
	if a := n.Addresses(); a[len(a)-1].Flags&unix.IFA_F_NOPREFIXROUTE != 0 || len(n.Rules()) != 0 {
		t.Errorf("the address without a network is %+v, and the rules %+v", a[len(a)-1], n.Rules())
	}
}

// TestUpdateRefused does what it can of an update, and leaks no descriptor.
func TestUpdateRefused(t *testing.T) {
	n := Loopback()
	t.Cleanup(func() { n.Close(0) })
	if _, err := n.AddDummy(NewLink{Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	one, first := givenWith(t, "eth0", "10.1.0.2/24")
	two := given(t, "eth1", "10.2.0.2/24")
	if err := n.Update(Config{Interfaces: []Interface{one, two, kept("eth2")}}); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "eth2 is not there") {
		t.Errorf("it says %v", err)
	}
	if got := has(n); got != "eth1 10.2.0.2/24" {
		t.Errorf("there is %q", got)
	}
	bad, last := givenWith(t, "eth3")
	bad.MTU = 1
	if err := n.Update(Config{Interfaces: []Interface{bad}}); err == nil {
		t.Error("an MTU of 1 is taken")
	}
	for _, other := range []*os.File{first, last} {
		if n, err := unix.Read(int(other.Fd()), make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("a descriptor is still open: %v", err)
		}
	}
}
