package inet

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// The directions that shutdown(2) closes.
const (
	recvShut = 1 << iota
	sendShut
	bothShut = recvShut | sendShut
)

// Socket is a socket of AF_INET or AF_INET6. Make one with New.
type Socket struct {
	vfs.NoFile
	options
	charges
	arrivals
	keptHeaders
	sentOptions
	calls
	savedSYN
	labels
	kind
	// family is AF_INET or AF_INET6, the latter until IPV6_ADDRFORM changes it.
	family   atomic.Int32
	net      *network.Namespace
	registry *socket.Registry
	ino      *anon.Inode
	cred     *auth.Credentials // of whoever made the socket
	// wait is for all who wait for this socket.
	wait waiter.Queue
	// ep is replaced when a connection has failed or is given up: unlike the stack's
	// endpoints, sockets can be connected again.
	ep atomic.Pointer[endpoint]
	// shut is written with mu held.
	shut atomic.Uint32
	// err is the error that the next call reports, SO_ERROR; 0 for none.
	err atomic.Uint32

	mu sync.Mutex
	// bound is what bind(2) was given, nil if it was not called: the name that is
	// kept when ep is replaced, but with another port if it left that open.
	bound *tcpip.FullAddress
	// lastPort is the port of the endpoint before ep, which a stream shows until it has another.
	lastPort atomic.Uint32
	// portless is the same as bound for a stream that gets its port when it connects or listens
	// (IP_BIND_ADDRESS_NO_PORT), whose endpoint has no name until then, and for one of datagrams that connect(2)
	// took the port from (AF_UNSPEC), until it sends or connects; or nil. It is written with mu held.
	portless atomic.Pointer[tcpip.FullAddress]
	// nonlocal says that no interface had that address.
	nonlocal atomic.Bool
	// connecting is true from the first connect(2) until one tells how it went.
	connecting bool
	// joined says that a connection was made, though it may be over.
	joined bool
	// sourced says that the endpoint has its address only to connect from.
	sourced bool
	// converted says that the socket is one of AF_INET whose endpoint was made for AF_INET6.
	converted bool
	listening bool
	// portGroup are those that the socket shares its name with, or nil. It is written with portGroups held.
	portGroup atomic.Pointer[portGroup]
	backlog   atomic.Int32
	// calling says the same as called being set, without the lock.
	calling atomic.Bool
	// called is how others of the namespace find the socket while it connects.
	called route
	// end is the socket's part in a connection within the namespace, or nil.
	end atomic.Pointer[end]
	// desc is the socket's description, once it has one.
	desc atomic.Pointer[vfs.FileDescription]
	// closing is set when a close(2) is to wait.
	closing atomic.Pointer[closing]
	// accepted is the peer that accept(2) reports.
	accepted []byte

	// recvMu and sendMu let what the endpoint's Read and Write are given be part of
	// the socket instead of new for each call.
	recvMu  sync.Mutex
	sink    tcpip.SliceWriter
	unread  socket.Unread
	room    room
	scratch [1]byte // what nobody wants
	ahead   atomic.Pointer[ahead]
	sendMu  sync.Mutex
	source  bytes.Reader
	// woke says that the last send found somebody waiting for it.
	woke atomic.Bool
	to   tcpip.FullAddress
	way  way
	// unsourced says that routes are asked for the datagrams under way without their source.
	unsourced atomic.Bool
	// leavesBy is the interface that a connection or the datagrams under way must leave by, beside SO_BINDTODEVICE, or 0.
	leavesBy atomic.Int32
	// droppedBefore is how many datagrams endpoints before ep had no room for.
	droppedBefore atomic.Uint64
	// sentBefore is how many bytes of a stream went through the stack.
	sentBefore int64
	// cutFrom is how many there were where segments began that are whole since (sendFar).
	cutFrom int64
	// corked holds the datagram that MSG_MORE or UDP_CORK lets grow.
	corked []byte
	// from is the source of the next datagram, if it is not the socket's own address.
	from tcpip.Address

	// whole says which datagrams are refused that would have to be fragmented.
	whole atomic.Uint32
	// wholeOnce is one more than IPV6_DONTFRAG of the datagram that is being sent, or 0; sendMu protects it.
	wholeOnce int32

	// icmpFilter is ICMP_FILTER: a bit for each type that a raw socket does not want.
	icmpFilter atomic.Uint32
	// rawPeer is what a raw socket is connected to, or nil.
	rawPeer atomic.Pointer[tcpip.FullAddress]
	errors  errorQueue
	// stamps says what is told of the datagram that is being sent; sendMu protects it.
	stamps int32
	// zerocopied is the number of the next send with MSG_ZEROCOPY; errors.errorMu protects it.
	zerocopied uint32

	// onlyJoined is the opposite of IP_MULTICAST_ALL, onlyJoined6 that of IPV6_MULTICAST_ALL.
	onlyJoined, onlyJoined6 atomic.Bool
	// bySource says that of some group not all sources are wanted.
	bySource atomic.Bool
	groupMu  sync.Mutex
	groups   []group
	// multicastFrom is IP_MULTICAST_IF, multicastLink6 IPV6_MULTICAST_IF.
	multicastFrom  netip.Addr
	multicastLink6 int32
}

