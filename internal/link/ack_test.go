package link

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// segment is one as the stack sends it: with the ACK number, data and options.
func segment(t testing.TB, port uint16, flags header.TCPFlags, number uint32, data int, options ...byte) *stack.PacketBuffer {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: 100, Payload: buffer.MakeWithData(make([]byte, data)),
	})
	t.Cleanup(pkt.DecRef)
	tcp := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize + len(options)))
	tcp.Encode(&header.TCPFields{SrcPort: port, DstPort: 80, AckNum: number, Flags: flags, DataOffset: uint8(len(tcp))})
	copy(tcp[header.TCPMinimumSize:], options)
	ip := header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip) + len(tcp) + data), SrcAddr: tcpip.AddrFrom4([4]byte{10, 9, 0, 1}), DstAddr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2})})
	pkt.TransportProtocolNumber, pkt.NetworkProtocolNumber = header.TCPProtocolNumber, header.IPv4ProtocolNumber
	return pkt
}

const (
	ack     = header.TCPFlagAck
	fullAck = 1460 // what a full segment has
)

var timestamp = []byte{1, 1, header.TCPOptionTS, 10, 0, 0, 0, 1, 0, 0, 0, 1}

// expect has packets pass, and compares what is sent.
func (a *acks) expect(t *testing.T, what string, packets []*stack.PacketBuffer, want ...*stack.PacketBuffer) {
	t.Helper()
	a.compare(t, what, a.pass(packets, fullAck), want)
}

func (a *acks) compare(t *testing.T, what string, got, want []*stack.PacketBuffer) {
	t.Helper()
	same := len(got) == len(want)
	for i := range want {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Errorf("%s: %d packets are sent, or others; want %d", what, len(got), len(want))
	}
	a.done()
}

// TestAcks holds acknowledgements against what RFC 5681 lets wait.
func TestAcks(t *testing.T) {
	var a acks
	s := func(flags header.TCPFlags, number uint32, data int, options ...byte) *stack.PacketBuffer {
		return segment(t, 1, flags, number, data, options...)
	}
	one := func(p *stack.PacketBuffer) []*stack.PacketBuffer { return []*stack.PacketBuffer{p} }
	sent := func(what string, p *stack.PacketBuffer) { t.Helper(); a.expect(t, what, one(p), p) }
	waits := func(what string, p *stack.PacketBuffer) { t.Helper(); a.expect(t, what, one(p)) }

	sent("a SYN-ACK", s(header.TCPFlagSyn|ack, 1000, 0))
	waits("the acknowledgement of a request", s(ack, 1064, 0, timestamp...))
	sent("its answer", s(ack|header.TCPFlagPsh, 1064, 100, timestamp...))
	waits("the next one", s(ack, 1128, 0))
	waits("one of more", s(ack, 1192, 0))
	sent("one of more than a segment", s(ack, 1064+fullAck+1, 0))

	base := uint32(1064 + fullAck + 1)
	sent("a duplicate", s(ack, base, 0))
	sent("a duplicate with what has come beyond", s(ack, base, 0, 1, 1, header.TCPOptionSACK, 10, 0, 0, 0, 1, 0, 0, 0, 2))
	sent("progress with selective acknowledgements", s(ack, base+10, 0, 1, 1, header.TCPOptionSACK, 10, 0, 0, 0, 1, 0, 0, 0, 2))
	sent("one that tells of congestion", s(ack|header.TCPFlagEce, base+20, 0))

	held, twice := s(ack, base+30, 0), s(ack, base+30, 0)
	waits("one before a duplicate", held)
	a.expect(t, "a duplicate", one(twice), held, twice)

	waits("one before the end", s(ack, base+40, 0))
	sent("the end", s(ack|header.TCPFlagFin, base+40, 0))
	sent("the first that is known of a connection", s(ack, base+41, 0))

	// Another connection is none of theirs.
	held = s(ack, base+51, 0)
	waits("one more", held)
	other := segment(t, 2, ack, base+51, 10)
	a.expect(t, "another connection's data", one(other), other)

	a.compare(t, "before it is due", a.expire(time.Now().Add(-time.Hour)), nil)
	due := time.Now().Add(time.Hour)
	a.compare(t, "when it is due", a.expire(due), nil)
	a.compare(t, "before it is due again", a.expire(due.Add(ackDelay/2)), nil)
	a.compare(t, "when it is due again", a.expire(due.Add(ackDelay)), one(held))
	for i := range ackQuick {
		sent("one after one that the other end has waited for", s(ack, base+52+uint32(i), 0))
	}
	base += 52 + ackQuick
	waits("one after those", s(ack, base, 0))
	base++
	held = s(ack, base, 0)
	waits("one in its place", held)
	a.compare(t, "when they are due", a.expire(due), one(held))
	sent("an answer that was slow", s(ack|header.TCPFlagPsh, base, 100))
	waits("the next one", s(ack, base+10, 0))
	a.expire(due)
	a.expire(due.Add(ackDelay))
	a.done()
	if len(a.line) != 0 {
		t.Errorf("%d still wait", len(a.line))
	}
}

// TestAcksBounded has more connections than are known.
func TestAcksBounded(t *testing.T) {
	var a acks
	out := 0
	for i := range 2 * ackFlows {
		for number := range uint32(2) {
			out += len(a.pass([]*stack.PacketBuffer{segment(t, uint16(i), ack, number, 0)}, fullAck))
			a.done()
		}
	}
	due := time.Now().Add(time.Hour)
	a.expire(due)
	out += len(a.expire(due.Add(ackDelay)))
	a.done()
	if len(a.flows) != ackFlows || out != 4*ackFlows {
		t.Errorf("%d connections are known, and %d acknowledgements were sent; want %d and %d", len(a.flows), out, ackFlows, 4*ackFlows)
	}
}

// TestAckAllocations: what each request costs takes no memory of the heap.
func TestAckAllocations(t *testing.T) {
	var a acks
	held, answer := segment(t, 1, ack, 0, 0), segment(t, 1, ack, 0, 10)
	packets := make([]*stack.PacketBuffer, 1)
	number := uint32(0)
	request := func() {
		number += 10
		for _, p := range []*stack.PacketBuffer{held, answer} {
			header.TCP(p.TransportHeader().Slice()).SetAckNumber(number)
			packets[0] = p
			a.pass(packets, fullAck)
			a.done()
		}
		a.expire(time.Now())
		a.done()
	}
	request()
	if n := testing.AllocsPerRun(100, request); n != 0 {
		t.Errorf("a request and its answer allocate %v times", n)
	}
}
