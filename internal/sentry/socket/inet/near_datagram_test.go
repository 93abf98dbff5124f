package inet

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// at is a socket's address for a family.
func at(family int32, ip string, port uint16) []byte {
	a := netip.MustParseAddr(ip)
	return sockaddr(family, tcpip.FullAddress{Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port})
}

// number sets an option that is a number.
func (s *Socket) number(t *testing.T, level, name, v int32) {
	t.Helper()
	if err := s.SetOption(root, level, name, int32Bytes(v)); err != nil {
		t.Fatalf("option %d of level %d: %v", name, level, err)
	}
}

// received is all that a receiver learns of a datagram, but when it came.
type received struct {
	data, from string
	control    []socket.ControlMessage
	flags      int32
	err        error
}

func (s *Socket) receive() (r received) {
	p := make([]byte, 2000)
	var m socket.Message
	n, err := s.Recv(p, &m)
	if err != nil {
		return received{err: err}
	}
	for _, c := range m.Control {
		if c.Level != unix.SOL_SOCKET {
			r.control = append(r.control, c)
		}
	}
	r.data, r.from, r.flags = string(p[:min(n, len(p))]), string(m.Addr), m.Flags
	return r
}

// counted are all counters of a namespace.
func counted(n *net) map[string]uint64 {
	all := map[string]uint64{}
	for _, g := range n.Counters() {
		for _, c := range g.Counters {
			all[g.Name+c.Name] = c.Value
		}
	}
	for _, c := range n.CountersIPv6() {
		all[c.Name] = c.Value
	}
	lo, _ := n.LinkByIndex(1)
	all["packets"], all["bytes"] = lo.Statistics.RxPackets+lo.Statistics.TxPackets, lo.Statistics.RxBytes+lo.Statistics.TxBytes
	return all
}

