package hostnet

import (
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
	withLink(t, outside, "peer", func(peer netlink.Link) error {
		for _, a := range []string{"10.9.0.1/24", "fd09::1/64"} {
			if err := withAddress(peer, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(peer)
	})
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

// withLink does something with an interface of a namespace, within it.
func withLink(t *testing.T, ns *os.File, name string, f func(netlink.Link) error) {
	t.Helper()
	err := within(ns, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func withAddress(l netlink.Link, prefix string) error {
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(prefix)), Flags: unix.IFA_F_NODAD})
}

// shown are the addresses and routes of eth0 as the host's kernel has them.
func shown(t *testing.T, ns *os.File) (list []string) {
	t.Helper()
	withLink(t, ns, "eth0", func(l netlink.Link) error {
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
	slices.Sort(list)
	return list
}

func TestTakeOver(t *testing.T) {
	inside, outside := twoNamespaces(t)
	before := shown(t, inside)
	taken, err := TakeOver(inside, "c1", false)
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
	if answers(t, outside, "10.9.0.2") || answers(t, outside, "fd09::2") {
		t.Error("the host's kernel still answers")
	}
	_, err = TakeOver(inside, "c2", false)
	if err == nil || !strings.Contains(err.Error(), "served by the sandbox of container c1") {
		t.Errorf("a second sandbox got %v", err)
	}
	if err := Release(inside, "c2"); err != nil {
		t.Fatal(err)
	}
	if answers(t, outside, "10.9.0.2") {
		t.Error("somebody else gave it back")
	}
	for range 2 { // who was interrupted does it again
		if err := Release(inside, "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if after := shown(t, inside); !slices.Equal(before, after) {
		t.Errorf("before there was %v, after it %v", before, after)
	}
	for _, a := range []string{"10.9.0.2", "fd09::2"} {
		if !answers(t, outside, a) {
			t.Errorf("the host's kernel does not answer at %s", a)
		}
	}
}

// answers reports whether the kernel refuses a connection to an address, and is not silent:
// its neighbour is not even found then.
func answers(t *testing.T, from *os.File, address string) bool {
	t.Helper()
	var err error
	e := within(from, func() error {
		// A goroutine of the network poller's would connect elsewhere.
		family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: 9, Addr: [4]byte(netip.MustParseAddr("10.9.0.2").AsSlice())})
		if a := netip.MustParseAddr(address); a.Is6() {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: 9, Addr: a.As16()}
		}
		fd, e := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if e != nil {
			return e
		}
		defer unix.Close(fd)
		// Where the neighbour is known already it would ask for two minutes.
		if e := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); e != nil {
			return e
		}
		err = unix.Connect(fd, sa)
		return nil
	})
	if e != nil {
		t.Fatal(e)
	}
	switch err {
	case unix.ECONNREFUSED:
		return true
	case unix.EHOSTUNREACH, unix.ETIMEDOUT:
		return false
	}
	t.Fatalf("connecting to %s: %v", address, err)
	return false
}

// TestTakeOverAgain finds what has come since, and tells what has changed.
func TestTakeOverAgain(t *testing.T) {
	inside, outside := twoNamespaces(t)
	again := func() *Taken {
		t.Helper()
		taken, err := TakeOver(inside, "c1", true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(taken.Close)
		return taken
	}
	told := func(taken *Taken) {
		t.Helper()
		if err := taken.Told(); err != nil {
			t.Fatal(err)
		}
	}
	first, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	// Who was to tell the sentry has been killed.
	taken := again()
	if len(taken.Network.Interfaces) != 1 || taken.Network.Interfaces[0].FD < 0 {
		t.Errorf("of what the sentry was not told there is %+v", taken.Network)
	}
	told(taken)
	if taken := again(); len(taken.Files) != 0 || len(taken.Network.Interfaces) != 1 || taken.Network.Interfaces[0].FD != -1 {
		t.Errorf("where nothing has come there is %+v", taken.Network)
	}
	changes, err := Watch(inside)
	if err != nil {
		t.Fatal(err)
	}
	withLink(t, inside, "eth0", func(eth0 netlink.Link) error {
		if err := withAddress(eth0, "10.9.7.2/24"); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth1"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer1", PeerNamespace: netlink.NsFd(outside.Fd())}); err != nil {
			return err
		}
		eth1, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(eth1)
	})
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(changes.Fd()), Events: unix.POLLIN}}, -1); n != 1 {
		t.Fatal(err)
	}
	changes.Drain()
	taken = again()
	if c := taken.Network; len(taken.Files) != 3 || len(c.Interfaces) != 2 || c.Interfaces[0].FD != -1 || c.Interfaces[1].Name != "eth1" || c.Interfaces[1].FD != 0 ||
		!slices.Contains(c.Interfaces[0].Addresses, netip.MustParsePrefix("10.9.7.2/24")) {
		t.Errorf("there is %+v", c)
	}
	told(taken)
	// As Docker takes it away.
	withLink(t, inside, "eth1", func(eth1 netlink.Link) error {
		return netlink.LinkSetName(eth1, "other")
	})
	if c := again().Network; len(c.Interfaces) != 2 || c.Interfaces[1].Name != "eth1" {
		t.Errorf("renamed it is %+v", c.Interfaces)
	}
	withLink(t, inside, "other", func(other netlink.Link) error {
		return netlink.LinkSetDown(other)
	})
	if c := again().Network; len(c.Interfaces) != 1 {
		t.Errorf("taken down there is %+v", c.Interfaces)
	}
}

// TestTakeOverLoopback has nothing to take.
func TestTakeOverLoopback(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces takes root")
	}
	taken, err := TakeOver(testNamespace(t), "c1", false)
	if err != nil || len(taken.Network.Interfaces) != 0 || len(taken.Files) != 0 {
		t.Errorf("taken was %+v, %v", taken, err)
	}
}

// TestReleaseGone gives back what is no more.
func TestReleaseGone(t *testing.T) {
	inside, outside := twoNamespaces(t)
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
	withLink(t, outside, "peer", func(peer netlink.Link) error {
		return netlink.LinkDel(peer)
	})
	if err := Release(inside, "c1"); err != nil {
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
	if _, err := TakeOver(ns, "c1", false); err == nil || !strings.Contains(err.Error(), "the host's own") {
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
	if _, err := TakeOver(inside, "c1", false); err == nil || !strings.Contains(err.Error(), "tun0 carries no Ethernet frames") {
		t.Errorf("got %v", err)
	}
	if after := shown(t, inside); !slices.Equal(before, after) {
		t.Errorf("before there was %v, after it %v", before, after)
	}
}
