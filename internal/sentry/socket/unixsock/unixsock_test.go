package unixsock

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// caller is a task without memory or mounts.
type caller struct {
	vfs.Caller
	pid int32
	uid uint32
}

func (c caller) Credentials() *auth.Credentials { return auth.New(c.uid, c.uid, nil) }
func (c caller) Umask() uint32                  { return 022 }
func (c caller) SocketCredentials() socket.Ucred {
	return socket.Ucred{PID: c.pid, UID: c.uid, GID: c.uid}
}
func (c caller) Mounts() *vfs.MountNamespace { return nil }
func (c caller) PathOrigin() vfs.Origin      { return vfs.Origin{} }

var (
	root = caller{pid: 1}
	user = caller{pid: 7, uid: 1000}
)

const asked = waiter.In | waiter.Out | waiter.RdHup | waiter.Always

func abstract(name string) []byte { return append([]byte{unix.AF_UNIX, 0, 0}, name...) }

func send(s *Socket, p string, m socket.Message) (int, error) {
	return s.Send(root, []byte(p), &m)
}

func recv(s *Socket, n int, flags int32) (string, socket.Message, error) {
	m := socket.Message{Flags: flags}
	p := make([]byte, n)
	k, err := s.Recv(p, &m)
	return string(p[:min(k, n)]), m, err
}

func expect(t *testing.T, s *Socket, n int, want string, wantErr error) socket.Message {
	t.Helper()
	got, m, err := recv(s, n, 0)
	if got != want || err != wantErr {
		t.Errorf("received %q, %v; want %q, %v", got, err, want, wantErr)
	}
	return m
}

func ready(t *testing.T, what string, s *Socket, want waiter.Mask) {
	t.Helper()
	if got := s.Readiness(asked); got != want {
		t.Errorf("%s: readiness %#x, want %#x", what, got, want)
	}
}

func TestStreamPair(t *testing.T) {
	a, b := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	ready(t, "fresh", a, waiter.Out)
	send(a, "one", socket.Message{})
	send(a, "two", socket.Message{})
	ready(t, "with data", b, waiter.In|waiter.Out)
	if got, _, _ := recv(b, 10, unix.MSG_PEEK); got != "onetwo" {
		t.Errorf("peeked %q", got)
	}
	expect(t, b, 4, "onet", nil)
	expect(t, b, 4, "wo", nil)
	expect(t, b, 4, "", unix.EAGAIN)
	if _, err := send(a, "x", socket.Message{Addr: abstract("n")}); err != unix.EISCONN {
		t.Errorf("send with an address: %v", err)
	}
	total := 0
	for {
		n, err := send(a, string(make([]byte, 10000)), socket.Message{})
		if err != nil {
			if err != unix.EAGAIN {
				t.Error(err)
			}
			break
		}
		total += n
	}
	if total > abi.DefaultSocketBuffer || total < abi.DefaultSocketBuffer-overhead {
		t.Errorf("%d bytes fit", total)
	}
	ready(t, "full", a, 0)
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.Out, Listener: ch}
	a.Register(&e)
	defer a.Unregister(&e)
	recv(b, total/2, 0)
	select {
	case <-ch:
		t.Error("woken while more than a quarter is taken")
	default:
	}
	recv(b, total, 0)
	select {
	case <-ch:
	default:
		t.Error("not woken when there is room")
	}
}

