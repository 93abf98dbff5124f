package hostsock

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"coffer/internal/seccomp"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// caller is a task with a little memory.
type caller struct{ memory []byte }

func (caller) Credentials() *auth.Credentials { return auth.New(0, 0, nil) }
func (caller) Umask() uint32                  { return 0 }
func (caller) FSLimit() uint64                { return 1 << 40 }
func (c caller) CopyIn(addr uint64, dst []byte) (int, error) {
	return copy(dst, c.memory[addr:]), nil
}
func (c caller) CopyOut(addr uint64, src []byte) (int, error) {
	return copy(c.memory[addr:], src), nil
}

// await tries until the answer is not EAGAIN, sleeping until the socket is ready.
func await(t *testing.T, s *Socket, mask waiter.Mask, try func() error) error {
	t.Helper()
	ready := waiter.NewChannel()
	e := &waiter.Entry{Mask: mask | waiter.Always, Listener: ready}
	s.Register(e)
	defer s.Unregister(e)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		select {
		case <-ready:
		case <-time.After(time.Minute):
			t.Fatal("the socket was not ready within a minute")
		}
	}
}

func loopback(port uint16) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	b = binary.BigEndian.AppendUint16(b, port)
	return append(b, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
}

func open(t *testing.T, family, typ int32) *Socket {
	t.Helper()
	s, err := New(caller{}, family, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func TestStream(t *testing.T) {
	l := open(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := l.Bind(nil, loopback(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(nil, 1); err != nil {
		t.Fatal(err)
	}
	c := open(t, unix.AF_INET, unix.SOCK_STREAM)
	if err := c.Connect(nil, l.Name()); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	var a socket.Socket
	if err := await(t, l, waiter.Readable, func() (err error) { a, err = l.Accept(); return err }); err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	if peer, err := a.PeerName(); err != nil || !slices.Equal(peer, c.Name()) {
		t.Errorf("the peer is %v (%v), not %v", peer, err, c.Name())
	}
	if err := await(t, c, waiter.Writable, func() error { _, _, err := c.Write(caller{}, []byte("hello"), 0, 0); return err }); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	var n int
	err := await(t, a.(*Socket), waiter.Readable, func() (err error) {
		n, err = a.Recv(b, &socket.Message{Flags: unix.MSG_PEEK})
		return err
	})
	if err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	memory := make([]byte, 16)
	if _, err := a.Ioctl(caller{memory}, unix.TIOCINQ, 4); err != nil || memory[4] != 5 {
		t.Errorf("FIONREAD: %d, %v", memory[4], err)
	}
	if err := c.Shutdown(unix.SHUT_WR); err != nil {
		t.Error(err)
	}
	a.Recv(b, &socket.Message{})
	err = await(t, a.(*Socket), waiter.Readable, func() (err error) { n, err = a.Recv(b, &socket.Message{}); return err })
	if n != 0 || err != nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// TestUnread: what a stream takes back is looked at and received first, and the flags of the result are not those asked for.
func TestUnread(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Socket{fd: fds[0], typ: unix.SOCK_STREAM}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	s.Unread([]byte("back"))
	look := func(flags int32, want string) {
		t.Helper()
		b := make([]byte, 9)
		m := socket.Message{Flags: flags}
		if n, err := s.Recv(b, &m); err != nil || string(b[:n]) != want || m.Flags != 0 {
			t.Errorf("%q, %v, flags %#x; want %q", b[:n], err, m.Flags, want)
		}
	}
	look(unix.MSG_PEEK, "back")
	if _, err := unix.Write(fds[1], []byte("more")); err != nil {
		t.Fatal(err)
	}
	look(unix.MSG_PEEK, "backmore")
	look(0, "back")
	look(0, "more")
}

// TestDatagram: a receive tells the whole length and the sender, and control messages
// that were asked for.
func TestDatagram(t *testing.T) {
	s, c := open(t, unix.AF_INET, unix.SOCK_DGRAM), open(t, unix.AF_INET, unix.SOCK_DGRAM)
	for _, x := range []*Socket{s, c} {
		if err := x.Bind(nil, loopback(0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetOption(nil, unix.SOL_IP, unix.IP_RECVTTL, []byte{1, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	ttl := []socket.ControlMessage{{Level: unix.SOL_IP, Type: unix.IP_TTL, Data: []byte{7, 0, 0, 0}}}
	if _, err := c.Send(nil, []byte("0123456789"), &socket.Message{Addr: s.Name(), Control: ttl}); err != nil {
		t.Fatal(err)
	}
	m, b, n := &socket.Message{}, make([]byte, 4), 0
	if err := await(t, s, waiter.Readable, func() (err error) { n, err = s.Recv(b, m); return err }); err != nil {
		t.Fatal(err)
	}
	if n != 10 || string(b) != "0123" || m.Flags&unix.MSG_TRUNC == 0 || !slices.Equal(m.Addr, c.Name()) {
		t.Errorf("%d bytes, %q, flags %#x, from %v", n, b, m.Flags, m.Addr)
	}
	if len(m.Control) != 1 || m.Control[0].Type != unix.IP_TTL || m.Control[0].Data[0] != 7 {
		t.Errorf("control %v", m.Control)
	}
	if _, err := s.Recv(b, &socket.Message{}); err != unix.EAGAIN {
		t.Errorf("nothing there: %v", err)
	}
}

// TestRefused: what is not listed does not reach the host.
func TestRefused(t *testing.T) {
	s, n := open(t, unix.AF_INET, unix.SOCK_DGRAM), open(t, unix.AF_NETLINK, unix.SOCK_RAW)
	route := func(kind uint16) []byte {
		b := binary.NativeEndian.AppendUint32(nil, 16)
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(b, make([]byte, 10)...)
	}
	_, raw := New(caller{}, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	_, sctp := New(caller{}, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	_, mptcp := New(caller{}, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	_, l2tp := New(caller{}, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_L2TP)
	_, mixed := New(caller{}, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP)
	_, diag := New(caller{}, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG)
	_, filter := s.Option(nil, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER)
	_, rights := s.Send(nil, nil, &socket.Message{Control: []socket.ControlMessage{{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS}}})
	_, change := n.Send(nil, route(unix.RTM_DELLINK), &socket.Message{})
	_, hidden := n.Send(nil, append(route(unix.RTM_GETLINK), route(unix.RTM_NEWADDR)...), &socket.Message{})
	_, setFlags := s.Ioctl(caller{}, unix.SIOCSIFFLAGS, 0)
	for _, c := range []struct {
		name string
		got  error
		want unix.Errno
	}{
		{"a raw socket", raw, unix.EPERM},
		{"SCTP", sctp, unix.EPROTONOSUPPORT},
		{"MPTCP", mptcp, unix.EPROTONOSUPPORT},
		{"L2TP", l2tp, unix.EPROTONOSUPPORT},
		{"a stream of UDP", mixed, unix.EPROTONOSUPPORT},
		{"netlink but for routes", diag, unix.EPROTONOSUPPORT},
		{"an option with a pointer", s.SetOption(nil, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, make([]byte, 16)), unix.ENOPROTOOPT},
		{"reading it", filter, unix.ENOPROTOOPT},
		{"setting what is only read", s.SetOption(nil, unix.SOL_SOCKET, unix.SO_MARK, make([]byte, 4)), unix.ENOPROTOOPT},
		{"descriptors", rights, unix.EINVAL},
		{"a change of links", change, unix.EPERM},
		{"a change behind a question", hidden, unix.EPERM},
		{"an ioctl that changes an interface", setFlags, unix.EPERM},
		{"an address of another family", s.Connect(nil, []byte{unix.AF_UNIX, 0, 'x'}), unix.EAFNOSUPPORT},
		{"no address", s.Bind(nil, nil), unix.EINVAL},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, not %v", c.name, c.got, c.want)
		}
	}
}

// TestAddresses: SIOCGIFCONF tells the length, and fills in no more than there is room for.
func TestAddresses(t *testing.T) {
	s := open(t, unix.AF_INET, unix.SOCK_DGRAM)
	memory := make([]byte, 256)
	c := caller{memory}
	if _, err := s.Ioctl(c, unix.SIOCGIFCONF, 0); err != nil {
		t.Fatal(err)
	}
	whole := binary.NativeEndian.Uint32(memory)
	if whole%sizeofIfreq != 0 {
		t.Errorf("a length of %d", whole)
	}
	binary.NativeEndian.PutUint32(memory, sizeofIfreq+3)
	binary.NativeEndian.PutUint64(memory[8:], 100)
	if _, err := s.Ioctl(c, unix.SIOCGIFCONF, 0); err != nil {
		t.Fatal(err)
	}
	if n := binary.NativeEndian.Uint32(memory); n != min(whole, sizeofIfreq) {
		t.Errorf("%d bytes in room for one of %d", n, whole)
	}
	if !slices.Equal(memory[100+sizeofIfreq:100+sizeofIfreq+8], make([]byte, 8)) {
		t.Error("it wrote past the room")
	}
}

// TestHostCalls: the rows make a filter, and no option or ioctl is let through whole.
func TestHostCalls(t *testing.T) {
	rules := HostCalls()
	if _, err := seccomp.Build(rules, unix.SECCOMP_RET_TRAP); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		switch r.Call {
		case unix.SYS_SOCKET, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_IOCTL:
			if len(r.Args) == 0 {
				t.Errorf("call %d may be made with any arguments", r.Call)
			}
		}
	}
}

func FuzzOnlyAsks(f *testing.F) {
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, p []byte) { onlyAsks(p) })
}
