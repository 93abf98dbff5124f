package link

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What waits to be sent is bounded; beyond it frames are dropped, as a network
// interface's queue does it (txqueuelen).
const (
	queueFrames = 1000
	queueBytes  = 4 << 20
)

// queueFrom is the size of frames that leave by way of the queue: those of a transfer in
// bulk. What the host does to send one takes as long as what makes the next one, so that
// both go on at once. A smaller frame would lose more by waking somebody.
const queueFrom = 32 << 10

// Who sends in bulk and finds more than queueFull bytes in the queue waits until no more than
// queueLow are: several connections with large windows would lose what it does not hold.
// Less would leave too little to do while they come back. Nobody waits for the host, or for a
// rate.
const (
	queueFull = queueBytes / 2
	queueLow  = queueFull / 2
)

// sender sends frames: at once while the socket takes them, or from a queue that a
// goroutine empties as the socket and the rate allow.
type sender struct {
	mu    sync.Mutex
	queue []*stack.PacketBuffer // each with a reference
	bytes int                   // in the queue
	busy  bool                  // the goroutine is there, or another one at its work (Outflow)
	stuck bool                  // the queue waits for the host or a rate, for who knows how long
	// lower is told, with mu, that no more than queueLow is in the queue, or that it is stuck.
	lower sync.Cond
	// sending are the first of the queue, while the goroutine sends them; it alone
	// uses it.
	sending [batchFrames]*stack.PacketBuffer
	acks    acks // under mu
	// held is what Hold has wait, each with a reference; under mu.
	held []*stack.PacketBuffer

	// pace is used by the goroutine alone.
	pace Pace
	// now are packets that are not queued yet; under mu. toSend is sendNow, and toDrain drainMeanwhile, made once.
	now     []*stack.PacketBuffer
	toSend  func(uintptr)
	toDrain func()

	// call is the goroutine's while it is there, else under mu.
	call call
	// aside sends acknowledgements for others.
	aside aside
}

// call is what a call of the host's is made of.
type call struct {
	messages [batchFrames]message
	vnets    [batchFrames]vnet
	iovecs   []unix.Iovec
}

// iovecsMax is how many pieces a frame is sent in without being copied together.
const iovecsMax = 64

// WritePackets implements stack.LinkWriter. What is dropped is counted and no error,
// as on Linux.
func (l *Link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	packets := list.AsSlice()
	count := len(packets)
	if l.guard != nil {
		packets = l.permitted(packets)
	}
	s := &l.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(packets) > 0 && packets[0].Size() >= queueFrom {
		s.awaitLower()
	}
	if passed := s.acks.pass(packets, l.segment()); len(passed) > 0 && !l.leave(passed) && !l.hold(passed) {
		l.writeHeld()
		l.write(passed)
	}
	s.acks.done()
	s.acks.arm(len(s.held) > 0)
	return count, nil
}

// awaitLower waits while the queue is full and its goroutine empties it. s.mu is held.
func (s *sender) awaitLower() {
	if s.bytes <= queueFull {
		return
	}
	for s.bytes > queueLow && !s.stuck {
		s.lower.Wait()
	}
}

// stick notes whether the queue waits for the host; for a rate it always does.
func (s *sender) stick(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = is || s.pace.Rate != 0
	s.lower.Broadcast()
}

// segment is how many bytes a full segment has that comes.
func (l *Link) segment() uint32 {
	return max(l.mtu.Load(), header.IPv4MinimumMTU) - header.IPv4MinimumSize - header.TCPMinimumSize
}

// sendExpired sends acknowledgements that have waited long enough, and what is held: whoever
// is to have that leave is at something that takes long.
func (l *Link) sendExpired() {
	s := &l.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acks.armed = false
	l.writeHeld()
	l.write(s.acks.expire(time.Now()))
	s.acks.done()
	s.acks.arm(false)
}

// write sends packets, or queues them. The sender's lock is held.
func (l *Link) write(packets []*stack.PacketBuffer) {
	s := &l.sender
	if !s.busy && s.pace.Rate == 0 && (len(packets) == 0 || packets[0].Size() < queueFrom) {
		s.now = packets
		l.raw.Control(s.toSend)
		packets, s.now = s.now, nil
	}
	l.enqueue(packets)
}

// queue queues packets.
func (l *Link) queue(packets []*stack.PacketBuffer) {
	l.sender.mu.Lock()
	defer l.sender.mu.Unlock()
	l.enqueue(packets)
}

// enqueue is queue for who holds the sender's lock.
func (l *Link) enqueue(packets []*stack.PacketBuffer) {
	s := &l.sender
	for _, pkt := range packets {
		if !l.running.Load() || len(s.queue) >= queueFrames || s.bytes >= queueBytes {
			l.sentDropped.Add(1)
			continue
		}
		s.queue = append(s.queue, pkt.IncRef())
		s.bytes += pkt.Size()
	}
	if len(s.queue) > 0 && !s.busy {
		s.busy = true
		if o := l.config.Outflow; o == nil || s.pace.Rate != 0 || !o.Meanwhile(s.toDrain) {
			go l.drain()
		}
	}
}

// sendNow takes those of the sender's packets that the socket takes.
func (l *Link) sendNow(fd uintptr) {
	s := &l.sender
	for len(s.now) > 0 {
		n := l.transmit(fd, &s.call, s.now)
		if n == 0 {
			return
		}
		s.now = s.now[n:]
	}
}

// Pending reports whether frames wait to be sent.
func (l *Link) Pending() bool {
	l.sender.mu.Lock()
	defer l.sender.mu.Unlock()
	return len(l.sender.queue) > 0 || len(l.sender.held) > 0 || len(l.sender.acks.line) > 0 || l.sender.aside.pending()
}

