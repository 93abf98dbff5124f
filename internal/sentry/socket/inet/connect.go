package inet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// netAdmin is implemented by callers who know whose network namespace theirs is.
type netAdmin interface {
	// NetworkOwner is the user namespace that the network namespace belongs to.
	NetworkOwner() *auth.UserNamespace
}

// can reports whether the caller has a capability over its network namespace.
func can(c vfs.Caller, capability int) bool {
	if a, ok := c.(netAdmin); ok {
		return c.Credentials().CanIn(a.NetworkOwner(), capability)
	}
	return c.Credentials().Can(capability)
}

// process is implemented by callers who are processes, for a policy's sake.
type process interface {
	// FlowProcess is the number of the process in the sandbox's first PID namespace,
	// and the name of its program.
	FlowProcess() (pid int32, command string)
	// Block waits as a system call does (Flow.Block).
	Block(come <-chan struct{}, deadline time.Time) error
}

// permit asks the network's policy whether the caller may send to an address.
func (s *Socket) permit(c vfs.Caller, to tcpip.FullAddress) error {
	if !s.net.Restricted() {
		return nil
	}
	flow := network.Flow{Protocol: uint8(s.protocol), To: unmapped(s.family.Load(), to)}
	if p, ok := c.(process); ok {
		flow.PID, flow.Command = p.FlowProcess()
		flow.Block = p.Block
	}
	if local, err := s.ep.Load().GetLocalAddress(); err == nil {
		flow.From = unmapped(s.family.Load(), local)
	}
	return s.net.Permit(flow)
}

