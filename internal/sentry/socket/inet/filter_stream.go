package inet

import (
	"time"

	"coffer/internal/bpf"
	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Filters of streams see segments, from their TCP header on. What they drop has not come, so that whoever has sent it
// sends it again. So it is with the bytes that go past the stack, for which the segments are made that the stack
// would send; what acknowledges them no filter sees.

// filtered is what a filter leaves of a segment, which the caller releases, or nil.
func filtered(f *bpf.SocketFilter, pkt *stack.PacketBuffer) *stack.PacketBuffer {
	network, transport, payload := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice(), pkt.Data()
	whole := make([]byte, 0, len(network)+len(transport)+payload.Size())
	whole = append(append(append(whole, network...), transport...), payload.AsRange().ToSlice()...)
	n := f.Run(&bpf.Packet{
		Data: whole[len(network):], Network: whole, Protocol: uint16(pkt.NetworkProtocolNumber), Interface: uint32(pkt.NICID),
	})
	if n == 0 {
		return nil
	}
	length := payload.Size()
	if int64(n) >= int64(len(transport)+length) {
		return pkt.IncRef()
	}
	ip := pkt.Network()
	if !pkt.RXChecksumValidated && !header.TCP(transport).IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), payload.Checksum(), uint16(length)) {
		return nil
	}
	cut := pkt.Clone()
	cut.RXChecksumValidated = true
	cut.Data().CapLength(max(int(n)-len(transport), 0))
	return cut
}

// withheld is what a filter has kept back of a flow. near.mu is held.
type withheld struct {
	// hidden is how many bytes at the end nobody can receive, hidesEnd says that nobody hears of the end.
	hidden   int
	hidesEnd bool
	// lost says that who sent them has gone with a reset, which the filter has kept back too: nothing comes any more,
	// and nobody says so.
	lost bool
	// again shows them to the filter again, after a time.
	again *time.Timer
	after time.Duration
}

// The times after which what was dropped is sent again, each twice as long as the one before.
const (
	firstAgain = 200 * time.Millisecond
	lastAgain  = maxRetransmit * time.Second
)

// shown is how many bytes can be received. near.mu is held.
func (f *flow) shown() int { return f.data.Len() - f.hidden }

// ended reports whether no more can be received than is shown. near.mu is held.
func (f *flow) ended() bool { return f.over && f.hidden == 0 && !f.hidesEnd }

// keeps reports whether there is anything that a filter has not let through. near.mu is held.
func (w *withheld) keeps() bool { return !w.lost && (w.hidden > 0 || w.hidesEnd) }

// lose is for a flow of which no more comes than is shown. near.mu is held.
func (w *withheld) lose() {
	w.lost = true
	if w.again != nil {
		w.again.Stop()
	}
}

// forget is for a flow that nobody receives. near.mu is held.
func (w *withheld) forget() {
	if w.again != nil {
		w.again.Stop()
	}
	*w = withheld{}
}

// pass lets the bytes that have been sent last through to who receives, if there is no filter. near.mu is held.
func (n *end) pass(count int) {
	out := n.out()
	if n.peer.FilterProgram() == nil && out.hidden == 0 {
		return
	}
	out.hidden += count
	n.show(false)
}

// passEnd is the same of the end. near.mu is held.
func (n *end) passEnd() {
	out := n.out()
	if out.gone || n.peer.FilterProgram() == nil && out.hidden == 0 {
		return
	}
	out.hidesEnd = true
	n.show(false)
}

// show shows the filter of who receives what it has not let through. Only what is shown because its time has come, as
// again says, waits twice as long for the next. near.mu is held.
func (n *end) show(again bool) {
	if n.reset || n.out().lost {
		return // nobody sends it again
	}
	if out := n.out(); out.gone || out.unheeded > 0 {
		if again && out.after > 0 { // otherwise it has been forgotten
			n.meetNobody(true)
		}
		return
	}
	const largest = 1<<16 - header.IPv6MinimumSize - header.TCPMinimumSize - timestampSize - 1
	out := n.out()
	for dropped := false; out.keeps(); {
		size := min(out.hidden, largest)
		passed, ends := size, out.hidesEnd && size == out.hidden
		if f := n.peer.FilterProgram(); f != nil {
			flags := header.TCPFlagAck
			if size > 0 {
				flags |= header.TCPFlagPsh
			}
			if ends {
				flags |= header.TCPFlagFin
			}
			packet, headers := n.segment(size, flags)
			v := f.Run(&packet)
			passed = min(size, max(0, int(min(v, 1<<16))-headers))
			dropped = v == 0 || passed < size
			ends = ends && !dropped
		}
		if passed > 0 {
			out.hidden -= passed
			out.after = 0
		}
		if ends {
			out.hidesEnd = false
		}
		if dropped && out.after > 0 && !again {
			return
		}
		if dropped {
			n.comeAgain()
			return
		}
	}
	out.forget()
}

