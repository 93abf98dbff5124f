package packet

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Socket is one socket of AF_PACKET. Make one with New.
type Socket struct {
	vfs.NoFile
	ns       *network.Namespace
	stack    *stack.Stack // of ns
	registry *socket.Registry
	typ      int32
	uid      uint32
	ino      *anon.Inode
	wait     waiter.Queue

	options

	// bindMu serialises changes of what is received: the protocol (ETH_P_*, 0 for
	// nothing), the interface (0 for all), and what was joined.
	bindMu      sync.Mutex
	protocol    uint16
	index       int32
	memberships []membership
	// group is what the socket shares frames with, or nil; its lock protects rollover, the member that took
	// a frame last for which the socket had no room.
	group    atomic.Pointer[fanout]
	rollover int

	// hooksMu protects what the stack calls the socket for: hooks are the interfaces
	// that it is registered with, for hookProtocol.
	hooksMu      sync.Mutex
	hooks        map[tcpip.NICID]struct{}
	hookProtocol tcpip.NetworkProtocolNumber
	hookIndex    int32 // the interface it is bound to, or 0 for all

	mu    sync.Mutex
	queue []frame
	used  int // bytes that the queue is charged with
	ring  *ring
	err   unix.Errno // SO_ERROR
	// packets and drops are PACKET_STATISTICS since they were read last; lost are all drops.
	packets, drops uint32
	lost           uint64
	// sending is the frame that this socket is sending: it does not come back to it.
	sending []byte
	// stamp is when what was received last came in (SIOCGSTAMP), in nanoseconds.
	stamp int64
}

// New returns a socket of type SOCK_RAW or SOCK_DGRAM that receives the protocol that
// is the last argument of socket(2), an ETH_P_* number in network byte order, from all
// interfaces. ESOCKTNOSUPPORT for another type. The caller has made sure that c has
// CAP_NET_RAW over the namespace.
func New(ns *network.Namespace, r *socket.Registry, c vfs.Caller, typ, protocol int32) (*Socket, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	cred := c.Credentials()
	s := &Socket{
		ns: ns, stack: ns.Stack(), registry: r, typ: typ, uid: cred.FSUID,
		ino: anon.New("socket:", unix.S_IFSOCK|0o777, anon.SocketDev, cred),
	}
	if protocol != 0 {
		if err := s.listen(swap(uint16(protocol)), 0); err != nil {
			return nil, err
		}
	}
	r.Add(s)
	return s, nil
}

// swap changes the byte order.
func swap(v uint16) uint16 { return v<<8 | v>>8 }

// listen changes what is received: protocol 0 is nothing. ENODEV if there is no such
// interface; nothing is received then. s.bindMu is held, or nobody knows the socket yet.
func (s *Socket) listen(protocol uint16, index int32) error {
	if s.protocol != 0 {
		s.ns.Observe(-1)
		s.ns.Unwatch(s)
		s.unhook()
	}
	s.protocol, s.index = 0, index
	if protocol == 0 {
		return nil
	}
	if index != 0 && !s.stack.HasNIC(tcpip.NICID(index)) {
		return unix.ENODEV
	}
	s.protocol = protocol
	s.ns.Observe(1)
	s.hooksMu.Lock()
	s.hookProtocol, s.hookIndex, s.hooks = tcpip.NetworkProtocolNumber(protocol), index, map[tcpip.NICID]struct{}{}
	s.hooksMu.Unlock()
	s.ns.Watch(s)
	for _, l := range s.ns.Links() {
		s.hook(l.Index)
	}
	return nil
}

// Bind implements socket.Socket: from here on the socket receives from one interface,
// or from all. An address without protocol keeps that of before. ENODEV if there is no
// such interface.
func (s *Socket) Bind(_ socket.Caller, addr []byte) error {
	if len(addr) < sizeofSockaddr || binary.LittleEndian.Uint16(addr) != unix.AF_PACKET {
		return unix.EINVAL
	}
	a, err := parseAddress(addr)
	if err != nil {
		return err
	}
	s.bindMu.Lock()
	defer s.bindMu.Unlock()
	if s.group.Load() != nil {
		return unix.EINVAL
	}
	up := true
	if a.index != 0 {
		l, ok := s.ns.LinkByIndex(a.index)
		if !ok {
			return unix.ENODEV
		}
		up = l.Flags&unix.IFF_UP != 0
	}
	if a.protocol == 0 {
		a.protocol = s.protocol
	}
	if err := s.listen(a.protocol, a.index); err != nil {
		return err
	}
	if !up {
		s.fail(unix.ENETDOWN)
	}
	return nil
}

// Release implements vfs.File.
func (s *Socket) Release() {
	s.registry.Remove(s)
	s.bindMu.Lock()
	// What another member has chosen this one for comes in until the stack calls it no more.
	s.leave()
	if s.protocol != 0 {
		s.listen(0, 0)
	}
	s.leaveAll()
	s.bindMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	shmem.Buffers.Uncharge(int64(s.used))
	s.queue, s.used = nil, 0
	if s.ring != nil {
		s.ring.close()
		s.ring = nil
	}
}

// Name implements socket.Socket: the address has that of the interface, if it is one.
func (s *Socket) Name() []byte {
	s.bindMu.Lock()
	a := address{protocol: s.protocol, index: s.index}
	s.bindMu.Unlock()
	if l, ok := s.ns.LinkByIndex(a.index); ok {
		a.hardwareType, a.addr = l.Type, l.HardwareAddr[:l.AddressLen()]
	}
	return a.bytes()[:offsetAddr+len(a.addr)]
}

// What connections need is not there.

// Connect implements socket.Socket.
func (s *Socket) Connect(socket.Caller, []byte) error { return unix.EOPNOTSUPP }

// Listen implements socket.Socket.
func (s *Socket) Listen(socket.Caller, int32) error { return unix.EOPNOTSUPP }

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, error) { return nil, unix.EOPNOTSUPP }

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(int32) error { return unix.EOPNOTSUPP }

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) { return nil, unix.EOPNOTSUPP }

// Inode implements socket.Socket.
func (s *Socket) Inode() vfs.Inode { return s.ino }

// Info implements socket.Listed.
func (s *Socket) Info() socket.Info {
	s.bindMu.Lock()
	i := socket.Info{
		Family: unix.AF_PACKET, Type: s.typ, Protocol: int32(swap(s.protocol)), Inode: s.ino.Ino(), UID: s.uid,
		Device: s.index, State: 7, EtherType: s.protocol, Running: s.protocol != 0,
		ReceiveBuffer: uint32(s.ReceiveBuffer()), SendBuffer: uint32(s.SendBuffer()),
	}
	s.bindMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	i.ReceiveQueue, i.Drops = uint32(s.used), s.lost
	return i
}

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) { s.wait.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.wait.Unregister(e) }

// Readiness implements waiter.Waitable. The socket always takes what is sent.
func (s *Socket) Readiness(mask waiter.Mask) waiter.Mask {
	m := waiter.Writable
	s.mu.Lock()
	if len(s.queue) > 0 || s.ring != nil && s.ring.waiting() {
		m |= waiter.Readable
	}
	if s.err != 0 {
		m |= waiter.Err
	}
	s.mu.Unlock()
	return m & mask
}

// takeError returns the error that waits to be told, and forgets it.
func (s *Socket) takeError() unix.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = 0
	return err
}

// MapFD implements vfs.File: what is mapped is the ring.
func (s *Socket) MapFD() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		return -1, unix.EINVAL
	}
	s.ring.mapped = true
	return s.ring.fd, nil
}
