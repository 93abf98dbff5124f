package network

import (
	"cmp"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// RouteKey is what a packet's way depends on.
type RouteKey struct {
	// From is invalid as long as nobody has chosen the source.
	From, To netip.Addr
	// Link is the interface that it must leave by, In the one that it came in by; 0 is any, and none.
	Link, In  int32
	Mark, UID uint32
	TOS       uint8
	// Protocol is IPPROTO_*.
	Protocol                    uint8
	SourcePort, DestinationPort uint16
}

// fib is what the rules and routes of a namespace were at one time (forwarding information base). Nothing in it
// changes, so that packets are looked up without the namespace's lock.
type fib struct {
	rules []fibRule
	// routes are those of links that are up, in no order until sorted has been called.
	routes []*RouteInfo
	sorted func() map[fibTable][]*RouteInfo
	links  map[int32]uint32 // the MTUs of those that are up

	mu sync.RWMutex
	// known are the last answers.
	known map[RouteKey]found
}

// fibTable is one table of a family.
type fibTable struct {
	number uint32
	six    bool
}

// fibRule is a rule with the indices of its interfaces, -1 for those that are not there, and of the rule that it goes
// on with, 0 for none.
type fibRule struct {
	RuleInfo
	in, out int32
	target  int
}

// found is what a lookup gives.
type found struct {
	route *RouteInfo
	// hop is the route's, or the one of several that was chosen.
	hop NextHop
	err unix.Errno
}

// maxKnown bounds the answers that are kept.
const maxKnown = 1024

// newFIB takes what there is now. n.mu is held.
func (n *Namespace) newFIB() *fib {
	f := &fib{routes: slices.Clone(n.routes), links: map[int32]uint32{}, known: map[RouteKey]found{}}
	for i, l := range n.links {
		if l.up {
			f.links[i] = l.mtu
		}
	}
	index := func(name string) int32 {
		if name == "" {
			return 0
		}
		return cmp.Or(n.names[name], -1)
	}
	type place struct {
		family   uint8
		priority uint32
	}
	first := map[place]int{}
	for i, r := range slices.Backward(n.rules) {
		first[place{r.Family, r.Priority}] = i
	}
	for _, r := range n.rules {
		of := fibRule{r, index(r.In), index(r.Out), 0}
		if r.Action == unix.FR_ACT_GOTO {
			of.target = first[place{r.Family, r.Target}]
		}
		f.rules = append(f.rules, of)
	}
	f.sorted = sync.OnceValue(func() map[fibTable][]*RouteInfo {
		tables := map[fibTable][]*RouteInfo{}
		for _, r := range f.routes {
			t := fibTable{r.Table, r.Destination.Addr().Is6()}
			tables[t] = append(tables[t], r)
		}
		for t := range maps.Values(tables) {
			slices.SortStableFunc(t, func(a, b *RouteInfo) int {
				return cmp.Or(cmp.Compare(b.Destination.Bits(), a.Destination.Bits()), cmp.Compare(b.TOS, a.TOS), cmp.Compare(a.Metric, b.Metric))
			})
		}
		return tables
	})
	return f
}

// find looks a packet up that does not stay within the namespace. Its error is Linux's.
func (f *fib) find(k RouteKey) found {
	f.mu.RLock()
	a, ok := f.known[k]
	f.mu.RUnlock()
	if ok {
		return a
	}
	a = f.search(k, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.known) >= maxKnown {
		clear(f.known)
	}
	f.known[k] = a
	return a
}

// search asks the rules one after the other. local looks an address up in the local table, if that counts.
func (f *fib) search(k RouteKey, local func(netip.Addr) (RouteInfo, bool)) found {
	six := k.To.Is6()
	for i := 0; i < len(f.rules); i++ {
		r := &f.rules[i]
		if (r.Family == unix.AF_INET6) != six || !r.matches(&k) {
			continue
		}
		switch r.Action {
		case unix.FR_ACT_GOTO:
			if r.target > i { // only forward, so that this ends
				i = r.target - 1
			}
			continue
		case unix.FR_ACT_NOP:
			continue
		case unix.FR_ACT_UNREACHABLE:
			return found{err: unix.ENETUNREACH}
		case unix.FR_ACT_PROHIBIT:
			return found{err: unix.EACCES}
		case unix.FR_ACT_TO_TBL:
		default:
			return found{err: unix.EINVAL}
		}
		if r.Table == unix.RT_TABLE_LOCAL {
			if local == nil {
				continue
			}
			if own, ok := local(k.To); ok {
				return found{route: &own, hop: NextHop{Link: own.Link}}
			}
			continue
		}
		a := f.searchTable(fibTable{r.Table, six}, &k)
		switch {
		case a.err == unix.EAGAIN:
			continue
		case a.err == 0 && int32(a.route.Destination.Bits()) <= r.Suppress:
			continue
		}
		return a
	}
	return found{err: unix.ENETUNREACH}
}

// searchTable looks a packet up in one table. EAGAIN if the next rule is to be asked.
func (f *fib) searchTable(t fibTable, k *RouteKey) found {
	for _, r := range f.sorted()[t] {
		if !r.Destination.Contains(k.To) || r.TOS != 0 && r.TOS != k.TOS {
			continue
		}
		if err := refusal(r.Type); err != 0 {
			return found{route: r, err: err}
		}
		if hop, ok := f.choose(r, k); ok {
			return found{route: r, hop: hop}
		}
	}
	return found{err: unix.EAGAIN}
}

// refusal is the error of a route that leads nowhere, or 0.
func refusal(typ uint8) unix.Errno {
	switch typ {
	case unix.RTN_BLACKHOLE:
		return unix.EINVAL
	case unix.RTN_UNREACHABLE:
		return unix.EHOSTUNREACH
	case unix.RTN_PROHIBIT:
		return unix.EACCES
	case unix.RTN_THROW:
		return unix.EAGAIN
	}
	return 0
}

// flowSeed has flows be spread differently in each sandbox.
var flowSeed = maphash.MakeSeed()

// choose takes one of a route's hops, always the same for two addresses, as often as its weight says.
func (f *fib) choose(r *RouteInfo, k *RouteKey) (NextHop, bool) {
	usable := func(h *NextHop) bool { return f.links[h.Link] != 0 && (k.Link == 0 || h.Link == k.Link) }
	if len(r.Hops) == 0 {
		h := NextHop{Gateway: r.Gateway, Link: r.Link}
		return h, usable(&h)
	}
	total := uint64(0)
	for i := range r.Hops {
		if usable(&r.Hops[i]) {
			total += uint64(r.Hops[i].Weight)
		}
	}
	if total == 0 {
		return NextHop{}, false
	}
	at := maphash.Comparable(flowSeed, [2]netip.Addr{k.From, k.To}) % total
	for i := range r.Hops {
		if h := &r.Hops[i]; usable(h) {
			if at < uint64(h.Weight) {
				return *h, true
			}
			at -= uint64(h.Weight)
		}
	}
	return NextHop{}, false
}

// matches reports whether a rule is for a packet.
func (r *fibRule) matches(k *RouteKey) bool {
	in, from := k.In, k.From
	if in == 0 {
		in = LoopbackIndex
	}
	if !from.IsValid() && r.Family == unix.AF_INET {
		from = netip.IPv4Unspecified() // as Linux compares it
	}
	within := func(v uint16, ports [2]uint16) bool { return ports == [2]uint16{} || v >= ports[0] && v <= ports[1] }
	of := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Bits() == 0 || p.Contains(a) }
	hit := (r.in == 0 || r.in == in) && (r.out == 0 || r.out == k.Link) &&
		(r.Mark^k.Mark)&r.Mask == 0 && (!r.Users || k.UID >= r.UIDs[0] && k.UID <= r.UIDs[1]) &&
		of(r.From, from) && of(r.To, k.To) && (r.TOS == 0 || r.TOS == k.TOS) && (r.IPProtocol == 0 || r.IPProtocol == k.Protocol) &&
		within(k.SourcePort, r.SourcePorts) && within(k.DestinationPort, r.DestinationPorts)
	return hit != (r.Flags&RuleInvert != 0)
}
