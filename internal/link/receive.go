package link

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A frame is read into pieces of growing sizes, so that a small one takes little
// memory from then on, and a large one is not copied. They hold the largest IP packet, and not
// much more: the memory is cleared each time.
var pieceSizes = [...]int{2 << 10, 8 << 10, 16 << 10, 32 << 10, 8 << 10}

// slot is where a frame is read to.
type slot struct {
	vnet   vnet
	pieces [len(pieceSizes)]*buffer.View
	iovecs [1 + len(pieceSizes)]unix.Iovec
}

// prepare returns the buffers of a frame that is to be read.
func (s *slot) prepare(offload bool) []unix.Iovec {
	s.iovecs[0].Base = &s.vnet[0]
	s.iovecs[0].SetLen(vnetSize)
	for i, size := range pieceSizes {
		if s.pieces[i] == nil {
			s.pieces[i] = buffer.NewViewSize(size)
			s.iovecs[1+i].Base = s.pieces[i].BasePtr()
			s.iovecs[1+i].SetLen(size)
		}
	}
	if offload {
		return s.iovecs[:]
	}
	return s.iovecs[1:]
}

// take returns the n bytes that have been read.
func (s *slot) take(n int) buffer.Buffer {
	var b buffer.Buffer
	for i := 0; n > 0; i++ {
		p := s.pieces[i]
		s.pieces[i] = nil
		p.CapLength(min(n, pieceSizes[i]))
		n -= p.Size()
		b.Append(p)
	}
	return b
}

func (s *slot) release() {
	for i, p := range s.pieces {
		if p != nil {
			p.Release()
			s.pieces[i] = nil
		}
	}
}

// batchMin is one frame, and room that tells that there is no other.
const batchMin = 2

// restAfter is how many waits are looked at together before memory is given back.
const restAfter = 16

// receiver reads frames.
type receiver struct {
	link *Link
	// batch is how many frames the next read may take: more than came of late, but not many
	// more, so that a link with little to do holds the memory of two slots and not of all.
	batch int
	// burst is how many have come since the last wait. most is the largest burst of the last waits,
	// which are so many: see rest.
	burst       int
	most, waits int
	// stream is that of the last large frame (streamOf).
	stream   uint64
	slots    [batchFrames]slot
	messages [batchFrames]message
	// toTake is take, made once.
	toTake func(uintptr)
	// n and err are what the last read came to. over says that no more can come.
	n    int
	err  error
	over bool
}

// receive reads frames until the link is closed, or nothing can come any more.
func (l *Link) receive() {
	defer close(l.ended)
	if !l.expected() {
		return
	}
	r := &receiver{link: l, batch: batchMin}
	r.toTake = r.take
	defer func() {
		for i := range r.slots {
			r.slots[i].release()
		}
	}()
	for {
		switch err := l.frames.wait(r.read); {
		case err != nil || l.isClosed():
			return
		case r.over || r.err != nil && !l.survives(r.err):
			l.setRunning(false) // the other end is no more
			return
		}
	}
}

// expected waits for the first frame, if the link waits for it (Expect), before there is what frames
// are read to: many links never see one. It is false if the link is closed.
func (l *Link) expected() bool {
	l.mu.Lock()
	wanted := l.wanted
	l.mu.Unlock()
	if wanted == nil {
		return true
	}
	if l.frames.first() != nil {
		return false
	}
	if !l.IsAttached() {
		wanted()
	}
	return true
}

// Look has the reader read frames that were there at the last look already, and reports whether
// there are any. It is for who may keep Go's poller from telling of them; one goroutine at a
// time may look.
func (l *Link) Look() bool { return l.frames.look() }