func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		how          int32
		aReady       waiter.Mask // of the one that shuts down
		bReady       waiter.Mask
		aSend, bSend error
		aRecv, bRecv error
	}{
		{unix.SHUT_RD, waiter.In | waiter.Out | waiter.RdHup, waiter.Out, nil, unix.EPIPE, nil, unix.EAGAIN},
		{unix.SHUT_WR, waiter.Out, waiter.In | waiter.Out | waiter.RdHup, unix.EPIPE, nil, unix.EAGAIN, nil},
		{unix.SHUT_RDWR, waiter.In | waiter.Out | waiter.RdHup | waiter.Hup,
			waiter.In | waiter.Out | waiter.RdHup | waiter.Hup, unix.EPIPE, unix.EPIPE, nil, nil},
	} {
		a, b := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
		if err := a.Shutdown(c.how); err != nil {
			t.Fatal(err)
		}
		ready(t, "a", a, c.aReady)
		ready(t, "b", b, c.bReady)
		expect(t, a, 1, "", c.aRecv)
		expect(t, b, 1, "", c.bRecv)
		if _, err := send(a, "x", socket.Message{}); err != c.aSend {
			t.Errorf("how %d: a sends: %v", c.how, err)
		}
		if _, err := send(b, "x", socket.Message{}); err != c.bSend {
			t.Errorf("how %d: b sends: %v", c.how, err)
		}
	}
	a, _ := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	if err := a.Shutdown(3); err != unix.EINVAL {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	a, b := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	send(a, "last words", socket.Message{})
	a.Release()
	ready(t, "peer closed", b, waiter.In|waiter.Out|waiter.RdHup|waiter.Hup)
	if _, err := send(b, "x", socket.Message{}); err != unix.EPIPE {
		t.Errorf("send to a closed peer: %v", err)
	}
	expect(t, b, 20, "last words", nil)
	expect(t, b, 20, "", nil)
	b.Release()

	a, b = NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	send(b, "unread", socket.Message{})
	a.Release()
	ready(t, "peer closed with unread data", b, waiter.In|waiter.Out|waiter.RdHup|waiter.Hup|waiter.Err)
	expect(t, b, 1, "", unix.ECONNRESET)
	expect(t, b, 1, "", nil)
	b.Release()
}

func TestConnectAccept(t *testing.T) {
	ns := NewNamespace()
	l := New(ns, user, unix.SOCK_STREAM)
	ready(t, "unconnected", l, waiter.Out|waiter.Hup)
	if err := l.Listen(user, 1); err != unix.EINVAL {
		t.Errorf("listen without a name: %v", err)
	}
	c := New(ns, root, unix.SOCK_STREAM)
	if err := c.Connect(root, abstract("srv")); err != unix.ECONNREFUSED {
		t.Errorf("nobody there: %v", err)
	}
	if err := l.Bind(user, abstract("srv")); err != nil {
		t.Fatal(err)
	}
	if err := l.Bind(user, abstract("other")); err != unix.EINVAL {
		t.Errorf("second bind: %v", err)
	}
	if err := New(ns, root, unix.SOCK_DGRAM).Bind(root, abstract("srv")); err != unix.EADDRINUSE {
		t.Errorf("taken name: %v", err)
	}
	if err := c.Connect(root, abstract("srv")); err != unix.ECONNREFUSED {
		t.Errorf("not listening: %v", err)
	}
	if err := New(ns, root, unix.SOCK_DGRAM).Connect(root, abstract("srv")); err != unix.EPROTOTYPE {
		t.Errorf("wrong type: %v", err)
	}
	l.Listen(user, 0)
	ready(t, "listening", l, 0)
	if _, err := l.Accept(); err != unix.EAGAIN {
		t.Errorf("accept of nothing: %v", err)
	}
	if err := c.Connect(root, abstract("srv")); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(root, abstract("srv")); err != unix.EISCONN {
		t.Errorf("connected already: %v", err)
	}
	ready(t, "with a connection", l, waiter.In)
	second := New(ns, root, unix.SOCK_STREAM)
	if err := second.Connect(root, abstract("srv")); err != unix.EAGAIN {
		t.Errorf("full backlog: %v", err)
	}
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.Out, Listener: ch}
	second.Register(&e)
	send(c, "early", socket.Message{})
	f, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ch:
	default:
		t.Error("a waiting client was not woken")
	}
	second.Unregister(&e)
	s := f.(*Socket)
	expect(t, s, 10, "early", nil)
	if got := s.Name(); !bytes.Equal(got, abstract("srv")) {
		t.Errorf("server's name %q", got)
	}
	if got, err := c.PeerName(); err != nil || !bytes.Equal(got, abstract("srv")) {
		t.Errorf("client's peer %q %v", got, err)
	}
	if got, _ := s.PeerName(); !bytes.Equal(got, []byte{1, 0}) {
		t.Errorf("server's peer %q", got)
	}
	if got := c.peerCred(); got != user.SocketCredentials() {
		t.Errorf("client sees %+v", got)
	}
	if got := s.peerCred(); got != root.SocketCredentials() {
		t.Errorf("server sees %+v", got)
	}
	if err := second.Connect(root, abstract("srv")); err != nil {
		t.Fatal(err)
	}
	l.Release()
	expect(t, second, 1, "", unix.ECONNRESET)
	if err := New(ns, root, unix.SOCK_STREAM).Connect(root, abstract("srv")); err != unix.ECONNREFUSED {
		t.Errorf("after the listener is gone: %v", err)
	}
	if len(ns.abstract) != 0 {
		t.Error("the name is still taken")
	}
}