// Bind implements socket.Socket.
func (s *Socket) Bind(c socket.Caller, addr []byte) error {
	full, err := s.bindAddress(addr)
	if err != nil {
		return err
	}
	if s.sort() != ofOthers && full.Port != 0 && int64(full.Port) < s.net.Number(network.UnprivilegedPortStart) && !can(c, unix.CAP_NET_BIND_SERVICE) {
		return unix.EACCES
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ep.Load()
	if s.stream() && ended(e.state()) && (s.bound == nil || s.bound.Port == 0) {
		// The connection is over, and with it the port that nobody had asked for.
		s.bound = nil
		s.portless.Store(nil)
		connecting, joined := s.connecting, s.joined
		if err := s.renew(); err != nil {
			return err
		}
		s.connecting, s.joined = connecting, joined
		s.shut.Store(bothShut)
		e = s.ep.Load()
	}
	if s.bound != nil && s.portless.Load() == nil {
		return unix.EINVAL
	}
	if local, err := e.GetLocalAddress(); err == nil && local.Port != 0 && !s.isRaw() {
		return unix.EINVAL
	}
	if s.bindsLater(full) {
		s.bound = &full
		s.portless.Store(&full)
		return nil
	}
	if s.stream() && s.disturbsListener(full) {
		return unix.EADDRINUSE
	}
	if err := s.bindEndpoint(e, full); err != nil {
		if _, ok := err.(*tcpip.ErrNoPortAvailable); ok {
			return unix.EADDRINUSE
		}
		return errno(err)
	}
	s.portless.Store(nil)
	s.bound = &full
	return nil
}

// bindAddress reads the address of a bind(2). An IPv4 one may have AF_UNSPEC, if it is
// 0.0.0.0.
func (s *Socket) bindAddress(addr []byte) (tcpip.FullAddress, error) {
	least := sizeofSockaddr4
	if s.family.Load() == unix.AF_INET6 {
		least = sizeofSockaddr6Old
	}
	if len(addr) < least {
		return tcpip.FullAddress{}, unix.EINVAL
	}
	if s.family.Load() == unix.AF_INET && family(addr) == unix.AF_UNSPEC && [4]byte(addr[4:8]) == [4]byte{} {
		addr = append([]byte{unix.AF_INET, 0}, addr[2:]...)
	}
	full, err := s.address(addr)
	if err != nil {
		return full, err
	}
	if s.v6Only(full) {
		return full, unix.EINVAL
	}
	if wildcard(full.Addr) {
		full.Addr = tcpip.Address{}
	}
	return full, nil
}

// Listen implements socket.Socket. Without a name the socket gets a port.
func (s *Socket) Listen(_ socket.Caller, backlog int32) error {
	if !s.stream() {
		return unix.EOPNOTSUPP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ep.Load()
	if s.connecting || s.joined {
		return unix.EINVAL
	}
	switch e.state() {
	case tcp.StateInitial:
		if err := s.takePort(e); err != nil {
			return errno(err)
		}
	case tcp.StateError, tcp.StateClose:
		if err := s.renew(); err != nil {
			return err
		}
		e = s.ep.Load()
		if s.bound == nil || s.portless.Load() != nil {
			if err := s.takePort(e); err != nil {
				return errno(err)
			}
		}
	case tcp.StateBound, tcp.StateListen:
	default:
		return unix.EINVAL
	}
	sharing.Lock()
	defer sharing.Unlock()
	if local, err := e.GetLocalAddress(); err == nil && !s.listening && (s.refusesPort(local) || s.disturbsListener(local)) {
		return unix.EADDRINUSE
	}
	limit := min(int64(uint32(backlog)), s.net.Number(network.Somaxconn))
	s.backlog.Store(int32(limit))
	e.listens.Store(true)
	s.own(e)
	// Linux lets one more wait than it was asked for.
	if err := e.Listen(int(limit) + 1); err != nil {
		return errno(err)
	}
	s.listening = true
	s.examineSegments(e)
	s.welcome(e, int(limit)+1)
	s.joinPort()
	return nil
}

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, error) {
	if !s.stream() {
		return nil, unix.EOPNOTSUPP
	}
	if a := s.takeArrival(); a != nil {
		a.setOwner(s.cred)
		s.registry.Add(a)
		return a, nil
	}
	var peer tcpip.FullAddress
	l := s.ep.Load()
	ep, q, terr := l.Accept(&peer)
	if terr != nil {
		return nil, errno(terr)
	}
	l.waiting.Add(-1)
	if err := chargeNew(); err != nil {
		ep.Abort()
		return nil, err
	}
	a := newSocket(s.net, s.registry, s.family.Load(), s.kind)
	a.setOwner(s.cred)
	a.accepted = sockaddr(s.family.Load(), peer)
	a.adopt(ep, q)
	a.joined = true
	a.inherit(s, ep)
	a.takeCall(s, peer)
	a.answer(ep, peer)
	if e := a.ep.Load(); a.end.Load() == nil && e.Readiness(stackwaiter.ReadableEvents)&stackwaiter.EventIn != 0 {
		a.chargeRecv(e)
	}
	s.registry.Add(a)
	return a, nil
}

// AcceptedFrom is the peer's address as accept(2) gives it, whatever has become of
// the connection since.
func (s *Socket) AcceptedFrom() []byte { return s.accepted }

// Connect implements socket.Socket. For a stream the first call is EINPROGRESS and,
// until that is decided, the following are EALREADY; the call after that tells how it
// went.
func (s *Socket) Connect(c socket.Caller, addr []byte) error {
	if len(addr) < 2 {
		return unix.EINVAL
	}
	if family(addr) == unix.AF_UNSPEC {
		return s.disconnect()
	}
	if !s.stream() {
		return s.connectDatagram(addr)
	}
	if err := s.permitStream(c, addr); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ep.Load()
	switch e.state() {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return unix.EALREADY
	case tcp.StateListen:
		return unix.EISCONN
	case tcp.StateInitial, tcp.StateBound, tcp.StateError, tcp.StateClose, tcp.StateTimeWait:
		if s.joined {
			return unix.EISCONN // until it is told that this is over
		}
		if s.connecting {
			err := s.takeError(e)
			if err == nil {
				err = unix.ECONNABORTED
			}
			if rerr := s.renew(); rerr != nil {
				return rerr
			}
			return err
		}
		if state := e.state(); state != tcp.StateInitial && state != tcp.StateBound {
			if err := s.renew(); err != nil {
				return err
			}
		}
		if err := s.settle(); err != nil {
			return err
		}
		return s.start(s.ep.Load(), addr)
	default:
		if s.connecting {
			s.connecting, s.joined = false, true
			return nil
		}
		return unix.EISCONN
	}
}

// permitStream asks the policy, which may take its time, for a stream that can begin to connect.
func (s *Socket) permitStream(c socket.Caller, addr []byte) error {
	if !s.net.Restricted() {
		return nil
	}
	switch s.ep.Load().state() {
	case tcp.StateInitial, tcp.StateBound, tcp.StateError, tcp.StateClose, tcp.StateTimeWait:
		full, err := s.address(addr)
		if err != nil {
			return err
		}
		return s.permit(c, full)
	}
	return nil
}

// start begins to connect. s.mu is held.
func (s *Socket) start(e *endpoint, addr []byte) error {
	full, err := s.address(addr)
	if err != nil {
		return err
	}
	if s.v6Only(full) {
		return unix.ENETUNREACH
	}
	if header.IsV4MulticastAddress(full.Addr) || header.IsV6MulticastAddress(full.Addr) || full.Addr == header.IPv4Broadcast {
		return unix.ENETUNREACH
	}
	s.err.Store(0)
	s.connectFlow(addr)
	met, terr := s.meet(e, full)
	if met {
		return unix.EINPROGRESS
	}
	ip := unmapped(s.family.Load(), full).Addr()
	if terr == nil && s.net.Broadcast(ip) {
		return unix.ENETUNREACH
	}
	var source tcpip.Address
	if terr == nil && s.net.Steered() {
		if source, err = s.steer(e, &full, netip.Addr{}, true); err != nil {
			return err
		}
	}
	if terr == nil {
		if p := s.portless.Load(); p != nil && p.Addr.Len() != 0 && e.state() == tcp.StateInitial {
			terr = e.Bind(*p)
		} else if source.Len() != 0 {
			if e, err = s.comeFrom(e, source); err != nil {
				return err
			}
		} else if e, err = s.fromLoopback(e, ip); err != nil {
			return err
		}
	}
	if terr == nil {
		terr = e.Connect(full)
	}
	if _, ok := terr.(*tcpip.ErrConnectStarted); ok {
		s.connecting = true
		s.call(e, full)
	} else if terr != nil && s.portless.Load() != nil {
		// The stack keeps the port that it has chosen.
		last := s.lastPort.Load()
		if err := s.renew(); err != nil {
			return err
		}
		s.lastPort.Store(last)
	}
	return errno(terr)
}

// fromLoopback gives a socket without an address the one that it is to connect from, if the stack would
// choose another. The result is its endpoint then. s.mu is held.
func (s *Socket) fromLoopback(e *endpoint, to netip.Addr) (*endpoint, error) {
	local, terr := e.GetLocalAddress()
	if terr != nil || s.sort() == ofOthers || !needsSource(to, local.Addr) || !s.net.LoopbackUp() {
		return e, nil
	}
	return s.comeFrom(e, loopback4Address)
}

// connectDatagram sends nothing, so that no policy is asked: programs connect to learn from
// which address they would send.
func (s *Socket) connectDatagram(addr []byte) error {
	full, err := s.destination(addr)
	if err != nil {
		return err
	}
	if s.v6Only(full) {
		return unix.ENETUNREACH
	}
	if err := s.leaveTo(&full); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.forgetWay()
	e := s.ep.Load()
	if _, err := s.leaves(e); err != nil {
		return err
	}
	ip := unmapped(s.family.Load(), full).Addr()
	if !e.SocketOptions().GetBroadcast() && (s.net.Broadcast(ip) || full.Addr == header.IPv4Broadcast && s.routed(e, full.Addr)) {
		return unix.EACCES
	}
	terr := s.pickPort(e)
	if terr == nil {
		if e, err = s.fromLoopback(e, ip); err != nil {
			return err
		}
		if s.net.Steered() {
			source, err := s.steer(e, &full, netip.Addr{}, true)
			if err == nil && source.Len() != 0 && s.sort() != ofOthers {
				e, err = s.comeFrom(e, source)
			}
			if err != nil {
				return err
			}
		}
		terr = e.Connect(full)
	}
	if terr != nil {
		return autobindError(terr)
	}
	s.connectFlow(addr)
	s.connectPort()
	s.redirectCorked(full)
	if s.isRaw() {
		s.rawPeer.Store(&full)
	}
	return nil
}

// disconnect is connect(2) with AF_UNSPEC.
func (s *Socket) disconnect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stream() {
		return s.disconnectDatagram()
	}
	e := s.ep.Load()
	state := e.state()
	s.pendingError(e) // which stays
	err := s.renew()
	switch state {
	case tcp.StateSynSent, tcp.StateSynRecv, tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateFinWait2:
		s.err.Store(uint32(unix.ECONNRESET)) // until the socket connects again
	}
	return err
}

