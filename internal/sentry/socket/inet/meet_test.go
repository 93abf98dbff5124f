package inet

import (
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// nothingLeft checks that no connections of a namespace are known any more.
func (n *net) nothingLeft(t *testing.T) {
	t.Helper()
	pairs.Lock()
	defer pairs.Unlock()
	for of, p := range pairs.m {
		if of.stack == n.Stack() {
			t.Errorf("left over: %v in %v, %v", of.address, p.current(callee), p.current(caller))
		}
	}
}

// TestFullBacklog fills a listener: those beyond are the stack's, which has them wait, and
// none gets lost.
func TestFullBacklog(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	l := n.listener(t, 1)
	var clients []*Socket
	for range 4 {
		c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
		if err := c.Connect(root, l.Name()); err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	for i, c := range clients {
		if m, made := c.Readiness(waiter.Out), i < 2; (m != 0) != made || (c.end.Load() != nil) != made {
			t.Errorf("connection %d: ready for %#x", i, m)
		}
	}
	for range clients {
		var a socket.Socket
		if err := again(l, waiter.Readable, func() (err error) { a, err = l.Accept(); return err }); err != nil {
			t.Fatal(err)
		}
		a.(*Socket).Release()
	}
	if l.narrowed {
		t.Error("the stack still takes fewer than the backlog")
	}
	for _, c := range clients {
		c.Release()
	}
	l.Release()
}

// TestTurnedAway closes a listener whose connections nobody has accepted.
func TestTurnedAway(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	l, c := n.listener(t, 5), n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := c.Connect(root, l.Name()); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	if _, err := c.Send(root, []byte("text"), &socket.Message{}); err != nil {
		t.Fatal(err)
	}
	l.Release()
	if _, err := c.Recv(make([]byte, 9), &socket.Message{}); err != unix.ECONNRESET {
		t.Errorf("receiving is %v", err)
	}
	c.Release()
	n.nothingLeft(t)
}

// TestMetTooOften has many ports in use that connections are over on: they are bounded, and
// can be used again.
func TestMetTooOften(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	l := n.listener(t, 5)
	for range maxLingering + 100 {
		c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
		if err := c.Connect(root, l.Name()); err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Release()
		a.(*Socket).Release()
	}
	l.Release()
	var waiting []*pair
	pairs.Lock()
	for of, p := range pairs.m {
		if of.stack == n.Stack() {
			waiting = append(waiting, p)
		}
	}
	pairs.Unlock()
	// Some ports of theirs may have been used again.
	if len(waiting) > maxLingering || len(waiting) < maxLingering/2 {
		t.Errorf("%d connections are in TIME_WAIT", len(waiting))
	}
	for _, p := range waiting {
		p.Abort()
	}
	n.nothingLeft(t)
}

// TestSentWhileConnecting sends by a socket while it connects to who has no room for it: what
// it sends is not taken for nobody.
func TestSentWhileConnecting(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	l := n.listener(t, 0)
	full, c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM), n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := full.Connect(root, l.Name()); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if done, err := c.Send(root, []byte("x"), &socket.Message{}); err == nil {
				t.Errorf("%d bytes sent to nobody", done)
			}
		}
	})
	for range 500 {
		if err := c.Connect(root, l.Name()); err != unix.EINPROGRESS {
			t.Error(err)
		}
		c.Connect(root, make([]byte, 16)) // AF_UNSPEC
	}
	close(stop)
	sending.Wait()
	c.Release()
	full.Release()
	l.Release()
}

// TestFinWait2 has a side that is closed wait for the other one's end no longer than
// TCP_LINGER2 says.
func TestFinWait2(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	c, a := n.pair(t, true)
	if err := c.SetOption(root, unix.IPPROTO_TCP, unix.TCP_LINGER2, int32Bytes(1)); err != nil {
		t.Fatal(err)
	}
	h := c.ep.Load().half.Load()
	c.Release()
	if state := h.current(); state != tcp.StateFinWait2 {
		t.Errorf("the state is %v", state)
	}
	for until := time.Now().Add(time.Minute); h.current() != tcp.StateClose; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it still waits")
		}
	}
	if _, err := a.Send(root, []byte("x"), &socket.Message{}); err != nil {
		t.Error(err)
	}
	if _, err := a.Send(root, []byte("x"), &socket.Message{}); err != unix.EPIPE {
		t.Errorf("sending to nobody is %v", err)
	}
	a.Release()
	n.nothingLeft(t)
}

// TestMeetTogether has sockets connect, of the same port too, while their listener is
// closed and made again, and both ends are closed, for the race detector.
func TestMeetTogether(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	l := n.listener(t, 2)
	var clients, listening sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for range 50 {
				c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
				c.SetOption(root, unix.SOL_SOCKET, unix.SO_REUSEADDR, int32Bytes(1))
				c.SetOption(root, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0})
				if i%2 == 0 {
					c.Bind(root, loopback4(20000))
				}
				c.Connect(root, l.Name())
				c.Send(root, []byte("x"), &socket.Message{})
				c.Readiness(waiter.All)
				n.List(func(*socket.Info) bool { return true })
				c.Release()
			}
		})
	}
	stop := make(chan struct{})
	listening.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if a, err := l.Accept(); err == nil {
				a.(*Socket).Recv(make([]byte, 9), &socket.Message{})
				a.(*Socket).Release()
			}
			if i%10 == 0 {
				l.Shutdown(unix.SHUT_RD)
				l.Listen(root, int32(i%3))
			}
		}
	})
	clients.Wait()
	close(stop)
	listening.Wait()
	l.Release()
	for until := time.Now().Add(time.Minute); len(n.List(func(*socket.Info) bool { return true })) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("left over: %v", n.List(func(*socket.Info) bool { return true }))
		}
	}
	n.nothingLeft(t)
}

// TestNamespaceGoes has a namespace end before what is left of its connections.
func TestNamespaceGoes(t *testing.T) {
	n := newNet()
	w := weak.Make(n.Namespace)
	a, b := n.pair(t, true)
	h := a.ep.Load().half.Load()
	a.Release()
	b.Release()
	if state := h.current(); state != tcp.StateTimeWait {
		t.Errorf("the state is %v", state)
	}
	n, a, b = nil, nil, nil
	for until := time.Now().Add(time.Minute); w.Value() != nil; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(until) {
			t.Fatal("the namespace is still there")
		}
	}
	h.Abort()
}
