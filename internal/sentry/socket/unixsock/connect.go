package unixsock

import (
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Listen implements socket.Socket. EINVAL if the socket has no name or is
// connected, EOPNOTSUPP for datagrams.
func (s *Socket) Listen(c socket.Caller, backlog int32) error {
	if !s.connected() {
		return unix.EOPNOTSUPP
	}
	s.ns.mu.Lock()
	defer s.ns.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name == nil || s.peer.Load() != nil {
		return unix.EINVAL
	}
	s.backlog = int(min(uint32(backlog), maxBacklog))
	s.listening = true
	s.setOwner(c)
	s.unblock()
	return nil
}

// Connect implements socket.Socket. EAGAIN while the listener's queue of
// connections is full.
func (s *Socket) Connect(c socket.Caller, addr []byte) error {
	if len(addr) < 2 {
		return unix.EINVAL
	}
	if s.typ == unix.SOCK_DGRAM {
		return s.connectDatagram(c, addr)
	}
	if family(addr) != unix.AF_UNIX {
		return unix.EINVAL
	}
	to, err := s.ns.find(c, addr, s.typ)
	if err != nil {
		return err
	}
	s.ns.mu.Lock()
	defer s.ns.mu.Unlock()
	if err := s.mayConnect(); err != nil {
		return err
	}
	if s.passing(passSender) && !s.bound() {
		if err := s.ns.autobind(s); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.setOwner(c)
	s.mu.Unlock()
	server := newSocket(s.ns, s.typ, c.Credentials())
	if err := to.admit(s, server); err != nil {
		return err
	}
	s.ns.all[server] = struct{}{}
	return nil
}

// mayConnect checks the state of the connecting socket; ns.mu is held, so
// the state stays.
func (s *Socket) mayConnect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.listening:
		return unix.EINVAL
	case s.peer.Load() != nil:
		return unix.EISCONN
	}
	return nil
}

// admit makes server, which nobody has seen yet, client's peer and queues it
// to be accepted.
func (s *Socket) admit(client, server *Socket) error {
	// The client's mu is taken before and after, not within: two of them are
	// never held at once.
	client.mu.Lock()
	clientCreds, clientGroups, clientProcess := client.creds, client.groups, client.process
	client.mu.Unlock()

	s.mu.Lock()
	if !s.listening || s.closed {
		s.mu.Unlock()
		return unix.ECONNREFUSED
	}
	if s.shut.Load()&recvShut != 0 {
		s.mu.Unlock()
		return unix.ECONNREFUSED
	}
	if len(s.pending) > s.backlog {
		s.block(client)
		s.mu.Unlock()
		return unix.EAGAIN
	}
	server.name = s.name
	server.creds, server.groups, server.process = s.creds, s.groups, s.process
	server.peerCreds, server.peerGroups, server.peerProcess = clientCreds, clientGroups, clientProcess
	server.passes.Store(s.passes.Load())
	server.peer.Store(client)
	creds, groups, process := s.creds, s.groups, s.process
	s.pending = append(s.pending, server)
	client.peer.Store(server)
	s.wait.Notify(waiter.Readable)
	s.mu.Unlock()

	client.mu.Lock()
	client.peerCreds, client.peerGroups, client.peerProcess = creds, groups, process
	client.mu.Unlock()
	client.wait.Notify(waiter.Writable)
	return nil
}

// connectDatagram sets, or with AF_UNSPEC takes away, where datagrams go.
func (s *Socket) connectDatagram(c socket.Caller, addr []byte) error {
	if family(addr) == unix.AF_UNSPEC {
		s.peer.Store(nil)
		return nil
	}
	to, err := s.ns.find(c, addr, s.typ)
	if err != nil {
		return err
	}
	s.ns.mu.Lock()
	defer s.ns.mu.Unlock()
	if p := to.peer.Load(); p != nil && p != s {
		return unix.EPERM
	}
	if s.passing(passSender) && !s.bound() {
		if err := s.ns.autobind(s); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.peerCreds = to.creds
	s.mu.Unlock()
	s.peer.Store(to)
	s.wait.Notify(waiter.Writable)
	return nil
}

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, error) {
	if !s.connected() {
		return nil, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listening {
		return nil, unix.EINVAL
	}
	if len(s.pending) == 0 {
		if s.shut.Load()&recvShut != 0 {
			return nil, unix.EINVAL
		}
		return nil, unix.EAGAIN
	}
	a := s.pending[0]
	s.pending[0] = nil
	s.pending = s.pending[1:]
	s.unblock()
	return a, nil
}

// Shutdown implements socket.Socket: it closes directions here and the
// opposite ones at the peer. As on Linux it also works without a peer.
func (s *Socket) Shutdown(how int32) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	mine := uint32(how + 1) // SHUT_RD, SHUT_WR, SHUT_RDWR are the bits less one
	s.close(mine)
	if peer := s.peer.Load(); peer != nil && s.connected() {
		peer.close(mine>>1&recvShut | mine<<1&sendShut)
	}
	return nil
}

// close closes directions and tells everybody who may care.
func (s *Socket) close(dirs uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut.Store(s.shut.Load() | dirs)
	m := waiter.Writable
	if dirs&recvShut != 0 {
		m |= waiter.Readable | waiter.RdHup
	}
	if s.shut.Load() == bothShut {
		m |= waiter.Hup
	}
	s.wait.Notify(m)
	for b := range s.blocked {
		delete(s.blocked, b)
		b.wait.Notify(waiter.Writable)
	}
}

// Release implements vfs.File. The peer sees the end of the stream, and
// ECONNRESET if there was something that nobody has read.
func (s *Socket) Release() {
	path := s.ns.forget(s)
	if path.Valid() {
		path.DecRef()
	}
	dead := s.end(false)
	s.ns.drop(dead)
	s.ns.flightMu.Lock()
	check := len(s.ns.sockets) > 0
	s.ns.flightMu.Unlock()
	if check {
		s.ns.collectGarbage()
	}
}

// end closes a socket for good, with the connections that wait on it.
// unaccepted says that it is one of those.
func (s *Socket) end(unaccepted bool) []*rights {
	s.mu.Lock()
	s.closed = true
	unread := s.in.len() > 0 || unaccepted
	dead := s.in.clear()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	s.close(bothShut)
	if peer := s.peer.Load(); peer != nil && s.connected() {
		if unread {
			peer.mu.Lock()
			peer.err = unix.ECONNRESET
			peer.mu.Unlock()
		}
		peer.close(bothShut)
		peer.wait.Notify(waiter.Err)
	}
	for _, p := range pending {
		s.ns.forget(p)
		dead = append(dead, p.end(true)...)
	}
	return dead
}

// takeError returns and forgets the pending error (SO_ERROR).
func (s *Socket) takeError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = nil
	return err
}
