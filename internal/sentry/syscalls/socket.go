package syscalls

import (
	"encoding/binary"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func socketRows() []Row {
	return []Row{
		partial(41, "socket", sysSocket, "AF_UNIX, AF_INET, AF_INET6, AF_NETLINK and AF_PACKET; other families are EAFNOSUPPORT",
			PF("domain", Enum, socketFamilies), PF("type", Flags, socketTypes), P("protocol", Dec)).returns(FD),
		partial(53, "socketpair", sysSocketpair, "AF_UNIX only, as on Linux",
			PF("domain", Enum, socketFamilies), PF("type", Flags, socketTypes), P("protocol", Dec), P("sv", OutFDPair)),
		full(49, "bind", sysBind, P("sockfd", FD), P("addr", Sockaddr), P("addrlen", Dec)),
		full(50, "listen", sysListen, P("sockfd", FD), P("backlog", Dec)),
		full(43, "accept", sysAccept, P("sockfd", FD), P("addr", OutSockaddr), P("addrlen", InOutInt)).returns(FD),
		full(288, "accept4", sysAccept4, P("sockfd", FD), P("addr", OutSockaddr), P("addrlen", InOutInt),
			PF("flags", Flags, socketTypes)).returns(FD),
		full(42, "connect", sysConnect, P("sockfd", FD), P("addr", Sockaddr), P("addrlen", Dec)),
		full(51, "getsockname", sysGetsockname, P("sockfd", FD), P("addr", OutSockaddr), P("addrlen", InOutInt)),
		full(52, "getpeername", sysGetpeername, P("sockfd", FD), P("addr", OutSockaddr), P("addrlen", InOutInt)),
		full(48, "shutdown", sysShutdown, P("sockfd", FD), PF("how", Enum, shutdownHow)),
	}
}

var (
	socketFamilies = &FlagSet{Values: []FlagName{
		{unix.AF_UNSPEC, "AF_UNSPEC"}, {unix.AF_UNIX, "AF_UNIX"}, {unix.AF_INET, "AF_INET"},
		{unix.AF_INET6, "AF_INET6"}, {unix.AF_NETLINK, "AF_NETLINK"}, {unix.AF_PACKET, "AF_PACKET"},
		{unix.AF_ALG, "AF_ALG"}, {unix.AF_VSOCK, "AF_VSOCK"},
	}}
	socketTypes = &FlagSet{
		Names: []FlagName{{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"}, {unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"}},
		Mask:  0xf,
		Values: []FlagName{
			{unix.SOCK_STREAM, "SOCK_STREAM"}, {unix.SOCK_DGRAM, "SOCK_DGRAM"},
			{unix.SOCK_RAW, "SOCK_RAW"}, {unix.SOCK_SEQPACKET, "SOCK_SEQPACKET"},
		},
	}
	shutdownHow = &FlagSet{Values: []FlagName{
		{unix.SHUT_RD, "SHUT_RD"}, {unix.SHUT_WR, "SHUT_WR"}, {unix.SHUT_RDWR, "SHUT_RDWR"},
	}}
)

// maxSockaddr is sizeof(struct sockaddr_storage).
const maxSockaddr = 128

// socketOf returns the socket behind fd, and its description with a
// reference. ENOTSOCK if it is something else.
func socketOf(t *kernel.Task, fd int32) (socket.Socket, *vfs.FileDescription, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	s, ok := d.File.(socket.Socket)
	if !ok || d.Flags()&unix.O_PATH != 0 {
		d.DecRef()
		if ok {
			return nil, nil, unix.EBADF
		}
		return nil, nil, unix.ENOTSOCK
	}
	return s, d, nil
}

// waitSocket makes try again until it answers anything but EAGAIN, unless the
// call may not block. until is when the socket's time-out ends, as afterTimeout tells;
// a call that has one ends with EINTR at a signal, and with EAGAIN in the end.
func waitSocket(t *kernel.Task, s socket.Socket, nonblock bool, mask waiter.Mask, until time.Time, try func() error) error {
	if nonblock {
		return try()
	}
	if until.IsZero() {
		return waitFor(t, s, mask, until, try)
	}
	switch err := waitFor(t, s, mask, until, try); err {
	case unix.ETIMEDOUT:
		return unix.EAGAIN
	case abi.ERESTARTSYS:
		return unix.EINTR
	default:
		return err
	}
}

// afterTimeout is when a socket's time-out that begins now ends: never, the zero time, for 0.
func afterTimeout(timeout time.Duration) time.Time {
	if timeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// renewsTimeout reports whether the time-out of a send begins anew whenever a part of it found room: so it is
// for local streams, for which Linux allocates buffers one by one with a time-out each.
func renewsTimeout(f vfs.File) bool {
	s, ok := f.(interface{ RenewsWriteTimeout() bool })
	return ok && s.RenewsWriteTimeout()
}

// copyInSockaddr reads a socket address. EINVAL for a length that none has.
func copyInSockaddr(t *kernel.Task, addr uint64, length int32) ([]byte, error) {
	if length < 0 || length > maxSockaddr {
		return nil, unix.EINVAL
	}
	b := make([]byte, length)
	if _, err := t.CopyIn(addr, b); err != nil {
		return nil, err
	}
	return b, nil
}

// sockaddrBuffer is where a call writes a socket's address: as much as there is room for
// at addr, and its whole length to lenAddr, where the room was told.
type sockaddrBuffer struct {
	addr, lenAddr uint64
	room          uint32
	read          bool
}

// sockaddrBufferAt reads how much room there is. That comes with the call, and after a
// wait would be a hand-off of its own. What is wrong is told in the end, as by Linux.
func sockaddrBufferAt(t *kernel.Task, addr, lenAddr uint64) sockaddrBuffer {
	room, err := t.CopyInUint32(lenAddr)
	return sockaddrBuffer{addr, lenAddr, room, err == nil}
}

// put writes an address on the way back to the guest. It has failed at once where nothing
// can be written.
func (b *sockaddrBuffer) put(t *kernel.Task, sa []byte) error {
	if !b.read {
		return unix.EFAULT
	}
	if int32(b.room) < 0 {
		return unix.EINVAL
	}
	sa, whole := sa[:min(int(b.room), len(sa))], len(sa)
	if m := t.MM(); m.CheckRange(b.addr, uint64(len(sa)), true) != nil || m.CheckRange(b.lenAddr, 4, true) != nil {
		return unix.EFAULT
	}
	if err := t.CopyOutLate(b.addr, sa); err != nil {
		return err
	}
	return t.CopyOutUint32Late(b.lenAddr, uint32(whole))
}

// newSocketFlags checks the flags that may be or'ed to a socket's type.
func newSocketFlags(v uint32) (status uint32, cloexec bool, err error) {
	if v&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return 0, false, unix.EINVAL
	}
	return v & unix.O_NONBLOCK, v&unix.SOCK_CLOEXEC != 0, nil
}

// checkSocket checks the arguments that socket(2) and socketpair(2) share.
func checkSocket(a kernel.Args) (typ int32, status uint32, cloexec bool, err error) {
	status, cloexec, err = newSocketFlags(a.Uint(1) &^ 0xf)
	if err != nil {
		return 0, 0, false, err
	}
	return a.Int(1) & 0xf, status, cloexec, nil
}

// sysSocket is socket(2).
func sysSocket(t *kernel.Task, a kernel.Args) (uintptr, error) {
	typ, status, cloexec, err := checkSocket(a)
	if err != nil {
		return 0, err
	}
	family, ok := socketMakerFor(t, a.Int(0))
	if !ok {
		return 0, unix.EAFNOSUPPORT
	}
	s, err := family.make(t, typ, a.Int(2))
	if err != nil {
		return 0, err
	}
	return installFile(t, socket.NewDescription(s, status), cloexec)
}

// sysSocketpair is socketpair(2).
func sysSocketpair(t *kernel.Task, a kernel.Args) (uintptr, error) {
	typ, status, cloexec, err := checkSocket(a)
	if err != nil {
		return 0, err
	}
	family, ok := socketMakerFor(t, a.Int(0))
	switch {
	case !ok:
		return 0, unix.EAFNOSUPPORT
	case family.pair == nil:
		return 0, unix.EOPNOTSUPP
	}
	x, y, err := family.pair(t, typ, a.Int(2))
	if err != nil {
		return 0, err
	}
	return 0, installPair(t, a[3], socket.NewDescription(x, status), socket.NewDescription(y, status), cloexec)
}

// sysBind is bind(2).
func sysBind(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	addr, err := copyInSockaddr(t, a[1], a.Int(2))
	if err != nil {
		return 0, err
	}
	return 0, s.Bind(t, addr)
}

// sysListen is listen(2).
func sysListen(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	return 0, s.Listen(t, a.Int(1))
}

// handshakeTurns is how many times connect(2) lets others run before it sleeps: to a socket
// of the same sandbox it takes some goroutines but a few µs in all, less than being woken.
const handshakeTurns = 8

// sysConnect is connect(2).
func sysConnect(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	addr, err := copyInSockaddr(t, a[1], a.Int(2))
	if err != nil {
		return 0, err
	}
	return 0, connect(t, s, addr, d.Nonblocking())
}

// connect connects a socket, and waits for that if it may.
func connect(t *kernel.Task, s socket.Socket, addr []byte, nonblock bool) error {
	pending := false
	try := func() error {
		err := s.Connect(t, addr)
		if err == unix.EINPROGRESS && !nonblock {
			err = s.Connect(t, addr) // it may be made by now
		}
		if pending = err == unix.EINPROGRESS || err == unix.EALREADY; pending && !nonblock {
			return unix.EAGAIN
		}
		return err
	}
	err := try()
	for n := 0; n < handshakeTurns && err == unix.EAGAIN && !nonblock && t.GiveWay(); n++ {
		err = try()
	}
	if err == socket.ErrNoPort {
		return unix.EAGAIN
	}
	if err == unix.EAGAIN {
		err = waitSocket(t, s, nonblock, waiter.Writable, afterTimeout(s.WriteTimeout()), try)
	}
	if err == unix.EAGAIN && pending {
		err = unix.EINPROGRESS // it goes on beyond the socket's time-out
	}
	return err
}

// sysAccept is accept(2).
func sysAccept(t *kernel.Task, a kernel.Args) (uintptr, error) { return accept(t, a, 0) }

// sysAccept4 is accept4(2).
func sysAccept4(t *kernel.Task, a kernel.Args) (uintptr, error) { return accept(t, a, a.Uint(3)) }

func accept(t *kernel.Task, a kernel.Args, flags uint32) (uintptr, error) {
	status, cloexec, err := newSocketFlags(flags)
	if err != nil {
		return 0, err
	}
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if !t.FDs().HasRoom(t.Limit(unix.RLIMIT_NOFILE)) {
		return 0, unix.EMFILE // before a connection is taken that nobody could have
	}
	var name sockaddrBuffer
	if a[1] != 0 {
		name = sockaddrBufferAt(t, a[1], a[2])
	}
	var conn socket.Socket
	err = waitSocket(t, s, d.Nonblocking(), waiter.Readable, afterTimeout(s.ReadTimeout()), func() (err error) {
		conn, err = s.Accept()
		return err
	})
	if err != nil {
		return 0, err
	}
	fd, err := installFile(t, socket.NewDescription(conn, status), cloexec)
	if err != nil || a[1] == 0 {
		return fd, err
	}
	if err := name.put(t, acceptedFrom(conn)); err != nil {
		uninstall(t, int32(fd))
		return 0, err
	}
	return fd, nil
}

// acceptedFrom is the address of a new connection's peer, also of one that has ended
// meanwhile.
func acceptedFrom(conn socket.Socket) []byte {
	if a, ok := conn.(interface{ AcceptedFrom() []byte }); ok {
		return a.AcceptedFrom()
	}
	peer, _ := conn.PeerName()
	return peer
}

// sysGetsockname is getsockname(2).
func sysGetsockname(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	name := sockaddrBufferAt(t, a[1], a[2])
	return 0, name.put(t, s.Name())
}

// sysGetpeername is getpeername(2).
func sysGetpeername(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	peer, err := s.PeerName()
	if err != nil {
		return 0, err
	}
	name := sockaddrBufferAt(t, a[1], a[2])
	return 0, name.put(t, peer)
}

// sysShutdown is shutdown(2).
func sysShutdown(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	return 0, s.Shutdown(a.Int(1))
}

var le = binary.LittleEndian