// TestDatagramsWithin sends the same datagrams past the stack and through it: the receiver
// learns the same of them, and the same is counted.
func TestDatagramsWithin(t *testing.T) {
	nothingHeld(t)
	for _, c := range []struct {
		name               string
		from, to           int32 // families
		bound, listens, ip string
		class, hops        int32
	}{
		{name: "IPv4", from: unix.AF_INET, to: unix.AF_INET, listens: "0.0.0.0", ip: "127.0.0.1"},
		{name: "IPv4 with class and hops", from: unix.AF_INET, to: unix.AF_INET, listens: "127.0.0.1", ip: "127.0.0.1", class: 0x48, hops: 9},
		{name: "another address of 127.0.0.0/8", from: unix.AF_INET, to: unix.AF_INET, bound: "127.0.0.3", listens: "127.0.0.2", ip: "127.0.0.2"},
		{name: "an own address", from: unix.AF_INET, to: unix.AF_INET, listens: "0.0.0.0", ip: "10.1.2.3"},
		{name: "from an own address", from: unix.AF_INET, to: unix.AF_INET, bound: "10.1.2.3", listens: "10.1.2.3", ip: "10.1.2.3"},
		{name: "IPv6", from: unix.AF_INET6, to: unix.AF_INET6, listens: "::", ip: "::1", class: 0x48, hops: 9},
		{name: "IPv6, own addresses", from: unix.AF_INET6, to: unix.AF_INET6, bound: "fd00::1", listens: "fd00::1", ip: "fd00::1"},
		{name: "IPv4 to both", from: unix.AF_INET, to: unix.AF_INET6, listens: "::", ip: "127.0.0.1"},
		{name: "mapped", from: unix.AF_INET6, to: unix.AF_INET6, listens: "::", ip: "::ffff:127.0.0.1", class: 0x48, hops: 9},
		{name: "mapped to IPv4", from: unix.AF_INET6, to: unix.AF_INET, bound: "::ffff:127.0.0.1", listens: "127.0.0.1", ip: "::ffff:127.0.0.1"},
	} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, connected %t", c.name, connected), func(t *testing.T) {
				n := newNet()
				for _, p := range []string{"10.1.2.3/24", "fd00::1/64"} {
					if err := n.AddAddress(network.AddressInfo{Link: 1, Prefix: netip.MustParsePrefix(p)}); err != nil {
						t.Fatal(err)
					}
				}
				x, y := n.socket(t, c.from, unix.SOCK_DGRAM), n.socket(t, c.to, unix.SOCK_DGRAM)
				defer x.Release()
				defer y.Release()
				if c.bound != "" {
					if err := x.Bind(root, at(c.from, c.bound, 0)); err != nil {
						t.Fatal(err)
					}
				}
				if err := y.Bind(root, at(c.to, c.listens, 0)); err != nil {
					t.Fatal(err)
				}
				for _, o := range []int32{unix.IP_PKTINFO, unix.IP_RECVTTL, unix.IP_RECVTOS, unix.IP_RECVORIGDSTADDR} {
					y.number(t, unix.IPPROTO_IP, o, 1)
				}
				if c.to == unix.AF_INET6 {
					for _, o := range []int32{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS, unix.IPV6_RECVORIGDSTADDR} {
						y.number(t, unix.IPPROTO_IPV6, o, 1)
					}
				}
				if c.hops != 0 {
					x.number(t, unix.IPPROTO_IP, unix.IP_TTL, c.hops)
					x.number(t, unix.IPPROTO_IP, unix.IP_TOS, c.class)
					if c.from == unix.AF_INET6 {
						x.number(t, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, c.hops)
						x.number(t, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, c.class)
					}
				}
				local, _ := y.ep.Load().GetLocalAddress()
				to := at(c.from, c.ip, local.Port)
				m := socket.Message{Addr: to}
				if connected {
					if err := x.Connect(root, to); err != nil {
						t.Fatal(err)
					}
					m.Addr = nil
				}
				if _, err := x.Send(root, []byte("the first, which may give the socket its name"), &m); err != nil {
					t.Fatal(err)
				}
				y.receive()
				send := func(text string) (r received, counts map[string]uint64) {
					before := counted(n)
					if _, err := x.Send(root, []byte(text), &m); err != nil {
						t.Fatal(err)
					}
					counts = counted(n)
					for name := range counts {
						counts[name] -= before[name]
					}
					return y.receive(), counts
				}
				for _, text := range []string{"text", ""} {
					within, counts := send(text)
					if x.way.endpoint == nil {
						t.Error("it went through the stack")
					}
					n.Observe(1)
					x.way = way{}
					through, wanted := send(text)
					n.Observe(-1)
					if x.way.endpoint != nil {
						t.Error("it went past the stack while somebody captures")
					}
					if within.err != nil || !reflect.DeepEqual(within, through) {
						t.Errorf("past the stack\n%+v, through it\n%+v", within, through)
					}
					if !reflect.DeepEqual(counts, wanted) {
						for name := range wanted {
							if counts[name] != wanted[name] {
								t.Errorf("%s is counted %d times, not %d", name, counts[name], wanted[name])
							}
						}
					}
				}
			})
		}
	}
}

