package inet

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"weak"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// task is a socket.Caller without memory.
type task struct{ cred *auth.Credentials }

func (t task) Credentials() *auth.Credentials        { return t.cred }
func (task) Umask() uint32                           { return 0 }
func (task) FSLimit() uint64                         { return 0 }
func (task) CopyIn(uint64, []byte) (int, error)      { return 0, unix.EFAULT }
func (task) CopyOut(_ uint64, p []byte) (int, error) { return len(p), nil }
func (task) SocketCredentials() socket.Ucred         { return socket.Ucred{} }
func (task) Mounts() *vfs.MountNamespace             { return nil }
func (task) PathOrigin() vfs.Origin                  { return vfs.Origin{} }

var root = task{auth.New(0, 0, nil)}

type net struct {
	*network.Namespace
	socket.Registry
	// handshakes has the stack make all connections of sockets from socket.
	handshakes bool
}

func newNet() *net { return &net{Namespace: network.Loopback()} }

func (n *net) socket(t testing.TB, family, typ int32) *Socket {
	t.Helper()
	s, err := New(n.Namespace, &n.Registry, root, family, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n.handshakes {
		n.bindToLoopback(t, s)
	}
	return s
}

// bindToLoopback makes a socket one whose connections the stack makes.
func (n *net) bindToLoopback(t testing.TB, s *Socket) {
	t.Helper()
	if err := s.SetOption(root, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, []byte("lo")); err != nil {
		t.Fatal(err)
	}
}

// again makes try until it is not EAGAIN or a connection in progress, waiting as a
// task does.
func again(s *Socket, mask waiter.Mask, try func() error) error {
	c := waiter.NewChannel()
	e := &waiter.Entry{Mask: mask | waiter.Always, Listener: c}
	s.Register(e)
	defer s.Unregister(e)
	for {
		err := try()
		if err != unix.EAGAIN && err != unix.EINPROGRESS && err != unix.EALREADY {
			return err
		}
		select {
		case <-c:
		case <-time.After(time.Minute):
			return unix.ETIMEDOUT
		}
	}
}

func loopback4(port uint16) []byte {
	return sockaddr(unix.AF_INET, tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: port})
}

// listener listens at a port of the namespace's.
func (n *net) listener(t testing.TB, backlog int32) *Socket {
	t.Helper()
	l := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := l.Bind(root, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(root, backlog); err != nil {
		t.Fatal(err)
	}
	return l
}

// pair connects two streams. Without near the stack carries what they send.
func (n *net) pair(t testing.TB, nearby bool) (client, server *Socket) {
	t.Helper()
	l := n.listener(t, 1)
	defer l.Release()
	if !nearby {
		n.Observe(1)
		defer n.Observe(-1)
	}
	client = n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := again(client, waiter.Writable, func() error { return client.Connect(root, l.Name()) }); err != nil {
		t.Fatal(err)
	}
	var a socket.Socket
	if err := again(l, waiter.Readable, func() (err error) { a, err = l.Accept(); return err }); err != nil {
		t.Fatal(err)
	}
	server = a.(*Socket)
	if (server.end.Load() != nil) != nearby {
		t.Fatalf("near: %t, want %t", !nearby, nearby)
	}
	if made := server.ep.Load().half.Load() == nil; nearby && made != n.handshakes {
		t.Fatalf("made by the stack: %t, want %t", made, n.handshakes)
	}
	return client, server
}

// stream makes blocking reads and writes of a socket, larger ones directly if that can be.
type stream struct{ *Socket }

func (s stream) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if err := again(s.Socket, waiter.Writable, func() error {
			n, ok, err := 0, false, error(nil)
			if len(p) > 4096 {
				n, ok, err = s.SendFrom(&memory{b: p[done:]}, len(p)-done, 0)
			}
			if !ok {
				n, err = s.Send(root, p[done:], &socket.Message{})
			}
			done += n
			return err
		}); err != nil {
			return done, err
		}
	}
	return len(p), nil
}

func (s stream) Read(p []byte) (n int, err error) {
	err = again(s.Socket, waiter.Readable|waiter.RdHup, func() (err error) {
		if len(p) > 4096 {
			var ok bool
			if n, ok, err = s.RecvTo(&memory{b: p}, len(p), 0); ok {
				return err
			}
		}
		n, err = s.Recv(p, &socket.Message{})
		return err
	})
	if err == nil && n == 0 {
		return 0, io.EOF
	}
	return n, err
}