// disconnectDatagram also forgets SO_BINDTODEVICE, and a port that the program has not chosen. s.mu is held.
func (s *Socket) disconnectDatagram() error {
	defer s.forgetWay()
	e := s.ep.Load()
	if e.SocketOptions().GetBindToDevice() != 0 {
		s.leavePort() // the interface is a part of the name that is shared
		defer func() {
			if local, err := s.ep.Load().GetLocalAddress(); err == nil && local.Port != 0 && s.sort() == ofUDP {
				s.joinPort()
			}
		}()
		s.setValue(s.row(unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX), 0)
		e.SocketOptions().SetBindToDevice(0)
	}
	renewable := !s.joinedGroups() // which another endpoint would not have
	// The stack keeps the address that it was given to connect from, and its family.
	if !renewable || !s.sourced && !s.converted {
		switch terr := e.Disconnect(); terr.(type) {
		case nil:
			s.rejoinPort()
			if !renewable || !s.keepsChosenPort(e) {
				return nil
			}
		case *tcpip.ErrNotSupported: // by raw and ping sockets
			if !renewable {
				return errno(terr)
			}
		default:
			return errno(terr)
		}
	}
	switch {
	case s.isRaw():
		s.bound = nil
	case s.bound != nil && s.bound.Port == 0:
		s.leaveUnasked()
	}
	err := s.renew()
	s.rawPeer.Store(nil)
	s.copyRawOptions(e)
	return err
}

