package inet

import (
	"io"

	"coffer/internal/link"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Larger pieces of a stream that leaves the namespace go from guest memory into what the stack
// keeps of them, without a buffer in between, and the stack sends one piece before the next
// is copied, which is in the processor's cache still when the host takes it.

const (
	// farFrom is from how many bytes on. The frames of fewer may wait for others, by who sends them (Socket.write).
	farFrom = 64 << 10
	// farPiece is two whole segments.
	farPiece = 2 * link.SegmentMax
	// farJoined is up to how much of a segment a call leaves for the next one to fill up. The stack keeps a piece that
	// is less than a segment while something is not acknowledged (RFC 896), but joins only the whole next piece to it:
	// otherwise it would be a frame of its own, which costs the other end as much as a long one.
	farJoined = link.SegmentMax / 8
	// farLong is from how many bytes on it pays to have another processor wake up, to give the host the first of them while the
	// last are copied.
	farLong = 768 << 10
)

// guestSource is a part of guest memory, as a tcpip.Payloader.
type guestSource struct {
	from socket.Memory
	left int
}

// Len implements tcpip.Payloader.
func (g *guestSource) Len() int { return g.left }

// Read implements tcpip.Payloader.
func (g *guestSource) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n, err := g.from.CopyIn(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// pieceOf is how many of some bytes are the next piece, if a segment has over already: whole segments, or less than one.
func pieceOf(left, over int) int {
	if over > 0 {
		return min(left, link.SegmentMax-over)
	}
	if left > link.SegmentMax {
		left -= left % link.SegmentMax
	}
	return min(left, farPiece)
}

// sendFar is SendFrom for a connection by way of the stack. Of a piece that is not there as a whole
// nothing is sent. s.sendMu is held.
func (s *Socket) sendFar(from socket.Memory, size int, flags int32) (done int, ok bool, err error) {
	e := s.ep.Load()
	// Who accepts a connection within the namespace takes sendMu, and need not wait for what is copied.
	if size < farFrom || flags&unix.MSG_MORE != 0 || s.moreStream.Load() || s.calling.Load() || !s.chargeSend(e) {
		return 0, false, nil
	}
	s.fitOptions(e, s.headerOptions(), s.extensions())
	over := int(s.sentBefore-s.cutFrom) % link.SegmentMax
	if over > farJoined || !e.SocketOptions().GetDelayOption() {
		s.cutFrom, over = s.sentBefore, 0
	}
	if size >= farLong {
		waiter.ToHost.Begin()
		defer waiter.ToHost.End()
	}
	for done < size {
		// The endpoint's lock is given back while it is copied: the guest can take its time.
		g := guestSource{from: from, left: pieceOf(size-done, over)}
		over = 0
		want := g.left
		n, terr := e.Write(&g, tcpip.WriteOptions{})
		s.sentBefore += n
		done += int(n)
		if int(n) == want {
			continue
		}
		if _, full := terr.(*tcpip.ErrWouldBlock); full && done == 0 {
			return 0, true, unix.EAGAIN
		}
		break // an error comes again with the next call, which Send tells
	}
	return done, done > 0, nil
}