// nothingHeld checks at the end of a test that all that its sockets counted for is given
// back, when connections have come to their end. What earlier tests left may take longer.
func nothingHeld(t *testing.T) {
	earlier := map[weak.Pointer[tcp.Endpoint]]bool{}
	held := func() int64 {
		lingering.Lock()
		defer lingering.Unlock()
		n := shmem.Buffers.Used()
		for _, o := range lingering.orphans {
			if earlier[o.endpoint] {
				n -= o.charge
			}
		}
		return n
	}
	lingering.Lock()
	for _, o := range lingering.orphans {
		earlier[o.endpoint] = true
	}
	lingering.Unlock()
	before := held()
	t.Cleanup(func() {
		for until := time.Now().Add(2 * time.Minute); held() != before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%d bytes are still counted", held()-before)
			}
			settleOrphans()
		}
	})
}

// testAllWays has connections made and their bytes carried past the stack, the bytes only,
// and nothing.
func testAllWays(t *testing.T, f func(t *testing.T, n *net, nearby bool)) {
	nothingHeld(t)
	t.Run("near", func(t *testing.T) { f(t, newNet(), true) })
	t.Run("handshake", func(t *testing.T) {
		n := newNet()
		n.handshakes = true
		f(t, n, true)
	})
	t.Run("stack", func(t *testing.T) { f(t, newNet(), false) })
}

// TestStreams sends much both ways at once, in pieces of all sizes.
func TestStreams(t *testing.T) {
	testAllWays(t, func(t *testing.T, n *net, nearby bool) {
		a, b := n.pair(t, nearby)
		var wg sync.WaitGroup
		for i, way := range [][2]*Socket{{a, b}, {b, a}} {
			data := make([]byte, 3<<20)
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for j := range data {
				data[j] = byte(r.Uint32())
			}
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 2))
				for rest := data; len(rest) > 0; {
					k := min(1+r.IntN(100000), len(rest))
					if _, err := (stream{way[0]}).Write(rest[:k]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[k:]
				}
				if err := way[0].Shutdown(unix.SHUT_WR); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(stream{way[1]})
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
				}
			})
		}
		wg.Wait()
		a.Release()
		b.Release()
	})
}

// TestSentBeforeAccept has a client send while its connection is accepted: what went
// through the stack comes before what went past it.
func TestSentBeforeAccept(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	n.handshakes = true
	l := n.listener(t, 1)
	defer l.Release()
	for range 50 {
		c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
		if err := again(c, waiter.Writable, func() error { return c.Connect(root, l.Name()) }); err != nil {
			t.Fatal(err)
		}
		const count = 2000
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range uint32(count) {
				if _, err := (stream{c}).Write(binary.LittleEndian.AppendUint32(nil, i)); err != nil {
					t.Error(err)
				}
			}
			c.Release()
		})
		var a socket.Socket
		if err := again(l, waiter.Readable, func() (err error) { a, err = l.Accept(); return err }); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(stream{a.(*Socket)})
		wg.Wait()
		if err != nil || len(got) != 4*count {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		for i := range uint32(count) {
			if v := binary.LittleEndian.Uint32(got[4*i:]); v != i {
				t.Fatalf("number %d is %d", i, v)
			}
		}
		a.(*Socket).Release()
	}
}

// TestEnds closes in all the ways that there are.
func TestEnds(t *testing.T) {
	testAllWays(t, func(t *testing.T, n *net, nearby bool) {
		for _, c := range []struct {
			name   string
			before func(closing, other *Socket)
			want   error
		}{
			{"nothing sent", func(_, _ *Socket) {}, io.EOF},
			{"unread", func(_, other *Socket) { stream{other}.Write([]byte("x")) }, unix.ECONNRESET},
			{"linger for no time", func(closing, _ *Socket) {
				closing.SetOption(root, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			}, unix.ECONNRESET},
			{"other has shut down", func(_, other *Socket) { other.Shutdown(unix.SHUT_WR) }, io.EOF},
		} {
			a, b := n.pair(t, nearby)
			c.before(a, b)
			if c.name == "unread" {
				again(a, waiter.Readable, func() error {
					if a.Readiness(waiter.In) == 0 {
						return unix.EAGAIN
					}
					return nil
				})
			}
			a.Release()
			if _, err := (stream{b}).Read(make([]byte, 9)); err != c.want {
				t.Errorf("%s: reading is %v, want %v", c.name, err, c.want)
			}
			if _, err := (stream{b}).Read(make([]byte, 9)); err != io.EOF {
				t.Errorf("%s: reading again is %v", c.name, err)
			}
			if m := b.Readiness(waiter.All); m&(waiter.In|waiter.RdHup) != waiter.In|waiter.RdHup {
				t.Errorf("%s: ready for %#x", c.name, m)
			}
			b.Release()
		}
		if list := n.List(func(i *socket.Info) bool { return i.Inode != 0 }); len(list) != 0 {
			t.Errorf("left over: %v", list)
		}
		callers.Lock()
		defer callers.Unlock()
		if len(callers.m) != 0 {
			t.Errorf("callers left over: %v", callers.m)
		}
	})
}

// TestFlood sends to sockets that nobody reads from, with little memory for what they
// hold: senders are told, and what was held can be had again.
func TestFlood(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	from := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer from.Release()
	shmem.Buffers.SetLimit(shmem.Buffers.Used() + 1<<20)
	defer shmem.Buffers.SetLimit(0)
	for range 2 {
		var receivers []*Socket
		var err error
		for len(receivers) < 1000 && err == nil {
			var to *Socket
			if to, err = New(n.Namespace, &n.Registry, root, unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
				break
			}
			receivers = append(receivers, to)
			if err := to.Bind(root, loopback4(0)); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				if _, err = from.Send(root, make([]byte, 9000), &socket.Message{Addr: to.Name()}); err != nil {
					break
				}
			}
		}
		if err != unix.ENOBUFS || len(receivers) < 3 {
			t.Errorf("%d receivers, then %v", len(receivers), err)
		}
		held := 0
		for _, to := range receivers {
			for {
				k, err := to.Recv(nil, &socket.Message{})
				if err != nil {
					break
				}
				held += k
			}
			to.Release()
		}
		if held > 2<<20 {
			t.Errorf("%d bytes were held", held)
		}
	}
}