// keepsChosenPort reports whether an endpoint has a port that no program has asked for. s.mu is held.
func (s *Socket) keepsChosenPort(e *endpoint) bool {
	local, err := e.GetLocalAddress()
	return err == nil && local.Port != 0 && (s.bound == nil || s.bound.Port == 0)
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int32) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	dirs := uint32(how + 1) // SHUT_RD, SHUT_WR, SHUT_RDWR are the bits less one
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ep.Load()
	if s.stream() {
		switch e.state() {
		case tcp.StateListen:
			if dirs&recvShut == 0 {
				return nil
			}
			return s.renew()
		case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
			return s.renew()
		}
	}
	if s.connecting {
		s.connecting, s.joined = false, true
	}
	s.shut.Store(s.shut.Load() | dirs)
	var flags tcpip.ShutdownFlags
	if dirs&recvShut != 0 && s.stream() { // datagrams come nevertheless
		flags |= tcpip.ShutdownRead
	}
	if dirs&sendShut != 0 {
		flags |= tcpip.ShutdownWrite
	}
	past, open := e.half.Load() != nil, connected(e.state()) && e.state() != tcp.StateTimeWait
	if n := s.end.Load(); n != nil && s.shut.Load()&sendShut != 0 {
		n.finish()
	}
	var err tcpip.Error
	if !past {
		err = e.Shutdown(flags)
	} else if !open {
		err = &tcpip.ErrNotConnected{}
	}
	// Whoever waits for the end learns of it also without a connection.
	s.wait.Notify(waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup)
	return errno(err)
}

// Name implements socket.Socket.
func (s *Socket) Name() []byte {
	full, err := s.ep.Load().GetLocalAddress()
	if err != nil {
		full = tcpip.FullAddress{}
	}
	if full.Port == 0 {
		if s.stream() {
			// The stack keeps the address of a bind that has failed.
			full = tcpip.FullAddress{Port: uint16(s.lastPort.Load())}
		}
		if p := s.portless.Load(); p != nil {
			full.Addr = p.Addr
		}
	}
	return sockaddr(s.family.Load(), full)
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	e := s.ep.Load()
	if s.stream() && e.state() == tcp.StateTimeWait {
		return nil, unix.ENOTCONN
	}
	full, err := s.peer(e)
	if err != nil {
		return nil, unix.ENOTCONN
	}
	name := sockaddr(s.family.Load(), full)
	if s.sendsFlow.Load() && len(name) == sizeofSockaddr6 {
		binary.BigEndian.PutUint32(name[4:], s.ofPeer.Load())
	}
	return name, nil
}

// routed reports whether there is a way to an IPv4 address.
func (s *Socket) routed(e *endpoint, to tcpip.Address) bool {
	r, err := s.net.Stack().FindRoute(tcpip.NICID(e.SocketOptions().GetBindToDevice()), tcpip.Address{}, to, networkProtocol(unix.AF_INET), false)
	if err != nil {
		return false
	}
	r.Release()
	return true
}