// New returns a socket of AF_INET or AF_INET6. EINVAL, ESOCKTNOSUPPORT or
// EPROTONOSUPPORT for types and protocols that there are none of, EPERM or EACCES for those
// that c may not have.
func New(net *network.Namespace, r *socket.Registry, c vfs.Caller, family, typ, protocol int32) (*Socket, error) {
	k, err := kindOf(family, typ, protocol)
	if err != nil {
		return nil, err
	}
	if err := admit(net, c, k); err != nil {
		return nil, err
	}
	if err := chargeNew(); err != nil {
		return nil, err
	}
	s := newSocket(net, r, family, k)
	s.setOwner(c.Credentials())
	q := new(stackwaiter.Queue)
	ep, terr := k.make(net.Stack(), networkProtocol(family), q)
	if terr != nil {
		s.uncharge()
		return nil, errno(terr)
	}
	s.adopt(ep, q)
	s.takeSettings(ep)
	if s.protocol == unix.IPPROTO_ICMPV6 && !s.isRaw() {
		s.setInitial(ep, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) // ping sockets have no IPv4 at first
	}
	if s.observes() {
		net.Observe(1)
	}
	r.TellOrphans(func(listed []socket.Info) []socket.Info { return orphans(net, listed) })
	r.Add(s)
	return s, nil
}

func newSocket(net *network.Namespace, r *socket.Registry, family int32, k kind) *Socket {
	s := &Socket{kind: k, net: net, registry: r}
	s.family.Store(family)
	s.options.init()
	return s
}

func (s *Socket) setOwner(cred *auth.Credentials) {
	s.ino, s.cred = anon.New("socket:", unix.S_IFSOCK|0777, anon.SocketDev, cred), cred
}

// adopt makes an endpoint the socket's.
func (s *Socket) adopt(ep tcpip.Endpoint, q *stackwaiter.Queue) {
	if !s.stream() {
		ep.SocketOptions().SetSendBufferSize(s.net.Number(network.SendBufferDefault), false)
		ep.SocketOptions().SetReceiveBufferSize(s.net.Number(network.ReceiveBufferDefault), false)
	}
	e := &endpoint{Endpoint: ep, queue: q, owner: s}
	e.entry.Init(e, stackwaiter.AllEvents)
	q.EventRegister(&e.entry)
	s.takeRaw(e)
	s.ep.Store(e)
	if s.ownsPackets() {
		s.own(ep) // what it sends asks for the endpoint
	}
}

