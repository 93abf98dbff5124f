package unixsock

import (
	"slices"
	"unsafe"

	"coffer/internal/sentry/ring"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
)

// segment is a datagram, a packet, or a stretch of stream bytes that came
// with the same ancillary data.
type segment struct {
	n int
	// from is the sender's name, for datagrams; it is never changed.
	from   []byte
	creds  socket.Ucred
	rights *rights
	// process is that of creds, for who wants a pidfd of it; at is when the message was sent
	// to one that wants to know, in nanoseconds since 1970, or 0.
	process socket.Process
	at      int64
	// ended says that the segment came with rights, also when they have been
	// taken: nothing may be added to it.
	ended bool
	// peeked says that a message without bytes has been looked at.
	peeked bool
}

// rights are descriptions in flight.
type rights struct {
	files []*vfs.FileDescription
	// uid is who they are counted against.
	uid uint32
}

// queue holds what has been sent to a socket. It has no lock.
type queue struct {
	data ring.Buffer
	segs []segment
	head int // index of the oldest segment in segs
	// taken is what stream bytes came with that were taken last, without their rights.
	taken segment
}

func (q *queue) len() int { return len(q.segs) - q.head }

// overhead is what a segment is charged beside its bytes, so that many empty
// messages take no more memory than a few long ones.
const overhead = 256

// used is what the queue's contents count against a sender's SO_SNDBUF.
func (q *queue) used() int { return q.data.Len() + overhead*q.len() }

func (q *queue) first() *segment { return &q.segs[q.head] }

// from is the message of which a look that begins after off bytes is at, where it begins, and
// how much of it lies before; nil if there is none. Messages without bytes are shown once.
func (q *queue) from(off int) (seg *segment, at, skip int) {
	for i := q.head; i < len(q.segs); i++ {
		seg = &q.segs[i]
		if off < seg.n || off == 0 && !seg.peeked {
			return seg, at, off
		}
		off -= seg.n
		at += seg.n
	}
	return nil, 0, 0
}

// unread puts a segment and its bytes before all others; false if there is no memory for it.
func (q *queue) unread(s segment, p []byte) bool {
	if !q.reserve(len(p)) {
		return false
	}
	q.data.Unread(p)
	if q.head > 0 {
		q.head--
		q.segs[q.head] = s
	} else {
		q.segs = slices.Insert(q.segs, 0, s)
	}
	return true
}

func (q *queue) last() *segment { return &q.segs[len(q.segs)-1] }

// segmentSize is what a segment takes in segs.
const segmentSize = int(unsafe.Sizeof(segment{}))

// reserve makes room for a segment of n bytes; false if there is no memory for
// it.
func (q *queue) reserve(n int) bool {
	if len(q.segs) == cap(q.segs) && q.head == 0 {
		more := max(cap(q.segs), 1)
		if !shmem.Buffers.Charge(int64(more * segmentSize)) {
			return false
		}
		segs := make([]segment, len(q.segs), cap(q.segs)+more)
		copy(segs, q.segs)
		q.segs = segs
	}
	return q.data.Reserve(n)
}

// push appends a segment and its bytes, for which there is room.
func (q *queue) push(s segment, p []byte) {
	if len(q.segs) == cap(q.segs) {
		// Reuse the room at the front, which there is.
		n := copy(q.segs, q.segs[q.head:])
		clear(q.segs[n:])
		q.segs, q.head = q.segs[:n], 0
	}
	q.segs = append(q.segs, s)
	q.data.Write(p)
}

// pop drops the oldest segment, whose bytes have been taken already.
func (q *queue) pop() {
	q.segs[q.head] = segment{}
	q.head++
	if q.head == len(q.segs) {
		q.segs, q.head = q.segs[:0], 0
	}
}

// clear empties the queue and returns the rights that were in it.
func (q *queue) clear() []*rights {
	var out []*rights
	for _, s := range q.segs[q.head:] {
		if s.rights != nil {
			out = append(out, s.rights)
		}
	}
	q.data.Release()
	shmem.Buffers.Uncharge(int64(cap(q.segs) * segmentSize))
	*q = queue{}
	return out
}