// read reads frames and hands them over. It is false if one has to wait for more; a wait
// begins without asking once more where fewer came than there was room for.
func (r *receiver) read() bool {
	flow := r.link.config.Inflow
	if flow != nil {
		flow.Begin()
	}
	if err := r.link.raw.Control(r.toTake); err != nil {
		r.err = err
	}
	if r.err == unix.EAGAIN {
		r.rest()
		return false
	}
	if r.err != nil {
		return true
	}
	if flow != nil {
		flow.Read(r.bytes())
	}
	r.burst += r.n
	all := r.n < r.batch
	if !all {
		r.batch = min(2*r.batch, batchFrames)
	}
	if r.over = !r.deliver(); r.over {
		return true
	}
	if all {
		r.rest()
	}
	return !all
}

// bytes is how many were read, and whether they are of several streams, as small frames may be.
func (r *receiver) bytes() (all int, several bool) {
	same := false
	for i := range r.messages[:r.n] {
		n := int(r.messages[i].n)
		all += n
		if n < largeFrom {
			continue
		}
		if of := streamOf(r.slots[i].pieces[0].AsSlice()); of == r.stream {
			same = true
		} else {
			r.stream, several = of, true
		}
	}
	return all, several || !same
}

// take reads frames.
func (r *receiver) take(fd uintptr) {
	for i := range r.slots[:r.batch] {
		r.messages[i].set(r.slots[i].prepare(r.link.config.Offload))
	}
	if r.n, r.err = recvBatch(fd, r.messages[:r.batch]); r.err == nil {
		r.link.revive(fd)
	}
}

// rest gives memory back before a wait if less has come than there was room for in each of the
// last bursts, which vary: to have it again, cleared, costs more than to receive a frame.
func (r *receiver) rest() {
	r.most = max(r.most, r.burst)
	r.burst = 0
	if r.waits++; r.waits < restAfter {
		return
	}
	if r.most < r.batch/2 {
		r.batch = max(r.batch/2, batchMin)
		for i := range r.slots[r.batch:] {
			r.slots[r.batch+i].release()
		}
	}
	r.most, r.waits = 0, 0
}

// survives reports whether frames may come after an error of the socket's.
func (l *Link) survives(err error) bool {
	switch err {
	case unix.ENOBUFS, unix.ENOMEM:
		time.Sleep(time.Millisecond)
		return true
	case unix.ENETDOWN:
		// The interface was set down, or it is no more.
		l.setRunning(false)
		return l.packet && !l.interfaceGone()
	}
	return false
}

// deliver hands the frames that were read to the stack. It reports whether more can
// come: an empty message is the end of a pair's other socket.
func (r *receiver) deliver() bool {
	l := r.link
	d := l.attached()
	bytes := 0
	for i := range r.messages[:r.n] {
		m, s := &r.messages[i], &r.slots[i]
		n := int(m.n)
		if n == 0 {
			return false
		}
		if l.config.Offload {
			n -= vnetSize
		}
		if n < header.EthernetMinimumSize || m.Flags&unix.MSG_TRUNC != 0 {
			l.receivedDropped.Add(1)
			continue
		}
		bytes += n
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: s.take(n)})
		l.capture.packet(pkt)
		l.receivedFrames.Add(1)
		l.receivedBytes.Add(uint64(n))
		if d == nil || !l.accept(d, pkt, !l.config.Offload || s.vnet.verified()) {
			l.receivedDropped.Add(1)
		}
		pkt.DecRef()
	}
	if l.received.Rate != 0 {
		l.received.Wait(bytes, l.closing)
	}
	return true
}

// accept hands a frame over unless it is somebody else's or damaged.
func (l *Link) accept(d stack.NetworkDispatcher, pkt *stack.PacketBuffer, verified bool) bool {
	if !l.ParseHeader(pkt) {
		return false
	}
	to := header.Ethernet(pkt.LinkHeader().Slice()).DestinationAddress()
	switch {
	case to == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		pkt.PktType = tcpip.PacketMulticast
	case to == l.LinkAddress():
		pkt.PktType = tcpip.PacketHost
	default:
		return false
	}
	if !verified && !l.intact(pkt) || !believable(pkt) {
		return false
	}
	d.DeliverNetworkPacket(pkt.NetworkProtocolNumber, pkt)
	return true
}
