package inet

import (
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Bytes of a near connection go from the guest that sends into the flow, and from there to
// the guest that receives, without a buffer in between. They are copied with near.mu
// released, so that one end's copies go on beside the other's: sendMu and recvMu keep
// those apart who send, or receive, by the same socket.

const (
	// directPiece is how much is copied until the other end hears of it: little enough to be
	// in the processor's cache still, and so much that the calls to copy it are few.
	directPiece = 128 << 10
	// directMax is how much one call moves, so that others have their turn.
	directMax = 1 << 20
)

// SendFrom implements socket.Direct. Where there is an error to tell, Send does.
func (s *Socket) SendFrom(from socket.Memory, size int, flags int32) (done int, ok bool, err error) {
	if s.shut.Load()&sendShut != 0 || flags&(unix.MSG_OOB|unix.MSG_FASTOPEN) != 0 {
		return 0, false, nil
	}
	size = min(size, directMax)
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	n := s.end.Load()
	if n == nil {
		return s.sendFar(from, size, flags)
	}
	woke := false
	for done < size && err == nil {
		var p []byte
		if p, ok, err = s.lend(n, size-done); !ok || err != nil {
			break
		}
		var filled int
		filled, err = from.CopyIn(p)
		if ok = n.add(filled); !ok {
			err = nil
			break
		}
		done += filled
		if filled > 0 && !n.peer.wait.Empty() {
			woke = true
			n.peer.wait.Notify(waiter.Readable)
		}
	}
	s.woke.Store(woke)
	if done > 0 && err != unix.EFAULT {
		// What ended it comes again with the next call.
		return done, true, nil
	}
	return done, ok, err
}

// lend returns room for some of size bytes to send, for add. EAGAIN if there is none; ok is
// false if the connection is over. s.sendMu is held.
func (s *Socket) lend(n *end, size int) (p []byte, ok bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.out()
	if n.reset || out.over || n.deaf() {
		return nil, false, nil
	}
	room := capacity(s, n.peer) - out.data.Len()
	if room <= 0 {
		out.starved = true
		return nil, true, unix.EAGAIN
	}
	// Growing by steps would copy what is there each time.
	piece := min(size, room, directPiece)
	if !out.data.Reserve(min(size, room)) && !out.data.Reserve(piece) {
		return nil, true, unix.ENOBUFS
	}
	return out.data.Room(piece), true, nil
}

// add sends the first count bytes of what was lent. It reports false, and sends nothing, if
// the connection has come to its end meanwhile.
func (n *end) add(count int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.out()
	if n.reset || out.over || n.deaf() {
		out.data.Add(0)
		return false
	}
	out.data.Add(count)
	n.pass(count)
	return true
}

// RecvTo implements socket.Direct.
func (s *Socket) RecvTo(to socket.Memory, size int, flags int32) (done int, ok bool, err error) {
	if flags&(unix.MSG_OOB|unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_ERRQUEUE) != 0 || s.report.Load()&reportInq != 0 || s.peekOff.Get() >= 0 ||
		s.unread.Len() > 0 {
		return 0, false, nil
	}
	size = min(size, directMax)
	n := s.end.Load()
	if n == nil {
		ok = to.Fill(size, func(p []byte) int {
			done, err = s.takeStream(p, 0)
			return done
		})
		return done, ok, err
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if n.viaStack.Load() > 0 {
		return 0, false, nil
	}
	for done < size && err == nil {
		p, urgent, over, kept := n.held(min(size-done, directPiece))
		if urgent {
			return done, done > 0, nil
		}
		if len(p) == 0 {
			if done == 0 {
				err = s.nothing(over, kept)
			}
			break
		}
		var taken int
		taken, err = to.CopyOut(p)
		done += taken
		if s.drop(n, taken) {
			n.peer.wait.Notify(waiter.Writable)
		}
	}
	return done, true, err
}

// held returns what can be received, size bytes at most, for drop. urgent says that an
// urgent byte is among it, which is for recvNear, over that no more will be sent, kept that a
// filter keeps more back. s.recvMu is held.
func (n *end) held(size int) (p []byte, urgent, over, kept bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	in := n.in()
	return in.data.Held(min(size, in.shown())), in.urgency != notUrgent, in.ended() || n.reset, in.keeps()
}

// drop takes count bytes off that have been received. It reports whether the other end can
// go on sending by that.
func (s *Socket) drop(n *end, count int) (wake bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	in := n.in()
	if in.gone || count == 0 {
		return false
	}
	in.discard(count)
	if in.starved && roomy(in, capacity(n.peer, s)) {
		in.starved, wake = false, true
	}
	return wake
}