// permitted returns those packets that the guard lets leave.
func (l *Link) permitted(packets []*stack.PacketBuffer) []*stack.PacketBuffer {
	var kept []*stack.PacketBuffer
	for _, pkt := range packets {
		if l.guard.permits(pkt) {
			kept = append(kept, pkt)
			continue
		}
		l.spoofed.Add(1)
		l.sentDropped.Add(1)
	}
	return kept
}

// transmit gives the socket what it takes of some packets, and returns how many are
// done with: sent, or impossible to send.
func (l *Link) transmit(fd uintptr, c *call, packets []*stack.PacketBuffer) int {
	packets = packets[:min(len(packets), batchFrames)]
	c.iovecs = c.iovecs[:0]
	var starts [batchFrames + 1]int
	for i, pkt := range packets {
		starts[i] = len(c.iovecs)
		if l.config.Offload {
			c.vnets[i].encode(pkt)
			c.piece(c.vnets[i][:])
		}
		c.frame(pkt)
	}
	starts[len(packets)] = len(c.iovecs)
	for i := range packets {
		c.messages[i].set(c.iovecs[starts[i]:starts[i+1]])
	}
	n, err := sendBatch(fd, c.messages[:len(packets)])
	clear(c.iovecs) // they must not keep packets alive
	if err != nil {
		return l.unsent(fd, packets[0], err)
	}
	for _, pkt := range packets[:n] {
		l.capture.packet(pkt) // before it is counted: a capture lacks nothing that has been
		l.sentFrames.Add(1)
		l.sentBytes.Add(uint64(pkt.Size()))
	}
	l.revive(fd)
	return n
}

// unsent does with the first of some packets what the error says, and returns how
// many are done with.
func (l *Link) unsent(fd uintptr, pkt *stack.PacketBuffer, err error) int {
	switch err {
	case unix.EAGAIN:
		return 0
	case unix.EMSGSIZE:
		l.readMTU(fd)
		l.tellTooBig(pkt)
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
		l.setRunning(false)
	}
	l.sentDropped.Add(1)
	return 1
}

// frame adds a frame's pieces to what is sent.
func (c *call) frame(pkt *stack.PacketBuffer) {
	views, offset := pkt.AsViewList()
	if views.Len() > iovecsMax {
		all := pkt.ToView()
		c.piece(all.ToSlice())
		all.Release()
		return
	}
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		skip := min(offset, len(b))
		offset -= skip
		c.piece(b[skip:])
	}
}

func (c *call) piece(b []byte) {
	if len(b) > 0 {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		c.iovecs = append(c.iovecs, v)
	}
}

// drainMeanwhile empties the queue for who queues more, and leaves that to a goroutine as soon as it would wait for
// the host.
func (l *Link) drainMeanwhile() {
	for l.sender.next() != 0 {
		if more, err := l.flush(); err != nil || !more {
			go l.drain()
			return
		}
	}
}

// drain empties the queue, and ends when it has.
func (l *Link) drain() {
	s := &l.sender
	for {
		bytes := s.next()
		if bytes == 0 {
			return
		}
		if s.pace.Rate != 0 {
			s.pace.Wait(bytes, l.closing)
		}
		more, err := l.flush()
		if err == nil && !more {
			s.stick(true)
			err = l.awaitRoom()
			s.stick(false)
		}
		if err != nil {
			s.discard() // the link is closed
		}
	}
}

// awaitRoom sends from the queue as the socket takes it, until it takes more than
// there is.
func (l *Link) awaitRoom() error {
	var err error
	watch := func(f func(uintptr) error) {
		if e := l.raw.Control(func(fd uintptr) { err = f(fd) }); e != nil {
			err = e
		}
	}
	if watch(l.room.watch); err != nil {
		return err
	}
	var failed error
	waited := l.room.wait(func() bool {
		var more bool
		more, failed = l.flush()
		return more || failed != nil
	})
	watch(l.room.unwatch)
	return errors.Join(waited, failed, err)
}

// next returns the bytes of the next frame; 0 ends the goroutine: there is none.
func (s *sender) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.busy = false
		s.queue = nil
		return 0
	}
	return max(s.queue[0].Size(), 1)
}

// flush sends from the queue. It reports whether the socket takes more. The error says
// that the link is closed.
func (l *Link) flush() (more bool, err error) {
	err = l.raw.Control(func(fd uintptr) { more = l.flushTo(fd) })
	return more, err
}

func (l *Link) flushTo(fd uintptr) bool {
	s := &l.sender
	most := len(s.sending)
	if s.pace.Rate != 0 {
		most = 1 // that which has been waited for
	}
	for {
		// Meanwhile others may queue more.
		s.mu.Lock()
		batch := s.sending[:copy(s.sending[:most], s.queue)]
		s.mu.Unlock()
		if len(batch) == 0 {
			return true
		}
		n := l.transmit(fd, &s.call, batch)
		clear(batch)
		if n == 0 {
			return false
		}
		s.mu.Lock()
		s.drop(n)
		s.mu.Unlock()
		if s.pace.Rate != 0 {
			return true
		}
	}
}

// drop takes n packets off the queue.
func (s *sender) drop(n int) {
	for i, pkt := range s.queue[:n] {
		s.bytes -= pkt.Size()
		pkt.DecRef()
		s.queue[i] = nil
	}
	s.queue = s.queue[n:]
	if s.bytes <= queueLow {
		s.lower.Broadcast()
	}
}

// discard empties the queue. The caller is the goroutine.
func (s *sender) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(len(s.queue))
}