// TestOrphans: connections that were closed while nobody takes what they have sent count
// until that is over, so that closing them is no way to have memory without end.
func TestOrphans(t *testing.T) {
	for _, handshakes := range []bool{false, true} {
		testOrphans(t, handshakes)
	}
}

func testOrphans(t *testing.T, handshakes bool) {
	nothingHeld(t)
	n := newNet()
	l := n.listener(t, 1000)
	shmem.Buffers.SetLimit(shmem.Buffers.Used() + 8<<20)
	defer shmem.Buffers.SetLimit(0)
	closed, err := 0, error(nil)
	for closed < 1000 {
		var c *Socket
		if c, err = New(n.Namespace, &n.Registry, root, unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
			break
		}
		if handshakes {
			n.bindToLoopback(t, c)
		}
		if err := again(c, waiter.Writable, func() error { return c.Connect(root, l.Name()) }); err != nil {
			t.Fatal(err)
		}
		_, err = c.Send(root, make([]byte, 64<<10), &socket.Message{})
		c.Release()
		if err != nil {
			break
		}
		closed++
	}
	if err != unix.ENOBUFS || closed < 3 {
		t.Errorf("%d closed connections, then %v", closed, err)
	}
	l.Release() // resets them all
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if s, err := New(n.Namespace, &n.Registry, root, unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
			s.Release()
			return
		}
		if time.Now().After(until) {
			t.Fatal("nothing was given back after all had ended")
		}
	}
}

// TestTogether has sockets used, changed and closed by many at once, for the race
// detector.
func TestTogether(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	for i := range 40 {
		n.handshakes = i%2 == 1
		a, b := n.pair(t, true)
		var wg sync.WaitGroup
		for _, s := range []*Socket{a, b} {
			for _, f := range []func(){
				func() { s.Send(root, make([]byte, 70000), &socket.Message{}) },
				func() { s.Recv(make([]byte, 50000), &socket.Message{}) },
				func() { s.Readiness(waiter.All); s.Info(); s.Name(); s.PeerName() },
				func() { s.SetOption(root, unix.SOL_SOCKET, unix.SO_SNDBUF, int32Bytes(5000)) },
				func() { s.Option(root, unix.IPPROTO_TCP, unix.TCP_INFO) },
				func() { s.Shutdown(unix.SHUT_WR) },
				func() { s.Connect(root, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) },
			} {
				wg.Go(f)
			}
		}
		wg.Wait()
		a.Release()
		b.Release()
	}
}

func FuzzAddress(f *testing.F) {
	f.Add(loopback4(80))
	f.Add(sockaddr(unix.AF_INET6, tcpip.FullAddress{Addr: tcpip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1}), NIC: 1, Port: 80}))
	n := newNet()
	four, six := n.socket(f, unix.AF_INET, unix.SOCK_DGRAM), n.socket(f, unix.AF_INET6, unix.SOCK_DGRAM)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, s := range []*Socket{four, six} {
			full, err := s.destination(raw)
			if err != nil {
				continue
			}
			if back, err := s.destination(sockaddr(s.family.Load(), full)); err != nil || back.Port != full.Port {
				t.Errorf("%v comes back as %v, %v", full, back, err)
			}
			s.bindAddress(raw)
		}
	})
}

