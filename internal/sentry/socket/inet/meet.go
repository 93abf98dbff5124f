package inet

import (
	"net/netip"
	"sync"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// A connection between two addresses of a namespace is made by connect(2) at once, without
// the segments of a handshake: the stack tells which way they would go and which endpoint
// listens there, and keeps the ports. What is not ordinary is left to it: that nobody
// listens or that there is no room, interfaces, filters, programs that choose who listens,
// TCP_DEFER_ACCEPT and TCP_SAVE_SYN.
//
// Who captures packets is to see them, and has them made.

// listeners are the sockets that listen, by their endpoints. The lock is a leaf.
var listeners struct {
	sync.RWMutex
	m map[*tcp.Endpoint]*Socket
}

// arrivals are a listener's connections that were made past the stack and that nobody has
// accepted. All of them came before those that the stack has.
type arrivals struct {
	arrivalMu sync.Mutex
	// open says that connections are taken, limit how many of them at once.
	open  bool
	limit int
	list  []*Socket
	// narrowed says that the stack takes only as many as these leave.
	narrowed bool
}

// welcome has connections arrive at a listener, as many as the stack takes for it.
func (l *Socket) welcome(e *endpoint, limit int) {
	t, ok := e.Endpoint.(*tcp.Endpoint)
	if !ok {
		return
	}
	l.arrivalMu.Lock()
	l.open, l.limit = true, limit
	if l.narrowed {
		l.narrow()
	}
	l.arrivalMu.Unlock()
	listeners.Lock()
	if listeners.m == nil {
		listeners.m = map[*tcp.Endpoint]*Socket{}
	}
	listeners.m[t] = l
	listeners.Unlock()
	l.answerCalls()
}

// turnAway resets the connections that have arrived, and has no more arrive.
func (l *Socket) turnAway(e *endpoint) {
	l.arrivalMu.Lock()
	list, open := l.list, l.open
	l.open, l.list, l.narrowed = false, nil, false
	l.arrivalMu.Unlock()
	if !open {
		return
	}
	listeners.Lock()
	delete(listeners.m, e.Endpoint.(*tcp.Endpoint))
	listeners.Unlock()
	l.forgetCalls()
	for _, a := range list {
		a.depart(a.ep.Load(), true)
		a.Release()
	}
}

// arrived reports whether a connection can be accepted that the stack does not know of.
func (l *Socket) arrived() bool {
	l.arrivalMu.Lock()
	defer l.arrivalMu.Unlock()
	return len(l.list) > 0
}

// waiting is how many connections of a listener nobody has accepted.
func (l *Socket) waiting(e *endpoint) uint32 {
	l.arrivalMu.Lock()
	defer l.arrivalMu.Unlock()
	return uint32(len(l.list)) + uint32(max(e.waiting.Load(), 0))
}

// takeArrival returns the connection that has arrived first, or nil.
func (l *Socket) takeArrival() *Socket {
	l.arrivalMu.Lock()
	defer l.arrivalMu.Unlock()
	if len(l.list) == 0 {
		return nil
	}
	a := l.list[0]
	l.list[0] = nil
	if l.list = l.list[1:]; len(l.list) == 0 {
		l.list = nil
	}
	if l.narrowed {
		l.narrow()
	}
	return a
}

// narrow tells the stack how many connections it may take beside those that have arrived.
// arrivalMu is held.
func (l *Socket) narrow() {
	l.narrowed = len(l.list) > 0
	// The stack refuses if it has more already, and is told again when one is accepted.
	l.ep.Load().Listen(max(0, l.limit-len(l.list)))
}

// arrive has a connection wait to be accepted. It is false if the stack is to see whether
// there is room, and to keep the order.
func (l *Socket) arrive(a *Socket) bool {
	l.arrivalMu.Lock()
	defer l.arrivalMu.Unlock()
	if !l.open {
		return false
	}
	if len(l.list) >= l.limit || l.ep.Load().Readiness(stackwaiter.ReadableEvents) != 0 {
		if len(l.list) > 0 {
			l.narrow()
		}
		return false
	}
	l.list = append(l.list, a)
	return true
}

// deferred is the option of listeners that want to see data first.
var deferred = (&Socket{kind: kind{typ: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP}}).row(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)

// ordinary reports whether a socket connects or listens as most do.
func (s *Socket) ordinary() bool {
	return s.FilterProgram() == nil && s.always.Load() == nil && !s.nonlocal.Load() && s.ports.Load() == 0 && s.ep.Load().SocketOptions().GetBindToDevice() == 0
}

// meet connects to a socket of the namespace that listens at an address, past the stack. It
// is false if the stack is to connect. s.mu is held.
func (s *Socket) meet(e *endpoint, to tcpip.FullAddress) (bool, tcpip.Error) {
	if s.net.Observed() || !s.ordinary() || to.NIC != 0 || to.Port == 0 || to.Addr.Unspecified() {
		return false, nil
	}
	if header.IsV4MappedAddress(to.Addr) {
		to.Addr = tcpip.AddrFrom4Slice(to.Addr.AsSlice()[12:])
	}
	protocol := ports4
	if to.Addr.Len() == header.IPv6AddressSize {
		protocol = ports6
	}
	from, err := e.GetLocalAddress()
	if p := s.portless.Load(); p != nil && from.Port == 0 {
		from.Addr = tcpip.AddrFromSlice(unmapped(s.family.Load(), *p).Addr().AsSlice())
		if p.Addr.Len() == 0 {
			from.Addr = tcpip.Address{}
		}
	}
	if err != nil || from.Addr.Len() != 0 && from.Addr.Len() != to.Addr.Len() {
		return false, nil
	}
	r, ok := s.net.WayWithin(sourceTo(to.Addr, from.Addr), to.Addr, protocol[0])
	if !ok {
		return false, nil
	}
	nic := r.NICID()
	from = tcpip.FullAddress{Addr: r.LocalAddress(), Port: from.Port}
	r.Release()
	if from == to {
		return false, nil // it connects to itself, whoever listens there
	}
	p := &pair{tuple: tuple{s.net.Stack(), [2]tcpip.FullAddress{to, from}}}
	if from.Port != 0 {
		if !p.add() {
			return false, &tcpip.ErrBadLocalAddress{}
		}
	} else if !p.choosePort(s.portFlags(), protocol) {
		return false, nil
	}
	if s.join(e, p, protocol, nic) {
		return true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close(callee)
	p.close(caller)
	return false, nil
}

// loopback4Address is 127.0.0.1.
var loopback4Address = tcpip.AddrFrom4([4]byte{127, 0, 0, 1})

// sourceTo is from which address to send to one, of a socket that is bound to one or to none. To all
// of 127.0.0.0/8 it is 127.0.0.1, where the stack has the destination itself.
func sourceTo(to, bound tcpip.Address) tcpip.Address {
	if bound.Len() == 0 && header.IsV4LoopbackAddress(to) {
		return loopback4Address
	}
	return bound
}

// needsSource reports whether the stack would not choose what sourceTo says.
func needsSource(to netip.Addr, bound tcpip.Address) bool {
	return bound.Len() == 0 && to.Is4() && to.IsLoopback() && to.As4() != loopback4Address.As4()
}

// ports4 and ports6 are the protocols that ports are reserved for.
var (
	ports4 = []tcpip.NetworkProtocolNumber{header.IPv4ProtocolNumber}
	ports6 = []tcpip.NetworkProtocolNumber{header.IPv6ProtocolNumber}
)

// portFlags say who else may have the port of a socket.
func (s *Socket) portFlags() ports.Flags {
	o := s.ep.Load().SocketOptions()
	return ports.Flags{TupleOnly: o.GetReuseAddress() || s.portless.Load() != nil, LoadBalanced: o.GetReusePort()}
}

// reservation is for the port of a side, towards the other one.
func (p *pair) reservation(side int, protocol []tcpip.NetworkProtocolNumber, flags ports.Flags) *ports.Reservation {
	a := p.address[side]
	return &ports.Reservation{
		Networks: protocol, Transport: tcp.ProtocolNumber, Addr: a.Addr, Port: a.Port, Flags: flags, Dest: p.address[1-side],
	}
}

// choosePort gives the caller a port, and makes the pair known.
func (p *pair) choosePort(flags ports.Flags, protocol []tcpip.NetworkProtocolNumber) bool {
	st := p.stack
	from, to := &p.address[caller], p.address[callee]
	_, err := st.PickEphemeralPort(st.SecureRNG(), func(port uint16) (bool, tcpip.Error) {
		if from.Addr == to.Addr && port == to.Port {
			return false, nil // it would connect to itself
		}
		from.Port = port
		res := p.reservation(caller, protocol, flags)
		if _, err := st.ReservePort(st.SecureRNG(), *res, nil); err != nil {
			pairs.Lock()
			old := pairs.m[p.tuple]
			pairs.Unlock()
			if old == nil || !old.yield() {
				return false, nil
			}
			if _, err := st.ReservePort(st.SecureRNG(), *res, nil); err != nil {
				return false, nil
			}
		}
		if !p.add() {
			st.ReleasePort(*res)
			return false, nil
		}
		p.ends[caller].port = res
		return true, nil
	})
	return err == nil
}

// join has a pair's other side arrive at who listens there, and makes the first one s. It is
// false if there is nobody. s.mu is held.
func (s *Socket) join(e *endpoint, p *pair, protocol []tcpip.NetworkProtocolNumber, nic tcpip.NICID) bool {
	st := s.net.Stack()
	from, to := p.address[caller], p.address[callee]
	t, ok := st.FindTransportEndpoint(protocol[0], tcp.ProtocolNumber, stack.TransportEndpointID{
		LocalAddress: to.Addr, LocalPort: to.Port, RemoteAddress: from.Addr, RemotePort: from.Port,
	}, nic).(*tcp.Endpoint)
	if !ok || t.EndpointState() != tcp.StateListen {
		return false
	}
	listeners.RLock()
	l := listeners.m[t]
	listeners.RUnlock()
	if l == nil || !l.ordinary() || l.programChooses() || l.value(deferred) != 0 || l.saveSYN.Load() != 0 || chargeNew() != nil {
		return false
	}
	a, q := newSocket(l.net, l.registry, l.family.Load(), l.kind), new(stackwaiter.Queue)
	ep, err := l.make(st, networkProtocol(l.family.Load()), q)
	if err != nil {
		a.uncharge()
		return false
	}
	a.accepted = sockaddr(l.family.Load(), from)
	a.adopt(ep, q)
	a.joined = true
	a.inherit(l, ep)
	res := p.reservation(callee, protocol, l.portFlags())
	if !st.ReserveTuple(*res) {
		ep.Close()
		a.uncharge()
		return false
	}
	p.ends[callee].port = res
	p.set(callee, tcp.StateEstablished)
	p.set(caller, tcp.StateEstablished)
	a.ep.Load().half.Store(&half{p, callee})
	n := &near{pair: p}
	mine := &end{near: n, side: caller, own: s, peer: a}
	a.end.Store(&end{near: n, side: callee, own: a, peer: s})
	// Whoever accepts the other side may send to this one at once, which sends nothing before.
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.end.Store(mine)
	e.half.Store(&half{p, caller})
	if !l.arrive(a) {
		s.end.Store(nil)
		e.half.Store(nil)
		a.end.Store(nil)
		a.Release()
		return false
	}
	stats := st.Stats().TCP
	stats.ActiveConnectionOpenings.Increment()
	stats.PassiveConnectionOpenings.Increment()
	s.connecting = true
	l.wait.Notify(waiter.Readable)
	s.wait.Notify(waiter.Writable)
	return true
}
