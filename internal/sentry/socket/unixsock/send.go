package unixsock

import (
	"time"

	"coffer/internal/bpf"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Send implements socket.Socket. A full receiver is EAGAIN; EPIPE, for which
// the caller sends SIGPIPE if it is a stream, if the direction or the peer is closed.
func (s *Socket) Send(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	for _, control := range m.Control {
		if control.Level == unix.SOL_SOCKET {
			return 0, unix.EINVAL
		}
	}
	return s.send(c, p, m)
}

// send sends; m is nil for plain write(2).
func (s *Socket) send(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if s.typ == unix.SOCK_DGRAM {
		return s.sendDatagram(c, p, m)
	}
	peer := s.peer.Load()
	if m != nil && m.Addr != nil && s.typ == unix.SOCK_STREAM {
		if peer != nil {
			return 0, unix.EISCONN
		}
		return 0, unix.EOPNOTSUPP
	}
	if s.typ == unix.SOCK_SEQPACKET {
		if err := s.takeError(); err != nil {
			return 0, err
		}
	}
	if peer == nil {
		return 0, unix.ENOTCONN
	}
	if s.shut.Load()&sendShut != 0 {
		return 0, unix.EPIPE
	}
	if s.typ == unix.SOCK_STREAM && len(p) == 0 {
		if m != nil {
			m.DropRights()
		}
		return 0, nil
	}
	return s.deliver(c, peer, p, m)
}

func (s *Socket) sendDatagram(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if err := s.takeError(); err != nil {
		return 0, err
	}
	if s.shut.Load()&sendShut != 0 {
		return 0, unix.EPIPE
	}
	peer := s.peer.Load()
	if m != nil && m.Addr != nil {
		sc, ok := c.(socket.Caller)
		if !ok {
			return 0, unix.EINVAL
		}
		if s.passing(passSender) && !s.bound() {
			s.ns.mu.Lock()
			s.ns.autobind(s)
			s.ns.mu.Unlock()
		}
		to, err := s.ns.find(sc, m.Addr, s.typ)
		if err != nil {
			return 0, err
		}
		if to.peer.Load() != nil && to.peer.Load() != s {
			return 0, unix.EPERM
		}
		peer = to
	} else if peer == nil {
		return 0, unix.ENOTCONN
	}
	n, err := s.deliver(c, peer, p, m)
	if err == unix.ECONNREFUSED && (m == nil || m.Addr == nil) {
		// The destination is gone for good: the socket is unconnected again.
		s.peer.CompareAndSwap(peer, nil)
	}
	return n, err
}

// deliver puts what the other socket's filter lets through into its queue: of streams all, and of a message
// as many bytes as it says, which the sender is not told.
func (s *Socket) deliver(c vfs.Caller, to *Socket, p []byte, m *socket.Message) (int, error) {
	if s.typ == unix.SOCK_STREAM {
		return s.put(c, to, p, m)
	}
	if len(p) > int(s.SendBuffer())-32 {
		return 0, unix.EMSGSIZE
	}
	f := to.FilterProgram()
	if f == nil {
		return s.put(c, to, p, m)
	}
	keep := f.Run(&bpf.Packet{Data: p})
	if keep == 0 {
		if m != nil {
			m.DropRights()
		}
		return len(p), nil
	}
	if _, err := s.put(c, to, p[:min(uint64(keep), uint64(len(p)))], m); err != nil {
		return 0, err
	}
	return len(p), nil
}

// put puts a message into the queue of another socket.
func (s *Socket) put(c vfs.Caller, to *Socket, p []byte, m *socket.Message) (int, error) {
	seg := segment{creds: socket.Ucred{UID: nobody, GID: nobody}}
	if m != nil && m.HasCreds {
		seg.creds, seg.process = m.Creds, m.Sender
	} else if s.passing(passSender) || to.passing(passSender) {
		seg.creds, seg.process = credsOf(c), processOf(c)
	}
	if to.Stamped() && s.typ != unix.SOCK_STREAM {
		seg.at = time.Now().UnixNano()
	}
	if s.typ == unix.SOCK_DGRAM {
		s.mu.Lock()
		seg.from = s.name
		s.mu.Unlock()
	}
	if m == nil || len(m.Rights) == 0 {
		return s.enqueue(to, seg, p)
	}
	if !to.passing(passRights) {
		return 0, unix.EPERM
	}
	return s.deliverRights(c, to, seg, p, m)
}

// enqueue appends to the queue of another socket what fits of a stream, or
// all of a message, which is not too long. ENOBUFS if pipes and sockets hold too much.
func (s *Socket) enqueue(to *Socket, seg segment, p []byte) (int, error) {
	limit := int(s.SendBuffer())
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.closed {
		if s.typ == unix.SOCK_DGRAM {
			return 0, unix.ECONNREFUSED
		}
		return 0, unix.EPIPE
	}
	if to.shut.Load()&recvShut != 0 {
		return 0, unix.EPIPE
	}
	room := limit - to.in.used()
	if s.typ == unix.SOCK_STREAM {
		if room <= 0 {
			to.block(s)
			return 0, unix.EAGAIN
		}
		if len(p) > room {
			// A short write tells the sender to wait for room (epoll(7)).
			p = p[:room]
			to.block(s)
		}
		if to.in.len() > 0 && seg.rights == nil {
			// Bytes of one sender run together, unless rights end a stretch.
			if l := to.in.last(); l.rights == nil && l.creds == seg.creds && l.process == seg.process && !l.ended {
				if !to.in.data.Reserve(len(p)) {
					return 0, unix.ENOBUFS
				}
				l.n += len(p)
				to.in.data.Write(p)
				to.wait.Notify(waiter.Readable)
				return len(p), nil
			}
		}
		seg.ended = seg.rights != nil
	} else if room < len(p) && to.in.len() > 0 || to.in.len() >= maxQueued {
		to.block(s)
		return 0, unix.EAGAIN
	}
	if !to.in.reserve(len(p)) {
		return 0, unix.ENOBUFS
	}
	seg.n = len(p)
	to.in.push(seg, p)
	to.wait.Notify(waiter.Readable)
	return len(p), nil
}
