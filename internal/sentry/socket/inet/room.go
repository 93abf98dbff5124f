package inet

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Who sends over a long way can have no more under way than the window that he is told, and the stack has that grow late:
// it takes the time in which a window comes for the round trip's, which is several of them as long as the sender's
// slow start does not fill it. How far it grows does not depend on the way either, so that the slow start ends in
// a full queue, and loses a lot. Here the round trip is known from the handshake, and the window is
// a multiple of what comes within one: up to 2 MiB more than twice as much, so that the slow start is not held
// back. From there on it is as much as leaves half of what is on the way itself for queues, if that
// came in two round trips, one after another: what waited for a segment that was lost comes all at once. And it grows
// by a segment in two round trips, as a sender's own window does that avoids congestion: it may be others who have filled a queue.

const (
	// roomFrom is the least round trip of a way that is long. On others the stack's own measure is as good.
	roomFrom = 4 * time.Millisecond
	// roomBelied is how many windows within a round trip tell that it is shorter: who sends has one under way, and
	// what waited for a lost segment may come with another. The handshake's takes long on a busy host.
	roomBelied = 3
	// roomSteps is in how many parts of a round trip it is looked how much has come.
	roomSteps = 8
	// roomCheap is a window that leaves room for a slow start.
	roomCheap = 2 << 20
	// roomSegment is about a segment's size, roomFirst what is more than a multiple, as on Linux.
	roomSegment = 1460
	roomFirst   = 16 * roomSegment
)

// room is how much the receive buffer of a stream is to hold. recvMu protects it.
type room struct {
	of *endpoint
	// trip is the shortest round trip that is known, or 0 for an endpoint whose way is not long.
	trip  time.Duration
	began time.Time
	taken int64
	// marks are when how much had come, the last ones of as many as marked says.
	marks  []mark
	marked int
	// more is by how much the window has grown beside what came.
	more int64
}

// mark is how many bytes had come at a time since the first ones were taken.
type mark struct {
	at    time.Duration
	bytes int64
}

// makeRoom notes that n bytes have been taken from e, and has its receive buffer be as large as it is to be. It is false if
// that is left to the stack. s.recvMu is held.
func (s *Socket) makeRoom(e *endpoint, n int) bool {
	if s.end.Load() != nil {
		return false
	}
	r := &s.room
	if r.of != e {
		*r = newRoom(e, roundTrip(e))
	}
	if r.trip == 0 {
		return false
	}
	r.taken += int64(n)
	now := time.Since(r.began)
	if !r.due(now) {
		return true
	}
	if trip := roundTrip(e); trip != 0 {
		r.trip = min(r.trip, max(trip, roomFrom))
	}
	window := r.window(now, r.taken+int64(s.queuedInStack(e)))
	o := e.SocketOptions()
	if r.belied(o.GetReceiveBufferSize() / 2) {
		*r = newRoom(e, 0)
		return false
	}
	var (
		tunes tcpip.TCPModerateReceiveBufferOption
		sizes tcpip.TCPReceiveBufferSizeRangeOption
	)
	st := s.net.Stack()
	if st.TransportProtocolOption(tcp.ProtocolNumber, &tunes) != nil || st.TransportProtocolOption(tcp.ProtocolNumber, &sizes) != nil {
		return true
	}
	// The window is half of the buffer (tcp_adv_win_scale).
	size := min(2*window, int64(sizes.Max))
	if tunes && s.bufferSet(unix.SO_RCVBUF) == 0 && s.charges.shrunk.Load() == 0 && size > o.GetReceiveBufferSize() {
		o.SetReceiveBufferSize(size, false)
	}
	return true
}

// newRoom is one for an endpoint, from whose peer nothing has been taken.
func newRoom(e *endpoint, trip time.Duration) room {
	if trip < roomFrom {
		return room{of: e}
	}
	return room{of: e, trip: trip, began: time.Now(), marks: make([]mark, 3*roomSteps), marked: 1}
}

// roundTrip is what the stack knows of the round trip of a connection, or 0.
func roundTrip(e *endpoint) time.Duration {
	var info tcpip.TCPInfoOption
	if e.GetSockOpt(&info) != nil {
		return 0
	}
	return info.RTT
}

// due reports whether it is time to look again.
func (r *room) due(now time.Duration) bool {
	return now-r.mark(1).at >= r.trip/roomSteps
}

// mark is the nth last one.
func (r *room) mark(n int) *mark { return &r.marks[(r.marked-n)%len(r.marks)] }

// window is how large the window is to be, at a time that is due when so many bytes have come.
func (r *room) window(now time.Duration, bytes int64) int64 {
	r.marked++
	*r.mark(1) = mark{now, bytes}
	one, two := r.came(r.trip), r.came(2*r.trip)
	// Who sends little needs no more, however long he does.
	if r.marked%(2*roomSteps) == 0 && r.more < one {
		r.more += roomSegment
	}
	return max(min(one*9/4+roomFirst, roomCheap), min(one, two-one)*3/2) + r.more
}

// belied reports whether more came than can have come in a round trip with such a window.
func (r *room) belied(window int64) bool { return r.came(r.trip) > roomBelied*window }

// came is how much came within a time before the last mark.
func (r *room) came(within time.Duration) int64 {
	last := *r.mark(1)
	from, before := last.at-within, last
	for n := 2; n <= min(r.marked, len(r.marks)) && before.at > from; n++ {
		after := before
		if before = *r.mark(n); before.at < from {
			// Somewhere between the two.
			before.bytes += int64(float64(after.bytes-before.bytes) * float64(from-before.at) / float64(after.at-before.at))
		}
	}
	return last.bytes - before.bytes
}