// renew replaces the endpoint, whose connection is over, by a new one with the same
// options and the name that bind(2) gave. s.mu is held.
func (s *Socket) renew() error {
	old := s.ep.Load()
	if local, err := old.GetLocalAddress(); err == nil && local.Port != 0 {
		s.lastPort.Store(uint32(local.Port))
	}
	if s.stream() && s.bound != nil && s.bound.Port == 0 && s.portless.Load() == nil && old.state() != tcp.StateBound {
		s.leaveUnasked()
	}
	s.hangUp()
	s.leavePort()
	stopExamining(old)
	s.turnAway(old)
	// What a bound port is wanted for again must not wait for it.
	waits := s.stream() && old.state() == tcp.StateTimeWait && (s.bound == nil || s.bound.Port == 0)
	s.depart(old, !waits)
	old.queue.EventUnregister(&old.entry)
	if !s.stream() {
		s.keepReceived(old)
	}
	if waits {
		old.Close()
		linger(old.Endpoint, 0, false)
	} else {
		old.Abort()
	}
	s.sendMu.Lock()
	s.sentBefore, s.cutFrom = 0, 0
	s.sendMu.Unlock()
	q := new(stackwaiter.Queue)
	ep, terr := s.make(s.net.Stack(), networkProtocol(s.family.Load()), q)
	if terr != nil {
		return errno(terr)
	}
	s.droppedBefore.Store(s.drops(old))
	s.adopt(ep, q)
	s.ForgetSYN()
	s.connecting, s.joined, s.listening, s.sourced, s.converted = false, false, false, false, false
	s.examineSegments(s.ep.Load())
	s.nonlocal.Store(false)
	if s.stream() { // datagrams stay shut down, whoever they go to
		s.shut.Store(0)
	}
	s.applyAll(ep)
	if s.bound != nil && s.portless.Load() == nil {
		name := *s.bound
		if s.stream() && name.Port == 0 {
			name.Port = uint16(s.lastPort.Load())
		}
		// Another socket may have taken the name meanwhile. The next call will tell.
		if s.bindEndpoint(ep, name) != nil {
			s.bound = nil
		}
	}
	s.wait.Notify(waiter.Writable | waiter.Readable | waiter.Hup | waiter.RdHup)
	return nil
}

// leaveUnasked has a socket be bound to its address only, if it has one, when it has no port any more, for which bind(2)
// has not asked. s.mu is held.
func (s *Socket) leaveUnasked() {
	if s.portless.Store(s.bound); s.bound.Addr.Len() == 0 {
		s.portless.Store(nil)
		s.bound = nil
	}
}

// stream reports whether the socket is one of TCP.
func (s *Socket) stream() bool { return s.typ == unix.SOCK_STREAM }

// Stream is the same for the system calls, who ask for each message.
func (s *Socket) Stream() bool { return s.stream() }

// KeepError leaves an error for the next call.
func (s *Socket) KeepError(err error) {
	if n, ok := err.(unix.Errno); ok && n != unix.EPIPE && n != unix.EINTR && n < firstRestart {
		s.err.CompareAndSwap(0, uint32(n))
	}
}

// firstRestart is the first of the numbers that are no errors of a guest's but say how
// an interrupted call goes on.
const firstRestart = 512

// pendingError is the error that the next call is to report, left where it is.
func (s *Socket) pendingError(e *endpoint) unix.Errno {
	if s.stream() {
		// A connection that the peer resets after its last byte is closed, with an error.
		if state := e.state(); state != tcp.StateError && state != tcp.StateClose || e.reported.Swap(true) {
			return unix.Errno(s.err.Load())
		}
	}
	if err := e.LastError(); err != nil {
		s.err.CompareAndSwap(0, uint32(number(err)))
	}
	return unix.Errno(s.err.Load())
}

// takeError is the error that is to be reported, or nil: it is reported once.
func (s *Socket) takeError(e *endpoint) error {
	if s.pendingError(e) == 0 {
		return nil
	}
	if n := unix.Errno(s.err.Swap(0)); n != 0 {
		return n
	}
	return nil
}

// SetDescription implements vfs.DescriptionSetter.
func (s *Socket) SetDescription(d *vfs.FileDescription) { s.desc.Store(d) }

// Inode implements socket.Socket.
func (s *Socket) Inode() vfs.Inode { return s.ino }

// Fsync implements vfs.File.
func (s *Socket) Fsync(bool) error { return unix.EINVAL }

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) { s.wait.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.wait.Unregister(e) }

// Readiness implements waiter.Waitable, as Linux's tcp_poll and datagram_poll do.
func (s *Socket) Readiness(mask waiter.Mask) waiter.Mask {
	e := s.ep.Load()
	var m waiter.Mask
	if s.stream() {
		m = s.streamReadiness(e)
	} else {
		m = s.datagramReadiness(e)
	}
	if s.pendingError(e) != 0 || s.errors.any() {
		m |= waiter.Err
		if !s.stream() && s.value(s.row(unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE)) != 0 {
			m |= waiter.Pri
		}
	}
	return m & mask
}

