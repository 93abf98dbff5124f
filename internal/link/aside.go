package link

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What acknowledges takes long to send: in the same call the other end's kernel takes it, and sends what it
// permits. While much comes in several streams, who takes that to guests has more to do than who sends it,
// so that they fill their windows, and it is acknowledged piece by piece. So it is left to
// another thread, on another processor, where there is one (Inflow.Aside). It may be overtaken, by which nothing
// is lost: who gets an acknowledgement after a later one knows all it says.

// aside sends what only acknowledges.
type aside struct {
	mu sync.Mutex
	// waiting are packets that are to be sent, with references.
	waiting []*stack.PacketBuffer
	// sending is that the other thread has not yet found that there are no more. It alone uses taken and call.
	sending bool
	taken   []*stack.PacketBuffer
	call    call
	// toSend is sendAside, toTransmit transmitAside, made once.
	toSend     func()
	toTransmit func(uintptr)
}

// leave leaves packets that only acknowledge to another thread, if there is one that has time for them.
// The sender's lock is held.
func (l *Link) leave(packets []*stack.PacketBuffer) bool {
	s := &l.sender
	if l.config.Inflow == nil || s.busy || s.pace.Rate != 0 {
		return false
	}
	for _, pkt := range packets {
		if _, tcp := flowOf(pkt); tcp == nil || !onlyAcknowledges(pkt, tcp) {
			return false
		}
	}
	a := &s.aside
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.sending {
		if !l.config.Inflow.Aside(a.toSend) {
			return false
		}
		a.sending = true
	}
	for _, pkt := range packets {
		a.waiting = append(a.waiting, pkt.IncRef())
	}
	return true
}

// take has taken be what waits, and is false if that is nothing.
func (a *aside) take() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken, a.waiting = a.waiting, a.taken
	a.sending = len(a.taken) > 0
	return a.sending
}

func (a *aside) pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sending
}

// sendAside sends what has been left, until nothing is.
func (l *Link) sendAside() {
	a := &l.sender.aside
	for a.take() {
		l.raw.Control(a.toTransmit)
		for _, pkt := range a.taken {
			pkt.DecRef()
		}
		clear(a.taken)
		a.taken = a.taken[:0]
	}
}

// transmitAside sends what has been taken. What the socket does not take waits with all else that is sent.
func (l *Link) transmitAside(fd uintptr) {
	a := &l.sender.aside
	for packets := a.taken; len(packets) > 0; {
		n := l.transmit(fd, &a.call, packets)
		packets = packets[n:]
		if n == 0 {
			l.queue(packets)
			return
		}
	}
}
