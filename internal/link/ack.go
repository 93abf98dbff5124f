package link

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack acknowledges each segment at once. An acknowledgement that says nothing else
// waits here for a short while, since an answer is likely to follow that says the same (RFC
// 1122, 4.2.3.2; RFC 5681, 4.2): a request and its answer then cost each end a packet less.
// One waits for no more than a full segment, and never where a sender's window or its
// recovery depends on it, nor where a connection begins.
const (
	// ackDelay is less than what anybody waits before sending again. One for a single segment waits
	// twice as long: who has sent no other allows for 200 ms (RFC 8985, 7.2).
	ackDelay = 2 * time.Millisecond
	// ackFlows is how many connections are known, acksMax how long the line can be.
	ackFlows = 1024
	acksMax  = 4096
	// ackQuick is how many acknowledgements of a connection leave at once after one that the
	// other end has waited for (Linux, TCP_MAX_QUICKACKS).
	ackQuick = 16
)

// flow is a connection, as what we send names it.
type flow struct {
	source, destination         tcpip.Address
	sourcePort, destinationPort uint16
}

// ackState is what is known of a connection.
type ackState struct {
	// sent is the number up to which has been acknowledged to the other end.
	sent uint32
	// quick is how many acknowledgements are not to wait. late says that the last one has
	// waited in vain: who it was for may have waited for it, which tells what we send next.
	quick int
	late  bool
	// waiting is the packet that waits, with a reference, or nil; number is what it
	// acknowledges, and due when it leaves at last.
	waiting *stack.PacketBuffer
	number  uint32
	due     time.Time
	// single says that none has been replaced by it, and that it has not been due.
	single bool
}

// ackWait is a place in the line. The state has another due if that wait is over already.
type ackWait struct {
	of  *ackState
	due time.Time
}

// acks are the acknowledgements of a link. The sender's lock protects them.
type acks struct {
	flows map[flow]*ackState
	line  []ackWait // by due
	// passed is what pass returned, own those of it that no caller has a reference to.
	passed, own []*stack.PacketBuffer
	// timer calls expired if it is armed.
	timer   *time.Timer
	armed   bool
	expired func()
}

// pass returns which packets are to be sent now: without those that wait from here on, and
// with those whose wait they end. segment is how many bytes a full one has. The caller
// calls done when they are sent.
func (a *acks) pass(packets []*stack.PacketBuffer, segment uint32) []*stack.PacketBuffer {
	for _, pkt := range packets {
		if !a.keep(pkt, segment) {
			a.passed = append(a.passed, pkt)
		}
	}
	return a.passed
}

// done lets go of what has been sent.
func (a *acks) done() {
	for _, pkt := range a.own {
		pkt.DecRef()
	}
	clear(a.own)
	clear(a.passed)
	a.own, a.passed = a.own[:0], a.passed[:0]
}

// keep learns from a packet, and reports whether it waits.
func (a *acks) keep(pkt *stack.PacketBuffer, segment uint32) bool {
	f, tcp := flowOf(pkt)
	if tcp == nil {
		return false
	}
	s, number, bare := a.flows[f], tcp.AckNumber(), onlyAcknowledges(pkt, tcp)
	switch flags := tcp.Flags(); {
	case flags&(header.TCPFlagFin|header.TCPFlagRst) != 0, flags&header.TCPFlagAck == 0:
		if s != nil {
			s.drop()
			delete(a.flows, f)
		}
		return false
	case s == nil:
		a.add(f, number)
		return false
	case s.waiting != nil && int32(number-s.number) < 0:
		return false // it was made before
	case s.waiting != nil && bare && number == s.number:
		// The first of duplicates, which are counted.
		a.release(s)
		return false
	}
	if s.late {
		// More came once it had the acknowledgement. Otherwise our answer was but slow.
		if s.late = false; bare {
			s.quick = ackQuick
		}
	}
	if more := number - s.sent; bare && more > 0 && more <= segment {
		if s.quick == 0 && len(a.line) < acksMax {
			a.wait(s, pkt, number)
			return true
		}
		s.quick = max(s.quick-1, 0)
	}
	s.drop()
	s.sent = number
	return false
}