func TestDatagrams(t *testing.T) {
	ns := NewNamespace()
	a, b := New(ns, root, unix.SOCK_DGRAM), New(ns, root, unix.SOCK_DGRAM)
	if err := a.Bind(root, []byte{unix.AF_UNIX, 0}); err != nil {
		t.Fatal(err)
	}
	if name := a.Name(); len(name) != 8 || name[2] != 0 {
		t.Errorf("autobind gave %q", name)
	}
	b.Bind(root, abstract("b"))
	if _, err := send(a, "x", socket.Message{}); err != unix.ENOTCONN {
		t.Errorf("no destination: %v", err)
	}
	for _, p := range []string{"first", "", "third"} {
		if n, err := send(a, p, socket.Message{Addr: abstract("b")}); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	m := expect(t, b, 3, "fir", nil)
	if m.Flags&unix.MSG_TRUNC == 0 || !bytes.Equal(m.Addr, a.Name()) {
		t.Errorf("truncated message: %+v", m)
	}
	expect(t, b, 3, "", nil)
	expect(t, b, 9, "third", nil)
	expect(t, b, 9, "", unix.EAGAIN)
	if _, err := send(a, string(make([]byte, abi.DefaultSocketBuffer)), socket.Message{Addr: abstract("b")}); err != unix.EMSGSIZE {
		t.Errorf("too long: %v", err)
	}
	if err := a.Connect(root, abstract("b")); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; n < 2*maxQueued; n++ {
		if _, err := send(a, "x", socket.Message{}); err != nil {
			break
		}
	}
	if n != maxQueued {
		t.Errorf("%d messages fit", n)
	}
	ready(t, "receiver full", a, 0)
	b.Release()
	if _, err := send(a, "x", socket.Message{}); err != unix.ECONNREFUSED {
		t.Errorf("receiver gone: %v", err)
	}
	if _, err := send(a, "x", socket.Message{}); err != unix.ENOTCONN {
		t.Errorf("and again: %v", err)
	}
}

func TestSeqpacket(t *testing.T) {
	a, b := NewPair(NewNamespace(), root, unix.SOCK_SEQPACKET)
	send(a, "one", socket.Message{})
	send(a, "two", socket.Message{})
	expect(t, b, 10, "one", nil)
	expect(t, b, 2, "tw", nil)
	expect(t, b, 2, "", unix.EAGAIN)
	a.Release()
	expect(t, b, 2, "", nil)
}

func TestRights(t *testing.T) {
	ns := NewNamespace()
	a, b := NewPair(ns, root, unix.SOCK_STREAM)
	r, w := pipefs.New(nil, 0)
	defer w.DecRef()
	give := func() []*vfs.FileDescription { r.IncRef(); return []*vfs.FileDescription{r} }
	send(a, "before", socket.Message{})
	send(a, "with", socket.Message{Rights: give()})
	send(a, "after", socket.Message{})
	if _, m, _ := recv(b, 100, unix.MSG_PEEK); len(m.Rights) != 1 || r.RefCount() != 3 {
		t.Errorf("peek: %d rights, %d references", len(m.Rights), r.RefCount())
	} else {
		m.DropRights()
	}
	m := expect(t, b, 100, "beforewith", nil)
	if len(m.Rights) != 1 || m.Rights[0] != r {
		t.Fatalf("rights %v", m.Rights)
	}
	m.DropRights()
	if m := expect(t, b, 100, "after", nil); m.Rights != nil {
		t.Error("rights twice")
	}
	// read(2) loses them, and so does closing.
	send(a, "x", socket.Message{Rights: give()})
	b.Read(root, make([]byte, 1), 0)
	send(a, "x", socket.Message{Rights: give()})
	b.Release()
	if r.RefCount() != 1 || ns.total != 0 {
		t.Errorf("%d references, %d in flight", r.RefCount(), ns.total)
	}
	r.DecRef()
}

func TestRightsLimit(t *testing.T) {
	ns := NewNamespace()
	a, b := NewPair(ns, user, unix.SOCK_DGRAM)
	r, w := pipefs.New(nil, 0)
	defer w.DecRef()
	n := 0
	for ; n <= maxUserFlight; n++ {
		r.IncRef()
		m := socket.Message{Rights: []*vfs.FileDescription{r}}
		if _, err := a.Send(user, []byte("x"), &m); err == unix.EAGAIN {
			r.DecRef()
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	ns.byUser[user.uid] = maxUserFlight + 1
	m := socket.Message{Rights: []*vfs.FileDescription{r}}
	if _, err := b.Send(user, []byte("x"), &m); err != unix.ETOOMANYREFS {
		t.Errorf("beyond the limit: %v", err)
	}
}

// TestCycles closes sockets that are in each other's queues: they must go.
func TestCycles(t *testing.T) {
	ns := NewNamespace()
	pairOf := func() (a, b *vfs.FileDescription) {
		x, y := NewPair(ns, root, unix.SOCK_STREAM)
		return socket.NewDescription(x, 0), socket.NewDescription(y, 0)
	}
	pass := func(via, d *vfs.FileDescription) {
		t.Helper()
		d.IncRef()
		if _, err := send(via.File.(*Socket), "x", socket.Message{Rights: []*vfs.FileDescription{d}}); err != nil {
			t.Fatal(err)
		}
	}
	r, w := pipefs.New(nil, 0)
	// a and b hold each other; b's queue also holds a pipe.
	a, b := pairOf()
	pass(a, a) // into b's queue
	pass(b, b) // into a's queue
	pass(a, r)
	r.DecRef()
	a.DecRef()
	b.DecRef()
	// c is held by its own queue, but d, which is open, can still reach it.
	c, d := pairOf()
	pass(d, c)
	e, f := pairOf()
	pass(e, c) // into f's queue, and f stays open
	c.DecRef()
	ns.collectGarbage()
	if w.Readiness(asked) != waiter.Out|waiter.Err {
		t.Error("the pipe in the cycle is still open for reading")
	}
	if ns.total != 2 {
		t.Errorf("%d in flight, want the two of c", ns.total)
	}
	d.DecRef()
	e.DecRef()
	if c.RefCount() != 2 {
		t.Errorf("c has %d references", c.RefCount())
	}
	m := socket.Message{}
	f.File.(*Socket).Recv(make([]byte, 1), &m)
	if len(m.Rights) != 1 || m.Rights[0] != c {
		t.Fatal("c was not to be had from f")
	}
	m.DropRights()
	f.DecRef()
	ns.collectGarbage()
	if ns.total != 0 || len(ns.all) != 0 {
		t.Errorf("%d in flight, %d sockets left", ns.total, len(ns.all))
	}
	w.DecRef()
}

func TestCredentials(t *testing.T) {
	a, b := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	b.SetOption(root, unix.SOL_SOCKET, unix.SO_PASSCRED, socket.Number(1))
	a.Write(root, []byte("root"), 0, 0)
	a.Write(user, []byte("user"), 0, 0)
	for _, want := range []caller{root, user} {
		got, m, err := recv(b, 100, 0)
		if len(got) != 4 || err != nil || !m.HasCreds || m.Creds != want.SocketCredentials() {
			t.Errorf("%q %v %+v", got, err, m)
		}
	}
}

func TestConcurrentStream(t *testing.T) {
	a, b := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	const total = 3 << 20
	wait := func(s *Socket, m waiter.Mask, try func() (int, error)) int {
		ch := waiter.NewChannel()
		e := waiter.Entry{Mask: m, Listener: ch}
		s.Register(&e)
		defer s.Unregister(&e)
		for {
			n, err := try()
			if err == nil {
				return n
			}
			if err != unix.EAGAIN {
				t.Error(err)
				return 0
			}
			<-ch
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, 50000)
		sent := 0
		for sent < total {
			for i := range p {
				p[i] = byte((sent + i) % 251)
			}
			sent += wait(a, waiter.Out, func() (int, error) { return a.send(root, p[:min(len(p), total-sent)], nil) })
		}
		a.Shutdown(unix.SHUT_WR)
	})
	p, got := make([]byte, 7000), 0
	for {
		n := wait(b, waiter.In, func() (int, error) { return b.Read(root, p, 0) })
		if n == 0 {
			break
		}
		for i := range n {
			if p[i] != byte((got+i)%251) {
				t.Fatalf("byte %d is wrong", got+i)
			}
		}
		got += n
	}
	wg.Wait()
	if got != total {
		t.Errorf("got %d bytes: %v", got, io.ErrUnexpectedEOF)
	}
}

// TestConcurrentEverything looks for races and lock-ups.
func TestConcurrentEverything(t *testing.T) {
	ns := NewNamespace()
	l := New(ns, root, unix.SOCK_STREAM)
	l.Bind(root, abstract("l"))
	l.Listen(root, 10)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				c := New(ns, root, unix.SOCK_STREAM)
				if c.Connect(root, abstract("l")) == nil {
					d := socket.NewDescription(c, 0)
					d.IncRef()
					m := socket.Message{Rights: []*vfs.FileDescription{d}}
					if _, err := c.Send(root, []byte("hello"), &m); err != nil {
						d.DecRef()
					}
					c.Readiness(asked)
					d.DecRef()
				} else {
					c.Release()
				}
				if s, err := l.Accept(); err == nil {
					_, m, _ := recv(s.(*Socket), 10, 0)
					s.Readiness(asked)
					s.Release()
					m.DropRights()
				}
				ns.Sockets()
			}
		})
	}
	wg.Wait()
	l.Release()
	ns.collectGarbage()
	if ns.total != 0 || len(ns.all) != 0 {
		t.Errorf("%d in flight, %d sockets left", ns.total, len(ns.all))
	}
}

func BenchmarkWriteRead64(b *testing.B) {
	x, y := NewPair(NewNamespace(), root, unix.SOCK_STREAM)
	p := make([]byte, 64)
	var c vfs.Caller = root
	b.ReportAllocs()
	for b.Loop() {
		x.Write(c, p, 0, 0)
		y.Read(c, p, 0)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte{1, 0, '/', 't', 'm', 'p', 0, 'x'})
	f.Add([]byte{1, 0, 0, 'a', 0, 'b'})
	f.Add([]byte{2, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		name, err := parseAddr(raw)
		if err != nil {
			return
		}
		if len(raw) > sizeofAddr {
			t.Fatalf("an address of %d bytes was taken", len(raw))
		}
		if name[0] != 0 && bytes.IndexByte(name, 0) >= 0 {
			t.Errorf("a path with a NUL: %q", name)
		}
		back := formatAddr(name)
		if again, err := parseAddr(back[:min(len(back), sizeofAddr)]); err != nil || !bytes.Equal(again, name) {
			t.Errorf("%q became %q, %v", name, again, err)
		}
	})
}
