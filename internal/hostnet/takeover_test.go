package hostnet

import (
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// twoNamespaces are joined by a veth pair: eth0 in the first has addresses, routes and a
// permanent neighbour, peer in the second its neighbour's addresses.
func twoNamespaces(t *testing.T) (inside, outside *os.File) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces takes root")
	}
	inside, outside = testNamespace(t), testNamespace(t)
	err := within(inside, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "eth0", 1400
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "peer", PeerNamespace: netlink.NsFd(outside.Fd())}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, a := range []string{"10.9.0.2/24", "fd09::2/64"} {
			if err := withAddress(eth0, a); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(eth0); err != nil {
			return err
		}
		for _, r := range []struct{ to, via string }{{"0.0.0.0/0", "10.9.0.1"}, {"::/0", "fd09::1"}} {
			route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(r.to)), Gw: netip.MustParseAddr(r.via).AsSlice()}
			if err := netlink.RouteAdd(route); err != nil {
				return err
			}
		}
		return netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: netip.MustParseAddr("10.9.0.7").AsSlice(), HardwareAddr: []byte{2, 0, 0, 0, 0, 7},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = within(outside, func() error {
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		for _, a := range []string{"10.9.0.1/24", "fd09::1/64"} {
			if err := withAddress(peer, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(peer)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The kernel gives eth0 a link-local address once it has noticed that there is a carrier.
	for end := time.Now().Add(2 * time.Minute); !slices.ContainsFunc(shown(t, inside), linkLocal); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("eth0 gets no link-local address")
		}
	}
	return inside, outside
}

func linkLocal(line string) bool { return strings.HasPrefix(line, "route to fe80::/64") }

func testNamespace(t *testing.T) *os.File {
	t.Helper()
	ns, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func withAddress(l netlink.Link, prefix string) error {
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(prefix)), Flags: unix.IFA_F_NODAD})
}

// shown are the addresses and routes of eth0 as the host's kernel has them.
func shown(t *testing.T, ns *os.File) (list []string) {
	t.Helper()
	err := within(ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			list = append(list, a.IPNet.String())
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
		for _, r := range routes {
			if r.Table == unix.RT_TABLE_MAIN {
				list = append(list, "route to "+r.Dst.String()+" "+r.Gw.String())
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestTakeOver(t *testing.T) {
	inside, _ := twoNamespaces(t)
	before := shown(t, inside)
	var record []byte
	taken, err := TakeOver(inside, "c1", func(h *Held) (err error) {
		record, err = json.Marshal(h)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := taken.Network
	if len(c.Interfaces) != 1 || c.Interfaces[0].Name != "eth0" || c.Interfaces[0].MTU != 1400 || !c.Interfaces[0].Offload {
		t.Fatalf("the interfaces are %+v", c.Interfaces)
	}
	global := slices.DeleteFunc(slices.Clone(c.Interfaces[0].Addresses), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
	if want := []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24"), netip.MustParsePrefix("fd09::2/64")}; !reflect.DeepEqual(global, want) {
		t.Errorf("the addresses are %v", c.Interfaces[0].Addresses)
	}
	for _, want := range []network.Route{
		{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1"), Interface: "eth0"},
		{Destination: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("fd09::1"), Interface: "eth0", Metric: 1024},
	} {
		if !slices.Contains(c.Routes, want) {
			t.Errorf("%+v is not among the routes %+v", want, c.Routes)
		}
	}
	if want := (network.Neighbour{Address: netip.MustParseAddr("10.9.0.7"), HardwareAddr: "02:00:00:00:00:07", Interface: "eth0"}); !slices.Contains(c.Neighbours, want) {
		t.Errorf("the neighbours are %+v", c.Neighbours)
	}
	if list := shown(t, inside); len(list) != 0 {
		t.Errorf("the host's kernel still has %v", list)
	}
	_, err = TakeOver(inside, "c2", nil)
	if err == nil || !strings.Contains(err.Error(), "served by the sandbox of container c1") {
		t.Errorf("a second sandbox got %v", err)
	}
	held := new(Held)
	if err := json.Unmarshal(record, held); err != nil {
		t.Fatal(err)
	}
	for range 2 { // who was interrupted does it again
		if err := held.Release(inside); err != nil {
			t.Fatal(err)
		}
	}
	if after := shown(t, inside); !slices.Equal(before, after) {
		t.Errorf("before there was %v, after it %v", before, after)
	}
}

// TestTakeOverLoopback has nothing to take.
func TestTakeOverLoopback(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces takes root")
	}
	taken, err := TakeOver(testNamespace(t), "c1", func(*Held) error {
		t.Error("something is put on record")
		return nil
	})
	if err != nil || taken.Network != nil || len(taken.Files) != 0 {
		t.Errorf("taken was %+v, %v", taken, err)
	}
}

// TestReleaseGone gives back what is no more.
func TestReleaseGone(t *testing.T) {
	inside, outside := twoNamespaces(t)
	var held Held
	taken, err := TakeOver(inside, "c1", func(h *Held) error { held = *h; return nil })
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
	err = within(outside, func() error {
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		return netlink.LinkDel(peer)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Release(inside); err != nil {
		t.Error(err)
	}
}

// TestTakeOverHost leaves the host what it has.
func TestTakeOverHost(t *testing.T) {
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if _, err := TakeOver(ns, "c1", nil); err == nil || !strings.Contains(err.Error(), "the host's own") {
		t.Errorf("got %v", err)
	}
}

func TestTakeOverOther(t *testing.T) {
	inside, _ := twoNamespaces(t)
	err := within(inside, func() error {
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		return netlink.LinkSetUp(tun)
	})
	if err != nil {
		t.Skipf("the host has no TUN devices: %v", err)
	}
	before := shown(t, inside)
	if _, err := TakeOver(inside, "c1", nil); err == nil || !strings.Contains(err.Error(), "tun0 carries no Ethernet frames") {
		t.Errorf("got %v", err)
	}
	if after := shown(t, inside); !slices.Equal(before, after) {
		t.Errorf("before there was %v, after it %v", before, after)
	}
}
