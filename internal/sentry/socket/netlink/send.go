package netlink

import (
	"math/bits"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Send implements socket.Socket: requests to the kernel are answered before it returns.
func (s *Socket) Send(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 || len(m.Rights) > 0 {
		return 0, unix.EOPNOTSUPP
	}
	if len(m.Control) > 0 {
		return 0, unix.EINVAL
	}
	s.mu.Lock()
	to := s.peer
	s.mu.Unlock()
	if m.Addr != nil {
		a, err := parseAddress(m.Addr)
		if err != nil {
			return 0, err
		}
		if (a.portID != 0 || a.groups != 0) && !s.maySendTo(c) {
			return 0, unix.EPERM
		}
		to = a
	}
	s.portID()
	if len(p) > int(s.SendBuffer())-32 {
		return 0, unix.EMSGSIZE
	}
	switch {
	case to.portID != 0:
		if err := s.pass(c, p, m, to.portID); err != nil {
			return 0, err
		}
		return len(p), nil
	case s.protocol == unix.NETLINK_USERSOCK:
		if to.groups != 0 {
			s.spread(c, p, m, bits.TrailingZeros32(to.groups)+1)
			return len(p), nil
		}
		return 0, unix.ECONNREFUSED
	}
	caller, ok := c.(Caller)
	if !ok {
		return 0, unix.EOPNOTSUPP
	}
	s.answer(caller, p, m.Addr != nil)
	return len(p), nil
}

// Write implements vfs.File.
func (s *Socket) Write(c vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	n, err := s.Send(c, p, &socket.Message{})
	return n, off, err
}

// pass gives a message to another program's socket. ECONNREFUSED if there is none of that port
// ID, or it has no room.
func (s *Socket) pass(c vfs.Caller, p []byte, m *socket.Message, id uint32) error {
	to := s.ns.Ports.at(s.protocol, id)
	if to == nil {
		return unix.ECONNREFUSED
	}
	if !to.deliver(s.copied(c, p, m, 0)) {
		return unix.ECONNREFUSED
	}
	return nil
}

// spread gives a message to all sockets of a group but this one.
func (s *Socket) spread(c vfs.Caller, p []byte, m *socket.Message, group int) {
	for _, to := range s.ns.Ports.inGroup(group, s) {
		to.deliver(s.copied(c, p, m, group))
	}
}

// copied is a datagram from this socket.
func (s *Socket) copied(c vfs.Caller, p []byte, m *socket.Message, group int) datagram {
	d := datagram{data: append([]byte(nil), p...), from: address{portID: s.portID()}, group: group, creds: m.Creds}
	if group != 0 {
		d.from.groups = 1 << (group - 1)
	}
	if sc, ok := c.(interface{ SocketCredentials() socket.Ucred }); ok && !m.HasCreds {
		d.creds = sc.SocketCredentials()
	}
	return d
}

// answer answers all requests in p. Other messages are acknowledged at most.
func (s *Socket) answer(c Caller, p []byte, addressed bool) {
	for {
		r, rest, ok := nextMessage(p)
		if !ok {
			return
		}
		p, r.addressed = rest, addressed
		var err error
		dumps := false
		if r.flags&unix.NLM_F_REQUEST != 0 && r.typ >= unix.NLMSG_MIN_TYPE {
			dumps, err = s.handle(c, &r)
		}
		// A dump that has begun ends with NLMSG_DONE instead.
		if err != nil || r.flags&unix.NLM_F_ACK != 0 && !dumps {
			s.acknowledge(&r, err)
		}
	}
}

// handle answers one request. dumps says that it began a dump.
func (s *Socket) handle(c Caller, r *request) (dumps bool, err error) {
	switch s.protocol {
	case unix.NETLINK_ROUTE:
		return s.handleRoute(c, r)
	case unix.NETLINK_SOCK_DIAG:
		return s.handleDiag(c, r)
	case unix.NETLINK_GENERIC:
		return s.handleGeneric(r)
	}
	return false, nil
}

// dumpOf begins a dump of what fill lays out, a message each.
func (s *Socket) dumpOf(r *request, fill func(*builder)) (bool, error) {
	var w builder
	fill(&w)
	w.begin(unix.NLMSG_DONE, unix.NLM_F_MULTI, r.seq, s.portID())
	w.u32(0)
	w.end()
	return true, s.startDump(w.b)
}

// reply sends one message as the answer.
func (s *Socket) reply(fill func(*builder)) {
	var w builder
	fill(&w)
	s.deliver(datagram{data: w.b})
}
