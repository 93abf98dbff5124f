package netlink

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/unixsock"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Namespace is what a socket needs of its network namespace.
type Namespace struct {
	IP    *network.Namespace
	Owner *auth.UserNamespace
	Ports *Ports
	// Sockets and Unix are for NETLINK_SOCK_DIAG.
	Sockets *socket.Registry
	Unix    *unixsock.Namespace
}

// Caller is the task that sends a request, as far as it can name other network namespaces
// (IFLA_NET_NS_FD, IFLA_NET_NS_PID) and owns port IDs.
type Caller interface {
	vfs.Caller
	// PID is the caller's process in its PID namespace.
	PID() int32
	// NetworkByFD and NetworkByPID find a network and its owner. EBADF, EINVAL and ESRCH.
	NetworkByFD(fd int32) (*network.Namespace, *auth.UserNamespace, error)
	NetworkByPID(pid int32) (*network.Namespace, *auth.UserNamespace, error)
}

// maxGroups are as many multicast groups as a protocol may have here.
const maxGroups = 64

// Socket is one socket of AF_NETLINK. Make one with New.
type Socket struct {
	vfs.NoFile
	// Shared has Stamps, which nothing is told of.
	socket.Shared
	ns       Namespace
	protocol int32
	typ      int32
	uid      uint32
	pid      int32 // of who made the socket: its port ID, if it can be had
	opener   *auth.Credentials
	ino      *anon.Inode
	wait     waiter.Queue

	port   atomic.Uint32
	groups atomic.Uint64 // bit n-1 is group n
	// flags are the options of SOL_NETLINK that are on or off, a bit each.
	flags    atomic.Uint32
	passcred atomic.Bool
	// passSecurity is SO_PASSSEC, of which there is nothing to tell.
	passSecurity atomic.Bool
	// asked says that groups have been asked for, also none: only then there is a list of them.
	asked atomic.Bool
	drops atomic.Uint64

	mu    sync.Mutex
	peer  address
	queue []datagram
	used  int   // bytes that the queue is charged with
	dump  *dump // what a dump still has to say
	// largest is the largest buffer that was given to a receive.
	largest int
	// congested is set once something was lost, until the queue has been emptied.
	congested bool
	closed    bool
	err       unix.Errno // SO_ERROR
}

// datagram is a unit of receiving: one or more messages.
type datagram struct {
	data  []byte
	from  address
	group int // the multicast group, or 0
	creds socket.Ucred
}

// dump is what is left of the answer to a NLM_F_DUMP: whole messages.
type dump struct {
	rest    []byte
	charged int
}

// New returns a socket. ESOCKTNOSUPPORT and EPROTONOSUPPORT for types and protocols that
// there are not.
func New(ns Namespace, c Caller, typ, protocol int32) (*Socket, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	switch protocol {
	case unix.NETLINK_ROUTE, unix.NETLINK_USERSOCK, unix.NETLINK_SOCK_DIAG, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_GENERIC:
	default:
		return nil, unix.EPROTONOSUPPORT
	}
	cred := c.Credentials()
	s := &Socket{
		ns: ns, protocol: protocol, typ: typ, uid: cred.FSUID, pid: c.PID(), opener: cred,
		ino: anon.New("socket:", unix.S_IFSOCK|0o777, anon.SocketDev, cred),
	}
	ns.Sockets.Add(s)
	return s, nil
}

// portID is the socket's port ID: it gets one when it is first needed.
func (s *Socket) portID() uint32 {
	if id := s.port.Load(); id != 0 {
		return id
	}
	s.ns.Ports.takeAny(s, s.pid)
	return s.port.Load()
}

// Bind implements socket.Socket: a port ID, 0 for one that is made up, and groups by mask.
func (s *Socket) Bind(c socket.Caller, addr []byte) error {
	a, err := parseAddress(addr)
	if err != nil {
		return err
	}
	if a.groups != 0 {
		if err := s.mayJoin(c); err != nil {
			return err
		}
		s.asked.Store(true)
	}
	switch id := s.port.Load(); {
	case id != 0:
		if a.portID != id {
			return unix.EINVAL
		}
	case a.portID != 0:
		if err := s.ns.Ports.take(s, a.portID); err != nil {
			return err
		}
	default:
		s.portID()
	}
	s.setGroups(s.groups.Load()&^0xffffffff | uint64(a.groups)&s.groupMask())
	return nil
}

