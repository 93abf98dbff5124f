package unixsock

import (
	"slices"
	"time"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Recv implements socket.Socket. The caller drops the references in m.Rights.
func (s *Socket) Recv(p []byte, m *socket.Message) (int, error) {
	switch {
	case m.Flags&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	case m.Flags&unix.MSG_ERRQUEUE != 0:
		return 0, unix.EAGAIN // nothing is ever in it
	}
	return s.recv(p, m, false)
}

// recv takes from the queue. plain is for read(2), which loses rights.
func (s *Socket) recv(p []byte, m *socket.Message, plain bool) (int, error) {
	n, err := s.dequeue(p, m, false)
	if err == errRights {
		// Moving rights needs the lock that comes before s.mu.
		s.ns.flightMu.Lock()
		n, err = s.dequeue(p, m, true)
		s.ns.flightMu.Unlock()
	}
	if plain && m.Rights != nil {
		m.DropRights()
	}
	return n, err
}

// errRights says that dequeue met rights without having been allowed to.
const errRights = unix.Errno(0xfff)

func (s *Socket) dequeue(p []byte, m *socket.Message, rightsOK bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.len() == 0 {
		return 0, s.emptyError()
	}
	peek := m.Flags&unix.MSG_PEEK != 0
	further := peek && s.peekOff.Get() >= 0
	if !rightsOK && (further || s.meetsRights(len(p))) {
		return 0, errRights
	}
	var n int
	there := true
	if s.typ == unix.SOCK_STREAM {
		n = s.takeStream(p, m, peek)
		there = n > 0 || len(p) == 0
	} else {
		n, there = s.takeMessage(p, m, peek)
	}
	if further && !there {
		return 0, s.emptyError() // all has been looked at
	}
	if !peek {
		s.unblock()
	}
	return n, nil
}

// emptyError is the result of a receive that finds nothing: nil at the end of
// the stream. s.mu is held.
func (s *Socket) emptyError() error {
	if s.typ == unix.SOCK_STREAM && (s.listening || s.peer.Load() == nil) {
		return unix.EINVAL
	}
	if err := s.err; err != nil {
		s.err = nil
		return err
	}
	if s.typ == unix.SOCK_SEQPACKET && s.peer.Load() == nil {
		return unix.ENOTCONN
	}
	if s.shut.Load()&recvShut != 0 {
		return nil
	}
	return unix.EAGAIN
}

// meetsRights reports whether a read of n bytes would take rights.
func (s *Socket) meetsRights(n int) bool {
	if s.typ != unix.SOCK_STREAM {
		return s.in.first().rights != nil
	}
	for i := s.in.head; i < len(s.in.segs) && n > 0; i++ {
		if s.in.segs[i].rights != nil {
			return true
		}
		n -= s.in.segs[i].n
	}
	return false
}

// takeStream fills p with bytes of one sender, up to the end of the first
// stretch that has rights.
func (s *Socket) takeStream(p []byte, m *socket.Message, peek bool) int {
	done := 0
	at, skip := 0, 0 // where seg begins, and how much of it has been looked at
	if peek {
		skip = max(int(s.peekOff.Get()), 0)
	}
	for i := s.in.head; i < len(s.in.segs) && done < len(p); {
		seg := &s.in.segs[i]
		if peek && skip >= seg.n {
			skip -= seg.n
			at += seg.n
			i++
			continue
		}
		if s.ofOther(seg, m) {
			break
		}
		s.tellSender(seg, m)
		s.moveRights(seg, m, peek)
		if peek {
			n := min(len(p)-done, seg.n-skip)
			s.in.data.Peek(p[done:done+n], at+skip)
			s.peekOff.Peeked(n)
			done += n
			at += seg.n
			skip = 0
			i++
			if seg.ended {
				break
			}
			continue
		}
		n := s.in.data.Read(p[done:min(len(p), done+seg.n)])
		done += n
		s.peekOff.Taken(n)
		seg.n -= n
		ended := seg.ended
		s.in.taken = segment{creds: seg.creds, process: seg.process, ended: ended && seg.n == 0}
		if seg.n > 0 {
			break
		}
		s.in.pop()
		i = s.in.head
		if ended {
			break
		}
	}
	return done
}

// Unread implements vfs.Unreader for streams. Without memory for the bytes they are lost.
func (s *Socket) Unread(p []byte) {
	if len(p) == 0 || s.typ != unix.SOCK_STREAM {
		return
	}
	s.mu.Lock()
	seg := s.in.taken
	seg.n = len(p)
	ok := s.in.unread(seg, p)
	s.mu.Unlock()
	if ok {
		s.wait.Notify(waiter.Readable)
	}
}

// takeMessage takes one message; what does not fit is lost. It is false if all have been
// looked at.
func (s *Socket) takeMessage(p []byte, m *socket.Message, peek bool) (int, bool) {
	seg, at, skip := s.in.first(), 0, 0
	if off := s.peekOff.Get(); peek && off >= 0 {
		if seg, at, skip = s.in.from(int(off)); seg == nil {
			return 0, false
		}
		seg.peeked = seg.n == 0
	}
	n := seg.n - skip
	if s.typ == unix.SOCK_DGRAM && seg.from != nil {
		m.Addr = formatAddr(seg.from)
	}
	s.tellSender(seg, m)
	if s.Stamped() {
		sent := time.Now() // for what was sent before anybody wanted to know
		if seg.at != 0 {
			sent = time.Unix(0, seg.at)
		}
		m.Control = s.AppendReceived(m.Control, sent)
	}
	s.moveRights(seg, m, peek)
	got := s.in.data.Peek(p[:min(n, len(p))], at+skip)
	if got < n {
		m.Flags |= unix.MSG_TRUNC
	} else {
		m.Flags &^= unix.MSG_TRUNC
	}
	// As on Linux MSG_EOR is not reported.
	m.Flags &^= unix.MSG_EOR
	if peek {
		s.peekOff.Peeked(got)
	} else {
		s.peekOff.Taken(n)
		s.in.data.Discard(n)
		s.in.pop()
	}
	return n, true
}

// ofOther reports whether a segment is of another sender than what a receiver who wants to know
// has got before.
func (s *Socket) ofOther(seg *segment, m *socket.Message) bool {
	return m.HasCreds && m.Creds != seg.creds && s.passing(passCreds) ||
		m.Sender != nil && m.Sender != seg.process && s.passing(passPIDFD)
}

// tellSender adds who sent a segment, as far as the receiver wants to know.
func (s *Socket) tellSender(seg *segment, m *socket.Message) {
	if s.passing(passCreds) {
		m.Creds, m.HasCreds = seg.creds, true
	}
	if s.passing(passPIDFD) {
		m.Sender = seg.process
	}
}

// moveRights takes a segment's rights out of flight, or shares them with who
// only looks. Both locks are held if there are any.
func (s *Socket) moveRights(seg *segment, m *socket.Message, peek bool) {
	r := seg.rights
	if r == nil {
		return
	}
	if peek {
		m.Rights = slices.Clone(r.files)
		for _, d := range m.Rights {
			d.IncRef()
		}
		return
	}
	s.ns.landed(r)
	m.Rights, seg.rights = r.files, nil
}

var _ vfs.IOTimeouts = (*Socket)(nil)
