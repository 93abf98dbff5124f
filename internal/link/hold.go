package link

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// holdFrames is how many frames wait at most.
const holdFrames = 16

// Hold has what tasks send wait while they go on at once, as a server does that has others
// to answer. The host call for a frame does all that the other end's kernel has to do about it,
// and wakes who waits there: it takes longer than all else about a small frame, and one for several
// takes little more than one for one.
//
// What anybody else sends through the link takes along what waits, so nothing overtakes.
type Hold struct {
	// senders counts the sends under way whose frames may wait.
	senders atomic.Int32
	// link is the one that has such frames. Those of others leave at once meanwhile.
	link atomic.Pointer[Link]
}

// Begin says that a send begins whose frames may wait.
func (h *Hold) Begin() { h.senders.Add(1) }

// End says that it is over. It reports whether frames wait, which Do must be called for soon.
func (h *Hold) End() bool {
	h.senders.Add(-1)
	return h.link.Load() != nil
}

// Do has leave what waits.
func (h *Hold) Do() {
	if l := h.link.Swap(nil); l != nil {
		l.sendHeld()
	}
}

// hold has packets wait if they may. The sender's lock is held.
func (l *Link) hold(packets []*stack.PacketBuffer) bool {
	h, s := l.config.Hold, &l.sender
	if h == nil || h.senders.Load() == 0 || s.busy || s.pace.Rate != 0 || len(s.held)+len(packets) > holdFrames {
		return false
	}
	for _, pkt := range packets {
		if pkt.Size() >= queueFrom {
			return false
		}
	}
	if h.link.Load() != l && !h.link.CompareAndSwap(nil, l) {
		return false
	}
	for _, pkt := range packets {
		s.held = append(s.held, pkt.IncRef())
	}
	if h.senders.Load() == 0 {
		// The send that they could have waited for may be over without having seen them.
		l.writeHeld()
	}
	return true
}

// writeHeld sends what waits. The sender's lock is held.
func (l *Link) writeHeld() {
	s := &l.sender
	if len(s.held) == 0 {
		return
	}
	l.write(s.held)
	for i, pkt := range s.held {
		pkt.DecRef()
		s.held[i] = nil
	}
	s.held = s.held[:0]
}

func (l *Link) sendHeld() {
	l.sender.mu.Lock()
	defer l.sender.mu.Unlock()
	l.writeHeld()
}