// add makes a connection known, in place of any if there are many.
func (a *acks) add(f flow, number uint32) {
	if a.flows == nil {
		a.flows = map[flow]*ackState{}
	}
	if len(a.flows) >= ackFlows {
		for other, s := range a.flows {
			a.release(s)
			delete(a.flows, other)
			break
		}
	}
	a.flows[f] = &ackState{sent: number}
}

// wait has an acknowledgement wait, for as long as the one did that it replaces.
func (a *acks) wait(s *ackState, pkt *stack.PacketBuffer, number uint32) {
	if s.waiting == nil {
		s.due = time.Now().Add(ackDelay)
		a.line = append(a.line, ackWait{s, s.due})
	}
	s.single = s.waiting == nil
	s.drop()
	s.waiting, s.number = pkt.IncRef(), number
}

// release has what waits sent after all.
func (a *acks) release(s *ackState) {
	if s.waiting != nil {
		a.passed, a.own = append(a.passed, s.waiting), append(a.own, s.waiting)
		s.waiting, s.sent = nil, s.number
	}
}

// drop forgets what waits.
func (s *ackState) drop() {
	if s.waiting != nil {
		s.waiting.DecRef()
		s.waiting = nil
	}
}

// expire returns what has waited until now, as pass does.
func (a *acks) expire(now time.Time) []*stack.PacketBuffer {
	n := 0
	for ; n < len(a.line); n++ {
		w := a.line[n]
		if w.of.waiting == nil || w.of.due != w.due {
			continue
		}
		if w.due.After(now) {
			break
		}
		if w.of.single {
			w.of.single, w.of.due = false, now.Add(ackDelay)
			a.line = append(a.line, ackWait{w.of, w.of.due})
			continue
		}
		w.of.late = true
		a.release(w.of)
	}
	a.line = a.line[:copy(a.line, a.line[n:])]
	return a.passed
}

// arm has the first in line leave when it is due, and what else waits then as well.
func (a *acks) arm(others bool) {
	if a.armed || len(a.line) == 0 && !others {
		return
	}
	a.armed = true
	after := ackDelay
	if len(a.line) > 0 {
		after = time.Until(a.line[0].due)
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(after, a.expired)
		return
	}
	a.timer.Reset(after)
}

// flowOf returns a packet's connection and TCP header; nil for what is no segment.
func flowOf(pkt *stack.PacketBuffer) (f flow, tcp header.TCP) {
	tcp = pkt.TransportHeader().Slice()
	if pkt.TransportProtocolNumber != header.TCPProtocolNumber || len(tcp) < header.TCPMinimumSize {
		return f, nil
	}
	switch b := pkt.NetworkHeader().Slice(); {
	case pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber && len(b) >= header.IPv4MinimumSize:
		f.source, f.destination = header.IPv4(b).SourceAddress(), header.IPv4(b).DestinationAddress()
	case pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber && len(b) >= header.IPv6MinimumSize:
		f.source, f.destination = header.IPv6(b).SourceAddress(), header.IPv6(b).DestinationAddress()
	default:
		return f, nil
	}
	f.sourcePort, f.destinationPort = tcp.SourcePort(), tcp.DestinationPort()
	return f, tcp
}

// onlyAcknowledges reports whether a segment has no data, no other flags, and no selective
// acknowledgements: no option but a timestamp, which two bytes of padding precede.
func onlyAcknowledges(pkt *stack.PacketBuffer, tcp header.TCP) bool {
	if pkt.Data().Size() != 0 || tcp.Flags() != header.TCPFlagAck {
		return false
	}
	options := tcp[header.TCPMinimumSize:]
	return len(options) == 0 || len(options) == 12 && options[2] == header.TCPOptionTS
}