// comeAgain has what was sent come again after a time. near.mu is held.
func (n *end) comeAgain() {
	out := n.out()
	out.after = min(max(2*out.after, firstAgain), lastAgain)
	if out.again == nil {
		out.again = time.AfterFunc(out.after, crash.Guard(n.showAgain))
	} else {
		out.again.Reset(out.after)
	}
}

// meetNobody has what is sent, on a connection past the stack, where nobody takes anything any more be answered with a reset,
// and come again after a time if the sender's own filter keeps that back, which again says of what does. It reports
// whether the sender hears of the reset. near.mu is held.
func (n *end) meetNobody(again bool) bool {
	if n.reset {
		return true
	}
	out, peer := n.out(), half{n.pair, 1 - n.side}
	if err := peer.abort(); err != 0 && !out.gone {
		n.peer.resetBy(err)
	}
	if n.own.keepsBack(&end{near: n.near, side: peer.side, own: n.peer, peer: n.own}, header.TCPFlagRst) {
		if again || out.after == 0 {
			n.comeAgain()
		}
		return false
	}
	n.reset = true
	if err := n.half().abort(); err != 0 {
		n.own.resetBy(err)
	}
	out.forget()
	return true
}

// keepsBack reports whether the socket's filter drops a segment of its peer's without data. near.mu is held.
func (s *Socket) keepsBack(peer *end, flags header.TCPFlags) bool {
	f := s.FilterProgram()
	if f == nil {
		return false
	}
	packet, _ := peer.segment(0, flags)
	return f.Run(&packet) == 0
}

// showAgain shows it again.
func (n *end) showAgain() {
	n.mu.Lock()
	n.show(true)
	over := n.reset
	n.mu.Unlock()
	n.peer.wait.Notify(waiter.Readable | waiter.RdHup | waiter.Hup)
	if over {
		n.tellBoth()
	}
}

// segment is the one in which so many of the bytes that are withheld would come, and how long its TCP header is. near.mu is held.
func (n *end) segment(size int, flags header.TCPFlags) (p bpf.Packet, headers int) {
	out := n.out()
	var from, to tcpip.FullAddress
	if n.pair != nil { // the endpoint does not know who its peer was, once the connection is over
		from, to = n.pair.address[n.side], n.pair.address[1-n.side]
	} else {
		peer := n.peer.ep.Load()
		to, _ = peer.GetLocalAddress()
		from, _ = peer.GetRemoteAddress()
	}
	source, destination := unmappedAddress(from.Addr), unmappedAddress(to.Addr)
	ip := header.IPv6MinimumSize
	if destination.Len() == header.IPv4AddressSize {
		ip = header.IPv4MinimumSize
	}
	headers = header.TCPMinimumSize
	if flags&header.TCPFlagAck != 0 { // what answers a segment of no connection has nothing more
		headers += timestampSize
	}
	b := make([]byte, ip+headers+size)
	if ip == header.IPv4MinimumSize {
		p.Protocol = unix.ETH_P_IP
		header.IPv4(b).Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), TTL: defaultHops, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: source, DstAddr: destination,
		})
	} else {
		p.Protocol = unix.ETH_P_IPV6
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength: uint16(headers + size), HopLimit: defaultHops, TransportProtocol: header.TCPProtocolNumber, SrcAddr: source, DstAddr: destination,
		})
	}
	position := func(f *flow) uint32 { return uint32(f.taken+int64(f.shown())) + 1 }
	t := header.TCP(b[ip:])
	t.Encode(&header.TCPFields{
		SrcPort: from.Port, DstPort: to.Port, SeqNum: position(out), AckNum: position(n.in()), DataOffset: uint8(headers), Flags: flags, WindowSize: 512,
	})
	if headers > header.TCPMinimumSize {
		now := uint32(time.Now().UnixMilli())
		b[ip+header.TCPMinimumSize], b[ip+header.TCPMinimumSize+1] = header.TCPOptionNOP, header.TCPOptionNOP
		header.EncodeTSOption(now, now, b[ip+header.TCPMinimumSize+2:])
	}
	out.data.Peek(b[ip+headers:], out.shown())
	p.Network, p.Data, p.Interface = b, b[ip:], 1
	return p, headers
}