func FuzzSendControl(f *testing.F) {
	b := socket.ControlBuilder{Room: 200}
	b.Add(unix.IPPROTO_IP, unix.IP_TTL, int32Bytes(7))
	b.Add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20))
	b.Add(unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{1, 2})
	f.Add(b.Buf)
	s := newNet().socket(f, unix.AF_INET6, unix.SOCK_DGRAM)
	f.Fuzz(func(_ *testing.T, raw []byte) {
		list, err := socket.ParseControl(raw)
		if err != nil {
			return
		}
		for _, to := range []tcpip.Address{loopback4Address, tcpip.AddrFrom16([16]byte{15: 1})} {
			s.sendControl(root, s.ep.Load(), tcpip.FullAddress{Addr: to}, new(tcpip.WriteOptions), list)
		}
	})
}

// FuzzOptions sets and gets any option with any value, of both kinds of sockets.
func FuzzOptions(f *testing.F) {
	f.Add(int32(unix.SOL_SOCKET), int32(unix.SO_LINGER), make([]byte, 8))
	f.Add(int32(unix.IPPROTO_TCP), int32(unix.TCP_CONGESTION), []byte("reno"))
	f.Add(int32(unix.IPPROTO_IPV6), int32(unix.IPV6_TCLASS), int32Bytes(9))
	f.Add(int32(unix.SOL_SOCKET), int32(unix.SO_BINDTODEVICE), []byte("lo"))
	n := newNet()
	f.Fuzz(func(_ *testing.T, level, name int32, value []byte) {
		for _, typ := range []int32{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			s, err := New(n.Namespace, &n.Registry, root, unix.AF_INET6, typ, 0)
			if err != nil {
				continue
			}
			s.SetOption(root, level, name, value)
			s.Option(root, level, name)
			s.Release()
		}
	})
}

func BenchmarkPingPong(b *testing.B) {
	for _, c := range []struct {
		name   string
		nearby bool
	}{{"near", true}, {"stack", false}} {
		b.Run(c.name, func(b *testing.B) {
			x, y := newNet().pair(b, c.nearby)
			p := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				(stream{x}).Write(p)
				if _, err := io.ReadFull(stream{y}, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnect makes, accepts and closes connections.
func BenchmarkConnect(b *testing.B) {
	n := newNet()
	l := n.listener(b, 10)
	b.ReportAllocs()
	for b.Loop() {
		c := n.socket(b, unix.AF_INET, unix.SOCK_STREAM)
		if err := again(c, waiter.Writable, func() error { return c.Connect(root, l.Name()) }); err != nil {
			b.Fatal(err)
		}
		var a socket.Socket
		if err := again(l, waiter.Readable, func() (err error) { a, err = l.Accept(); return err }); err != nil {
			b.Fatal(err)
		}
		a.Release()
		c.Release()
	}
}

func BenchmarkDatagram(b *testing.B) {
	n := newNet()
	from, to := n.socket(b, unix.AF_INET, unix.SOCK_DGRAM), n.socket(b, unix.AF_INET, unix.SOCK_DGRAM)
	if err := to.Bind(root, loopback4(0)); err != nil {
		b.Fatal(err)
	}
	p, addr := make([]byte, 64), to.Name()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.Send(root, p, &socket.Message{Addr: addr}); err != nil {
			b.Fatal(err)
		}
		if _, err := (stream{to}).Socket.Recv(p, &socket.Message{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestObserved: of connections that begin while somebody captures packets, there are packets.
func TestObserved(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	sniffer, err := New(n.Namespace, &n.Registry, root, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	end := func(a, b *Socket) { a.Release(); b.Release() }
	end(n.pair(t, false))
	sniffer.Release()
	n.Observe(1) // as packet sockets do
	end(n.pair(t, false))
	n.Observe(-1)
	end(n.pair(t, true))
}

// TestWoke: a send tells whether somebody waited for it, once.
func TestWoke(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	client, server := n.pair(t, true)
	defer client.Release()
	defer server.Release()
	from, to := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer from.Release()
	defer to.Release()
	if err := to.Bind(root, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	if err := from.Connect(root, to.Name()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to *Socket }{{client, server}, {from, to}} {
		send := func() bool {
			t.Helper()
			if _, err := c.from.Send(root, []byte("text"), &socket.Message{}); err != nil {
				t.Fatal(err)
			}
			return c.from.Woke()
		}
		if send() {
			t.Error("nobody waits, and is woken")
		}
		if _, err := c.to.Recv(make([]byte, 10), &socket.Message{}); err != nil {
			t.Fatal(err)
		}
		e := &waiter.Entry{Mask: waiter.Readable, Listener: waiter.NewChannel()}
		c.to.Register(e)
		if !send() || c.from.Woke() {
			t.Error("who waits is not woken, or more than once")
		}
		c.to.Unregister(e)
	}
}