// TestWayChanges checks that a way is given up as soon as it is none any more.
func TestWayChanges(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	prefix := netip.MustParsePrefix("10.1.2.3/32")
	if err := n.AddAddress(network.AddressInfo{Link: 1, Prefix: prefix}); err != nil {
		t.Fatal(err)
	}
	x, y, z := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	for _, s := range []*Socket{x, y, z} {
		defer s.Release()
		if err := s.Bind(root, at(unix.AF_INET, "0.0.0.0", 0)); err != nil {
			t.Fatal(err)
		}
	}
	addr := func(s *Socket, ip string) []byte {
		local, _ := s.ep.Load().GetLocalAddress()
		return at(unix.AF_INET, ip, local.Port)
	}
	send := func(to []byte, size int) error {
		_, err := x.Send(root, make([]byte, size), &socket.Message{Addr: to})
		return err
	}
	expect := func(s *Socket, size int) {
		t.Helper()
		if got := s.receive(); len(got.data) != size || got.err != nil {
			t.Errorf("%d bytes have come, %v; not %d", len(got.data), got.err, size)
		}
	}
	// The peer, and the socket's own address with it.
	for _, s := range []*Socket{y, z} {
		if err := x.Connect(root, addr(s, "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		if err := send(nil, 3); err != nil {
			t.Fatal(err)
		}
		expect(s, 3)
	}
	if err := x.Connect(root, []byte{unix.AF_UNSPEC, 0}); err != nil {
		t.Fatal(err)
	}
	if err := send(nil, 3); err != unix.EDESTADDRREQ {
		t.Errorf("sent to no peer: %v", err)
	}
	// What the socket is bound to.
	own := addr(y, "10.1.2.3")
	if err := send(own, 4); err != nil || x.way.endpoint == nil {
		t.Fatal(err)
	}
	expect(y, 4)
	x.number(t, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 1)
	if err := send(own, 5); err != nil {
		t.Error(err)
	}
	expect(y, 5)
	x.number(t, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 0)
	// The longest packet.
	if err := n.SetMTU(1, 1280); err != nil {
		t.Fatal(err)
	}
	if send(own, 1500) != nil || x.way.most > 1280 {
		t.Error("fragments are not left to the stack")
	}
	expect(y, 1500)
	// The address.
	if err := n.DeleteAddress(1, prefix); err != nil {
		t.Fatal(err)
	}
	if err := send(own, 6); err != unix.ENETUNREACH {
		t.Errorf("sent to an address that has gone: %v", err)
	}
	if err := send(addr(z, "127.0.0.1"), 7); err != nil || x.way.endpoint == nil {
		t.Error(err)
	}
	expect(z, 7)
	// The interface.
	if err := n.SetUp(1, false); err != nil {
		t.Fatal(err)
	}
	if err := send(addr(z, "127.0.0.1"), 8); err != nil || x.way.endpoint != nil {
		t.Errorf("sent while lo is down, which loses it: %v, by way of %+v", err, x.way)
	}
	// The receiver: a closed port answers.
	if err := n.SetUp(1, true); err != nil {
		t.Fatal(err)
	}
	closed := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	if err := closed.Bind(root, at(unix.AF_INET, "127.0.0.1", 0)); err != nil {
		t.Fatal(err)
	}
	if err := x.Connect(root, closed.Name()); err != nil {
		t.Fatal(err)
	}
	send(nil, 9)
	expect(closed, 9)
	closed.Release()
	if err := send(nil, 9); err != nil {
		t.Error(err)
	}
	if err := send(nil, 9); err != unix.ECONNREFUSED {
		t.Errorf("nobody listens, and it is %v", err)
	}
}

// TestDatagramsObserved: a raw socket receives copies of what goes between others.
func TestDatagramsObserved(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	x, y := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer x.Release()
	defer y.Release()
	if err := y.Bind(root, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	send := func() {
		t.Helper()
		if _, err := x.Send(root, []byte("text"), &socket.Message{Addr: y.Name()}); err != nil {
			t.Fatal(err)
		}
		if r := y.receive(); r.data != "text" {
			t.Fatalf("%+v", r)
		}
	}
	send()
	send()
	sniffer, err := New(n.Namespace, &n.Registry, root, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer sniffer.Release()
	send()
	if r := sniffer.receive(); len(r.data) != 28+4 || r.data[28:] != "text" {
		t.Errorf("a raw socket receives %+v", r)
	}
}

// TestDatagramsWhileClosed has receivers close, and the network change, while others send to them.
func TestDatagramsWhileClosed(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	x := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer x.Release()
	y := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	if err := y.Bind(root, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	to := y.Name()
	y.Release()
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					x.Send(root, []byte("text"), &socket.Message{Addr: to})
				}
			}
		})
	}
	all.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				x.Connect(root, to)
				x.Connect(root, []byte{unix.AF_UNSPEC, 0})
			}
		}
	})
	for range 200 {
		y := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
		if err := y.Bind(root, to); err != nil {
			t.Fatal(err)
		}
		y.receive()
		y.Release()
	}
	close(done)
	all.Wait()
}
