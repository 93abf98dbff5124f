package hostsock

import (
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/hostpoll"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// newFlags are those of each host socket: nothing here ever waits.
const newFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

// maxSockaddr is sizeof(struct sockaddr_storage).
const maxSockaddr = 128

// Socket is a socket of the host's. Make one with New.
type Socket struct {
	vfs.NoFile
	socket.Timeouts
	fd     int
	family int32
	typ    int32
	ino    *anon.Inode
	unread socket.Unread

	queue waiter.Queue
	watch sync.Once
	// watched says that hostpoll knows the socket; watch guards it.
	watched bool
}

// kind is a kind of socket that guests can have of the host.
type kind struct{ family, typ, protocol int32 }

// kinds are all of them. Of other protocols the host's kernel may load a module for whoever
// asks (SCTP, L2TP, MPTCP), which is not what the network was given for.
var kinds = []kind{
	{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{unix.AF_INET, unix.SOCK_DGRAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
	{unix.AF_INET6, unix.SOCK_STREAM, 0}, {unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{unix.AF_INET6, unix.SOCK_DGRAM, 0}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6},
	{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, {unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_ROUTE},
}

// New returns a socket of a family, type and protocol. EAFNOSUPPORT as on the host;
// EPERM for raw sockets, ESOCKTNOSUPPORT and EPROTONOSUPPORT for what is none of kinds.
func New(c vfs.Caller, family, typ, protocol int32) (*Socket, error) {
	switch {
	case typ == unix.SOCK_RAW && family != unix.AF_NETLINK:
		return nil, unix.EPERM
	case typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM && typ != unix.SOCK_RAW:
		return nil, unix.ESOCKTNOSUPPORT
	case !slices.Contains(kinds, kind{family, typ, protocol}):
		return nil, unix.EPROTONOSUPPORT
	}
	fd, err := unix.Socket(int(family), int(typ)|newFlags, int(protocol))
	if err != nil {
		return nil, err
	}
	return adopt(c, fd, family, typ), nil
}

func adopt(c vfs.Caller, fd int, family, typ int32) *Socket {
	s := &Socket{fd: fd, family: family, typ: typ}
	if c != nil {
		s.ino = anon.New("socket:", unix.S_IFSOCK|0o777, anon.SocketDev, c.Credentials())
	} else {
		s.ino = anon.New("socket:", unix.S_IFSOCK|0o777, anon.SocketDev, nil)
	}
	return s
}

// call makes a host call on the socket, again if a signal of the sentry's own
// interrupted it.
func (s *Socket) call(nr, a, b, c, d, e uintptr) (uintptr, error) {
	for {
		n, _, errno := unix.Syscall6(nr, uintptr(s.fd), a, b, c, d, e)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

func pointer(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// Bind implements socket.Socket.
func (s *Socket) Bind(_ socket.Caller, addr []byte) error {
	if err := s.checkAddress(addr); err != nil {
		return err
	}
	_, err := s.call(unix.SYS_BIND, pointer(addr), uintptr(len(addr)), 0, 0, 0)
	runtime.KeepAlive(addr)
	return err
}

// checkAddress keeps addresses of other families from the host, which for some of
// them has errors of its own. AF_UNSPEC ends a connection.
func (s *Socket) checkAddress(addr []byte) error {
	if len(addr) < 2 || len(addr) > maxSockaddr {
		return unix.EINVAL
	}
	switch family := int32(addr[0]) | int32(addr[1])<<8; family {
	case unix.AF_UNSPEC, s.family:
		return nil
	case unix.AF_INET:
		if s.family == unix.AF_INET6 {
			return nil
		}
	}
	return unix.EAFNOSUPPORT
}

// Listen implements socket.Socket.
func (s *Socket) Listen(_ socket.Caller, backlog int32) error {
	_, err := s.call(unix.SYS_LISTEN, uintptr(backlog), 0, 0, 0, 0)
	return err
}

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, error) {
	fd, err := s.call(unix.SYS_ACCEPT4, 0, 0, newFlags, 0, 0)
	if err != nil {
		return nil, err
	}
	return adopt(nil, int(fd), s.family, s.typ), nil
}

// Connect implements socket.Socket. EINPROGRESS says that a connection is on its
// way: the socket is writable once it stands or has failed.
func (s *Socket) Connect(_ socket.Caller, addr []byte) error {
	if err := s.checkAddress(addr); err != nil {
		return err
	}
	_, err := s.call(unix.SYS_CONNECT, pointer(addr), uintptr(len(addr)), 0, 0, 0)
	runtime.KeepAlive(addr)
	return err
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int32) error {
	_, err := s.call(unix.SYS_SHUTDOWN, uintptr(how), 0, 0, 0, 0)
	return err
}

// Name implements socket.Socket.
func (s *Socket) Name() []byte {
	name, err := s.name(unix.SYS_GETSOCKNAME)
	if err != nil {
		return []byte{byte(s.family), byte(s.family >> 8)}
	}
	return name
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) { return s.name(unix.SYS_GETPEERNAME) }

func (s *Socket) name(nr uintptr) ([]byte, error) {
	b := make([]byte, maxSockaddr)
	n := uint32(len(b))
	_, err := s.call(nr, pointer(b), uintptr(unsafe.Pointer(&n)), 0, 0, 0)
	if err != nil {
		return nil, err
	}
	return b[:min(int(n), len(b))], nil
}

// Inode implements socket.Socket.
func (s *Socket) Inode() vfs.Inode { return s.ino }

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.Mask) waiter.Mask {
	m := hostpoll.Poll(s.fd, mask)
	if s.unread.Len() > 0 {
		m |= mask & waiter.Readable
	}
	return m
}

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) {
	s.queue.Register(e)
	s.watch.Do(func() {
		if err := hostpoll.Add(s.fd, &s.queue); err != nil {
			s.queue.Notify(waiter.All) // who looks again at once finds out why
			return
		}
		s.watched = true
	})
}

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.queue.Unregister(e) }

// Stream tells the system calls whether the socket is a stream.
func (s *Socket) Stream() bool { return s.typ == unix.SOCK_STREAM }

// LowWaterMark is 1: SO_RCVLOWAT is for the host to heed.
func (s *Socket) LowWaterMark() int { return 1 }

// Release implements vfs.File. A close that SO_LINGER has wait goes on in the background:
// the host's would keep a thread of the sentry, which no signal of the guest's ends.
func (s *Socket) Release() {
	if s.unread.Drop() {
		// Whoever sent what is never received is told so, with a reset.
		unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else if l, err := unix.GetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER); err == nil && l.Onoff != 0 && l.Linger != 0 {
		unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	}
	s.watch.Do(func() {})
	if s.watched {
		hostpoll.Remove(s.fd)
	}
	unix.Close(s.fd)
}
