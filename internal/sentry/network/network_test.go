package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func full(a string) tcpip.FullAddress {
	p := netip.MustParseAddrPort(a)
	return tcpip.FullAddress{Addr: toStack(p.Addr()), Port: p.Port()}
}

// talks makes a connection from one network to an address of another, and sends over it.
func talks(t *testing.T, from, to *Namespace, addr string) {
	t.Helper()
	proto := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
	if netip.MustParseAddrPort(addr).Addr().Is6() {
		proto = header.IPv6ProtocolNumber
	}
	l, err := gonet.ListenTCP(to.Stack(), full(addr), proto)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, from.Stack(), full(addr), proto)
	if err != nil {
		t.Fatalf("connecting to %s: %v", addr, err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}

func named(t *testing.T, n *Namespace, name string) LinkInfo {
	t.Helper()
	l, ok := n.LinkByName(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return l
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T, a *Namespace, o NewLink, b *Namespace, p NewLink) {
	t.Helper()
	if _, _, err := a.AddPair(o, b, p); err != nil {
		t.Fatal(err)
	}
}

// up takes a link up with an address.
func up(t *testing.T, n *Namespace, name, prefix string) {
	t.Helper()
	i := named(t, n, name).Index
	ok(t, n.SetUp(i, true))
	ok(t, n.AddAddress(AddressInfo{Link: i, Prefix: netip.MustParsePrefix(prefix)}))
}

func TestLoopback(t *testing.T) {
	n := Loopback()
	if n.Started() {
		t.Error("a stack nobody asked for")
	}
	if l := n.Links(); len(l) != 1 || l[0].Name != "lo" || l[0].Flags != unix.IFF_UP|unix.IFF_LOOPBACK|unix.IFF_RUNNING|iffLowerUp || l[0].MTU != 65536 {
		t.Errorf("%+v", l)
	}
	if a := n.Addresses(); len(a) != 2 || a[0].Prefix.String() != "127.0.0.1/8" || a[1].Prefix.String() != "::1/128" {
		t.Errorf("%+v", a)
	}
	talks(t, n, n, "127.0.0.1:80")
	talks(t, n, n, "127.1.2.3:80")
	talks(t, n, n, "[::1]:80")
	ok(t, n.SetUp(1, false))
	if a := n.Addresses(); len(a) != 1 || len(n.Routes()) != 0 {
		t.Errorf("down: %+v %+v", a, n.Routes())
	}
	ok(t, n.SetUp(1, true))
	talks(t, n, n, "127.0.0.1:81")
	talks(t, n, n, "[::1]:81")
}

func TestEmptyUp(t *testing.T) {
	n := Empty()
	if len(n.Addresses()) != 0 || n.Links()[0].Flags != unix.IFF_LOOPBACK {
		t.Errorf("%+v %+v", n.Addresses(), n.Links())
	}
	n.Stack()
	ok(t, n.SetUp(1, true))
	talks(t, n, n, "127.0.0.1:80")
}

func TestPair(t *testing.T) {
	a, b := Empty(), Empty()
	pair(t, a, NewLink{Name: "x"}, b, NewLink{Name: "y", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 9}})
	up(t, a, "x", "10.1.0.1/24")
	if l := named(t, a, "x"); l.Flags&unix.IFF_RUNNING != 0 || l.State != operLowerLayerDown || l.PeerNetwork != b || l.Peer != named(t, b, "y").Index {
		t.Errorf("%+v", l)
	}
	up(t, b, "y", "10.1.0.2/24")
	if l := named(t, a, "x"); l.Flags&unix.IFF_RUNNING == 0 || l.State != operUp {
		t.Errorf("%+v", l)
	}
	talks(t, a, b, "10.1.0.2:80")
	talks(t, b, a, "10.1.0.1:80")
	ok(t, a.AddAddress(AddressInfo{Link: named(t, a, "x").Index, Prefix: netip.MustParsePrefix("fd00::1/64")}))
	ok(t, b.AddAddress(AddressInfo{Link: named(t, b, "y").Index, Prefix: netip.MustParsePrefix("fd00::2/64")}))
	talks(t, a, b, "[fd00::2]:80")
	found := false
	for _, e := range a.Neighbours() {
		found = found || e.Address == netip.MustParseAddr("10.1.0.2") && e.HardwareAddr == [6]byte{2, 0, 0, 0, 0, 9}
	}
	if !found {
		t.Errorf("neighbours: %+v", a.Neighbours())
	}
	s := named(t, a, "x").Statistics
	if s.RxPackets == 0 || s.TxPackets == 0 || s.RxBytes == 0 || s.TxBytes == 0 {
		t.Errorf("%+v", s)
	}
	ok(t, b.DeleteLink(named(t, b, "y").Index))
	if len(a.Links()) != 1 || len(b.Links()) != 1 || len(a.Routes()) != 0 {
		t.Errorf("%+v %+v", a.Links(), b.Links())
	}
}

func TestBridge(t *testing.T) {
	n := Empty()
	br, err := n.AddBridge(NewLink{Name: "br0"})
	ok(t, err)
	var in []*Namespace
	for i := range 3 {
		m := Empty()
		pair(t, n, NewLink{Name: fmt.Sprint("p", i)}, m, NewLink{Name: "eth0"})
		p := named(t, n, fmt.Sprint("p", i)).Index
		ok(t, n.SetMaster(p, br.Index))
		ok(t, n.SetUp(p, true))
		up(t, m, "eth0", fmt.Sprintf("10.2.0.%d/24", i+2))
		in = append(in, m)
	}
	up(t, n, "br0", "10.2.0.1/24")
	talks(t, in[0], in[1], "10.2.0.3:80")
	talks(t, in[2], in[0], "10.2.0.2:80")
	talks(t, in[1], n, "10.2.0.1:80")
	talks(t, n, in[2], "10.2.0.4:80")
	if l := named(t, n, "p0"); l.Master != br.Index {
		t.Errorf("%+v", l)
	}
	if err := n.SetMaster(br.Index, br.Index); !errors.Is(err, unix.ELOOP) {
		t.Error(err)
	}
	ok(t, n.DeleteLink(br.Index))
	if l := named(t, n, "p0"); l.Master != 0 {
		t.Errorf("%+v", l)
	}
}

func TestMove(t *testing.T) {
	a, b := Empty(), Empty()
	pair(t, a, NewLink{Name: "x"}, a, NewLink{Name: "y"})
	up(t, a, "x", "10.1.0.1/24")
	_, err := a.Move(named(t, a, "y").Index, b, "z")
	ok(t, err)
	up(t, b, "z", "10.1.0.2/24")
	talks(t, a, b, "10.1.0.2:80")
	if _, err := a.Move(1, b, ""); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

func TestRoutes(t *testing.T) {
	a, b := Empty(), Empty()
	pair(t, a, NewLink{Name: "x"}, b, NewLink{Name: "y"})
	up(t, a, "x", "10.1.0.1/24")
	up(t, b, "y", "10.1.0.2/24")
	ok(t, b.AddAddress(AddressInfo{Link: named(t, b, "y").Index, Prefix: netip.MustParsePrefix("192.0.2.1/32")}))
	way := RouteInfo{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.1.0.2"), Type: unix.RTN_UNICAST}
	ok(t, a.AddRoute(way, RouteCreate))
	talks(t, a, b, "192.0.2.1:80")
	if err := a.AddRoute(way, RouteCreate); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	bad := way
	bad.Gateway, bad.Metric = netip.MustParseAddr("10.9.0.2"), 7
	if err := a.AddRoute(bad, RouteCreate); !errors.Is(err, unix.ENETUNREACH) {
		t.Error(err)
	}
	ok(t, a.DeleteRoute(RouteInfo{Destination: way.Destination, Scope: unix.RT_SCOPE_NOWHERE}))
	if err := a.DeleteRoute(way); !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	// The stack agrees.
	if got := len(a.Stack().GetRouteTable()); got != 2 {
		t.Errorf("%d routes: %v", got, a.Stack().GetRouteTable())
	}
}

func TestNamespaceEnds(t *testing.T) {
	a := Empty()
	func() {
		b := Empty()
		pair(t, a, NewLink{Name: "x"}, b, NewLink{Name: "y"})
		up(t, b, "y", "10.1.0.2/24")
	}()
	for end := time.Now().Add(2 * time.Minute); len(a.Links()) > 1; {
		if time.Now().After(end) {
			t.Fatal("the pair outlives the other namespace")
		}
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
}

// TestNamespaceEndsAfterUse is for one whose stack has carried connections: nothing of the
// stack may hold the namespace.
func TestNamespaceEndsAfterUse(t *testing.T) {
	a := Empty()
	func() {
		b := Empty()
		pair(t, a, NewLink{Name: "x"}, b, NewLink{Name: "y"})
		up(t, a, "x", "10.1.0.1/24")
		up(t, b, "y", "10.1.0.2/24")
		talks(t, a, b, "10.1.0.2:80")
		talks(t, b, a, "10.1.0.1:80")
	}()
	for end := time.Now().Add(2 * time.Minute); len(a.Links()) > 1; {
		if time.Now().After(end) {
			t.Fatal("the pair outlives the other namespace")
		}
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStackWaits has no stack behind a gateway until a frame comes, and shows neighbours before.
func TestStackWaits(t *testing.T) {
	i, other := givenWith(t, "eth0", "10.1.0.2/24")
	i.Link = LinkGateway
	neighbours := []Neighbour{{Address: netip.MustParseAddr("10.1.0.1"), HardwareAddr: "02:00:00:00:00:09", Interface: "eth0"}}
	n, err := New(Config{LoopbackUp: true, Interfaces: []Interface{i}, Neighbours: neighbours})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(0) })
	before := n.Neighbours()
	if len(before) != 1 || before[0].State != unix.NUD_PERMANENT || before[0].Address != neighbours[0].Address {
		t.Errorf("the neighbours are %+v", before)
	}
	if n.Started() {
		t.Error("there is a stack, which nobody asked for")
	}
	frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0}, make([]byte, 46)...)
	if _, err := other.Write(frame); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(2 * time.Minute); !n.Started(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("a frame came, and there is no stack")
		}
	}
	if after := n.Neighbours(); !slices.Equal(after, before) {
		t.Errorf("the stack has the neighbours %+v", after)
	}
}
