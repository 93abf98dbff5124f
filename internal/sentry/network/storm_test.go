package network

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// counter counts events.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) NetworkEvent(Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// TestStorm has many change and look at the same namespaces at once: what they are told may
// be an error, but nothing hangs, and in the end all can be taken away.
func TestStorm(t *testing.T) {
	a, b := Empty(), Empty()
	bridge, err := a.AddBridge(NewLink{Name: "br0"})
	ok(t, err)
	ok(t, a.SetUp(bridge.Index, true))
	w := new(counter)
	a.Watch(w)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 60 {
				name := fmt.Sprintf("v%d.%d", worker, i%3)
				one, other, err := a.AddPair(NewLink{Name: name}, b, NewLink{Name: name})
				if err != nil {
					continue
				}
				addr := netip.AddrFrom4([4]byte{10, byte(worker), byte(i), 1})
				a.SetMaster(one.Index, bridge.Index)
				a.SetUp(one.Index, true)
				b.SetUp(other.Index, true)
				b.AddAddress(AddressInfo{Link: other.Index, Prefix: netip.PrefixFrom(addr, 24)})
				b.AddRoute(RouteInfo{Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(worker), byte(i), 0}), 24), Gateway: addr.Next(), Type: unix.RTN_UNICAST}, RouteCreate)
				a.Links()
				b.Routes()
				b.Addresses()
				b.Neighbours()
				b.Lookup(RouteKey{To: addr})
				b.AddRule(mark(uint32(worker), uint32(i)), false, true)
				b.Way(RouteKey{To: addr.Next(), Mark: uint32(worker)})
				b.DeleteRule(func(r *RuleInfo) bool { return r.Mark == uint32(worker) })
				if i%2 == 0 {
					if at, err := b.Move(other.Index, a, name+"m"); err == nil {
						a.SetUp(at, true)
					}
				}
				if i%3 == 0 {
					a.DeleteLink(one.Index)
				}
			}
		}()
	}
	wg.Wait()
	for _, n := range []*Namespace{a, b} {
		for _, l := range n.Links() {
			if l.Kind == kindVeth {
				n.DeleteLink(l.Index)
			}
		}
	}
	ok(t, a.DeleteLink(bridge.Index))
	if len(a.Links()) != 1 || len(b.Links()) != 1 || len(b.Routes()) != 0 {
		t.Errorf("%+v %+v %+v", a.Links(), b.Links(), b.Routes())
	}
	if w.n == 0 {
		t.Error("nothing was told")
	}
	a.Unwatch(w)
}