func (s *Socket) datagramReadiness(e *endpoint) waiter.Mask {
	m := waiter.Mask(e.Readiness(stackwaiter.ReadableEvents|stackwaiter.WritableEvents)) & (waiter.Readable | waiter.Writable)
	if m&waiter.Readable == 0 && s.counted() {
		s.unchargeRecv(e)
	}
	if s.sifts() && m&waiter.Readable != 0 && !s.wanted(e) {
		m &^= waiter.Readable
	}
	if s.ahead.Load().waits() {
		m |= waiter.Readable
	}
	shut := s.shut.Load()
	if shut&recvShut != 0 {
		m |= waiter.Readable | waiter.RdHup
	}
	if shut == bothShut {
		m |= waiter.Hup
	}
	return m
}

func (s *Socket) streamReadiness(e *endpoint) waiter.Mask {
	if n := s.end.Load(); n != nil {
		return s.nearReadiness(n, e)
	}
	shut := s.shut.Load()
	var m waiter.Mask
	switch state := e.state(); state {
	case tcp.StateListen:
		if s.arrived() {
			return waiter.Readable
		}
		return waiter.Mask(e.Readiness(stackwaiter.ReadableEvents)) & waiter.Readable
	case tcp.StateInitial, tcp.StateBound:
		m = waiter.Writable | waiter.Hup
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return 0
	case tcp.StateError, tcp.StateClose, tcp.StateTimeWait:
		return waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup
	default:
		ready := waiter.Mask(e.Readiness(stackwaiter.ReadableEvents | stackwaiter.WritableEvents))
		if s.unread.Len() > 0 {
			ready |= waiter.Readable
		}
		if ready&waiter.Readable != 0 && (ready&waiter.RdHup != 0 || s.enough(e)) {
			m |= waiter.Readable
		}
		m |= ready & waiter.Writable
		if ready&waiter.Readable == 0 && s.counted() {
			s.unchargeRecv(e)
		}
		switch state {
		case tcp.StateCloseWait:
			shut |= recvShut
		case tcp.StateLastAck, tcp.StateClosing:
			shut |= bothShut
		case tcp.StateFinWait1, tcp.StateFinWait2:
			shut |= sendShut
		}
		if ready&waiter.RdHup != 0 {
			shut |= recvShut
		}
	}
	if shut&recvShut != 0 {
		m |= waiter.Readable | waiter.RdHup
	}
	if shut&sendShut != 0 {
		m |= waiter.Writable
	}
	if shut == bothShut {
		m |= waiter.Hup
	}
	return m
}

// LowWaterMark is SO_RCVLOWAT: how many bytes a stream's reader waits for.
func (s *Socket) LowWaterMark() int {
	if !s.stream() {
		return 1
	}
	return int(s.lowat.Load())
}

// enough reports whether as many bytes have come as SO_RCVLOWAT asks for.
func (s *Socket) enough(e *endpoint) bool {
	least := s.lowat.Load()
	if least <= 1 {
		return true
	}
	return s.queued(e) >= int(least)
}

// Release implements vfs.File. What has been sent still goes out, in the background,
// unless SO_LINGER says that it must not; bytes that nobody has read reset the
// connection.
func (s *Socket) Release() {
	s.registry.Remove(s)
	if s.observes() {
		s.net.Observe(-1)
	}
	s.endErrors()
	s.leaveAll(false)
	s.dropAhead()
	s.forgetHeaders()
	s.askFlows(false)
	calling := s.calling.Load()
	s.mu.Lock()
	s.hangUp()
	s.mu.Unlock()
	s.leavePort()
	e := s.ep.Load()
	stopExamining(e)
	s.turnAway(e)
	if s.stream() {
		l := e.SocketOptions().GetLinger()
		if l.Enabled && l.Timeout > 0 {
			s.closing.Store(&closing{l.Timeout, s.end.Load(), e})
		}
		if s.depart(e, l.Enabled && l.Timeout == 0) {
			applyLinger(e, [2]int32{1, 0})
		}
	}
	e.queue.EventUnregister(&e.entry)
	e.Close()
	linger(e.Endpoint, s.uncharge(), calling)
}
