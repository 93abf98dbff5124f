package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/internal/link"
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
		{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1"), Interface: "eth0", Protocol: unix.RTPROT_BOOT},
		{Destination: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("fd09::1"), Interface: "eth0", Metric: 1024, Protocol: unix.RTPROT_BOOT},
	} {
		wantRoute(t, c, want)
	}
	if c.Rules != nil {
		t.Errorf("the rules are %+v", c.Rules)
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

func wantRoute(t *testing.T, c *network.Config, want network.Route) {
	t.Helper()
	if !slices.ContainsFunc(c.Routes, func(r network.Route) bool { return reflect.DeepEqual(r, want) }) {
		t.Errorf("%+v is not among the routes %+v", want, c.Routes)
	}
}

// TestTakeOverRoutes reads what leads on by more than one way, refuses, or is asked by a rule.
func TestTakeOverRoutes(t *testing.T) {
	inside, _ := twoNamespaces(t)
	network1, network2, network3 := ipNet(netip.MustParsePrefix("10.77.0.0/16")), ipNet(netip.MustParsePrefix("10.78.0.0/16")), ipNet(netip.MustParsePrefix("fd78::/16"))
	one, two := net.IP{10, 9, 0, 7}, net.IP{10, 9, 0, 8}
	withLink(t, inside, "eth0", func(l netlink.Link) error {
		index := l.Attrs().Index
		for _, r := range []netlink.Route{
			{Dst: network1, Type: unix.RTN_BLACKHOLE},
			{Dst: network3, Type: unix.RTN_PROHIBIT, Family: unix.AF_INET6},
			{Dst: network1, Type: unix.RTN_UNREACHABLE, Table: 100, Priority: 9},
			{Dst: network2, MultiPath: []*netlink.NexthopInfo{{LinkIndex: index, Gw: one}, {LinkIndex: index, Gw: two, Hops: 2}}},
			{Dst: network2, LinkIndex: index, Gw: two, Priority: 5, MTU: 1300, Table: 4711, Protocol: unix.RTPROT_STATIC},
			{Dst: network2, LinkIndex: index, Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: netip.MustParseAddr("fd09::1").AsSlice()}, Priority: 8},
		} {
			if err := netlink.RouteAdd(&r); err != nil {
				return fmt.Errorf("%v: %w", r, err)
			}
		}
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority, rule.IifName = ipNet(netip.MustParsePrefix("10.9.0.2/32")), 4711, 50, "lo"
		if err := netlink.RuleAdd(rule); err != nil {
			return err
		}
		ports := netlink.NewRule()
		ports.Table, ports.Priority, ports.Sport, ports.Dport = 4711, 51, netlink.NewRulePortRange(80, 80), netlink.NewRulePortRange(90, 99)
		return netlink.RuleAdd(ports)
	})
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
	c := taken.Network
	to := netip.MustParsePrefix
	gateway1, gateway2 := netip.MustParseAddr("10.9.0.7"), netip.MustParseAddr("10.9.0.8")
	for _, want := range []network.Route{
		{Destination: to("10.77.0.0/16"), Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_BOOT},
		{Destination: to("fd78::/16"), Type: unix.RTN_PROHIBIT, Protocol: unix.RTPROT_BOOT, Metric: 1024},
		{Destination: to("10.77.0.0/16"), Type: unix.RTN_UNREACHABLE, Protocol: unix.RTPROT_BOOT, Table: 100, Metric: 9},
		{Destination: to("10.78.0.0/16"), Protocol: unix.RTPROT_BOOT, Hops: []network.Hop{{Gateway: gateway1, Interface: "eth0", Weight: 1}, {Gateway: gateway2, Interface: "eth0", Weight: 3}}},
		{Destination: to("10.78.0.0/16"), Protocol: unix.RTPROT_STATIC, Table: 4711, Metric: 5, MTU: 1300, Gateway: gateway2, Interface: "eth0"},
		{Destination: to("10.78.0.0/16"), Protocol: unix.RTPROT_BOOT, Metric: 8, Gateway: netip.MustParseAddr("fd09::1"), Interface: "eth0"},
	} {
		wantRoute(t, c, want)
	}
	want := network.DefaultRules()
	want = slices.Insert(want, 1, network.RuleInfo{
		Family: unix.AF_INET, Priority: 50, From: to("10.9.0.2/32"), In: "lo", Table: 4711, Action: unix.FR_ACT_TO_TBL, Suppress: -1,
	}, network.RuleInfo{
		Family: unix.AF_INET, Priority: 51, SourcePorts: [2]uint16{80, 80}, DestinationPorts: [2]uint16{90, 99}, Table: 4711, Action: unix.FR_ACT_TO_TBL, Suppress: -1,
	})
	if !slices.Equal(c.Rules, want) {
		t.Errorf("the rules are %+v", c.Rules)
	}
	// The sentry's network takes all of it.
	c.Interfaces[0].FD, err = unix.FcntlInt(frames(t).Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	n, err := network.New(*c)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(0)
	if got := len(n.Rules()); got != len(want) {
		t.Errorf("the network has %d rules", got)
	}

	// What a sentry cannot have is an error at first, and left alone later.
	changes, err := Watch(inside)
	if err != nil {
		t.Fatal(err)
	}
	withLink(t, inside, "eth0", func(netlink.Link) error {
		rule := netlink.NewRule()
		rule.Table, rule.Priority, rule.UIDRange = 100, 60, netlink.NewRuleUIDRange(1, 2)
		return netlink.RuleAdd(rule)
	})
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(changes.Fd()), Events: unix.POLLIN}}, -1); n != 1 {
		t.Fatal(err)
	}
	if _, err := TakeOver(inside, "c1", false); err == nil || !strings.Contains(err.Error(), "the rule of priority 60 is for users of the host") {
		t.Errorf("it says %v", err)
	}
	if taken, err = TakeOver(inside, "c1", true); err != nil || len(taken.Network.Rules) != len(want) {
		t.Errorf("it has %+v, %v", taken, err)
	}
	taken.Close()
}

// TestTakeOverRouters: the host's kernel still hears what routers tell, on behalf of the sentry.
func TestTakeOverRouters(t *testing.T) {
	inside, outside := twoNamespaces(t)
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
	// An advertisement (RFC 4861, 4.2), with a prefix to make addresses of (4.6.2).
	message := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0}
	told := netip.MustParsePrefix("fd55::/64")
	message = append(message, told.Addr().AsSlice()...)
	advertise := func(peer netlink.Link) error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		err = unix.Sendto(fd, message, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(peer.Attrs().Index)})
		if err == unix.EADDRNOTAVAIL {
			err = nil // its link-local address is not there yet
		}
		return err
	}
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		withLink(t, outside, "peer", advertise)
		if taken, err = TakeOver(inside, "c1", true); err != nil {
			t.Fatal(err)
		}
		taken.Close()
		c := taken.Network
		address := slices.ContainsFunc(c.Interfaces[0].Addresses, func(p netip.Prefix) bool { return told.Contains(p.Addr()) })
		way := slices.ContainsFunc(c.Routes, func(r network.Route) bool { return r.Protocol == unix.RTPROT_RA && r.Destination.Bits() == 0 })
		if address && way {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("there is %+v", c)
		}
	}
}

// frames is one end of what carries frames.
func frames(t *testing.T) *os.File {
	t.Helper()
	f, other, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); other.Close() })
	return f
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