// groupMask has a bit for each group that the protocol has.
func (s *Socket) groupMask() uint64 {
	if s.protocol == unix.NETLINK_ROUTE {
		return 1<<rtnlGroups - 1
	}
	return 1<<32 - 1
}

// mayJoin is whether c may listen to groups: EPERM.
func (s *Socket) mayJoin(c vfs.Caller) error {
	switch s.protocol {
	case unix.NETLINK_ROUTE, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_GENERIC, unix.NETLINK_USERSOCK:
		return nil
	}
	if !c.Credentials().CanIn(s.ns.Owner, unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	return nil
}

// setGroups changes the groups that the socket is in.
func (s *Socket) setGroups(mask uint64) {
	old := s.groups.Swap(mask)
	if (old == 0) == (mask == 0) {
		return
	}
	switch s.protocol {
	case unix.NETLINK_ROUTE:
		if mask == 0 {
			s.ns.IP.Unwatch(s)
		} else {
			s.ns.IP.Watch(s)
		}
	case unix.NETLINK_USERSOCK:
		s.ns.Ports.join(s, mask != 0)
	}
}

// Connect implements socket.Socket: where sends without an address go.
func (s *Socket) Connect(c socket.Caller, addr []byte) error {
	if len(addr) >= 2 && addr[0] == 0 && addr[1] == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.peer = address{}
		return nil
	}
	a, err := parseAddress(addr)
	if err != nil {
		return err
	}
	if (a.groups != 0 || a.portID != 0) && !s.maySendTo(c) {
		return unix.EPERM
	}
	s.portID()
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.groups != 0 {
		a.groups = 1 << bits.TrailingZeros32(a.groups)
	}
	s.peer = a
	return nil
}

// maySendTo is whether c may send to programs, and not just to the kernel.
func (s *Socket) maySendTo(c vfs.Caller) bool {
	return s.protocol == unix.NETLINK_USERSOCK || c.Credentials().CanIn(s.ns.Owner, unix.CAP_NET_ADMIN)
}

// may is whether a request may do what takes a capability over what a user namespace owns. Who
// only writes, and gives no address, might not know that it writes to such a socket: then whoever
// opened it needs the capability, too.
func (s *Socket) may(c Caller, r *request, over *auth.UserNamespace, capability int) bool {
	return c.Credentials().CanIn(over, capability) && (r.addressed || s.opener.CanIn(over, capability))
}

// Listen, Accept and Shutdown implement socket.Socket: there is nothing like that.
func (s *Socket) Listen(socket.Caller, int32) error { return unix.EOPNOTSUPP }

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, error) { return nil, unix.EOPNOTSUPP }

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(int32) error { return unix.EOPNOTSUPP }

// Name implements socket.Socket.
func (s *Socket) Name() []byte {
	return address{s.port.Load(), uint32(s.groups.Load())}.bytes()
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer.bytes(), nil
}

// Inode implements socket.Socket.
func (s *Socket) Inode() vfs.Inode { return s.ino }

// Info implements socket.Listed.
func (s *Socket) Info() socket.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return socket.Info{
		Family: unix.AF_NETLINK, Type: s.typ, Protocol: s.protocol, Inode: s.ino.Ino(), UID: s.uid, State: 7,
		ReceiveQueue: uint32(s.used), ReceiveBuffer: uint32(s.ReceiveBuffer()), SendBuffer: uint32(s.SendBuffer()),
		Drops: s.drops.Load(), PortID: s.port.Load(), Groups: uint32(s.groups.Load()),
	}
}

// Register and Unregister implement waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry)   { s.wait.Register(e) }
func (s *Socket) Unregister(e *waiter.Entry) { s.wait.Unregister(e) }

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.Mask) waiter.Mask {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := waiter.Mask(waiter.Writable)
	if len(s.queue) > 0 || s.dump != nil {
		m |= waiter.Readable
	}
	if s.err != 0 {
		m |= waiter.Err
	}
	return m & mask
}

// Fsync implements vfs.File.
func (s *Socket) Fsync(bool) error { return unix.EINVAL }

// Release implements vfs.File.
func (s *Socket) Release() {
	s.setGroups(0)
	s.ns.Ports.drop(s)
	s.ns.Sockets.Remove(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	shmem.Buffers.Uncharge(int64(s.used))
	s.queue, s.used = nil, 0
	s.endDump()
}
