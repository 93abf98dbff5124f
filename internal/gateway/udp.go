package gateway

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Idle times of flows of datagrams, as Linux's connection tracking has them
// (nf_conntrack_udp_timeout and its _stream).
const (
	idleUnanswered = 30 * time.Second
	idleAnswered   = 2 * time.Minute
)

// datagramMax is the largest IP packet.
const datagramMax = 64 << 10

// datagrams are buffers of datagramMax bytes.
var datagrams = sync.Pool{New: func() any { return new([datagramMax]byte) }}

// datagramFlow is an exchange of datagrams that the sandbox has begun: a connected
// socket of the host's and the addresses that its datagrams have inside.
type datagramFlow struct {
	flow     Flow
	outer    *socket
	answered atomic.Bool
	last     atomic.Int64 // when something passed, in nanoseconds of Unix time
	hops     hops
}

func (f *datagramFlow) touch() { f.last.Store(time.Now().UnixNano()) }

// deadline returns when the flow ends if nothing passes.
func (f *datagramFlow) deadline() time.Time {
	idle := idleUnanswered
	if f.answered.Load() {
		idle = idleAnswered
	}
	return time.Unix(0, f.last.Load()).Add(idle)
}

// flowTable has the flows of datagrams, at most max. A further one takes the place
// of the one that has been idle for longest.
type flowTable struct {
	max   int
	mu    sync.Mutex
	flows map[Flow]*datagramFlow
}

func newFlowTable(max int) *flowTable { return &flowTable{max: max, flows: map[Flow]*datagramFlow{}} }

func (t *flowTable) find(f Flow) *datagramFlow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flows[f]
}

func (t *flowTable) add(f *datagramFlow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.flows) >= t.max {
		var oldest *datagramFlow
		for _, o := range t.flows {
			if oldest == nil || o.last.Load() < oldest.last.Load() {
				oldest = o
			}
		}
		delete(t.flows, oldest.flow)
		oldest.outer.close()
	}
	t.flows[f.flow] = f
}

func (t *flowTable) remove(f *datagramFlow) {
	t.mu.Lock()
	if t.flows[f.flow] == f {
		delete(t.flows, f.flow)
	}
	t.mu.Unlock()
	f.outer.close()
}

// handleDatagram takes a UDP datagram of the sandbox's that none of the stack's own
// endpoints has taken.
func (g *gateway) handleDatagram(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	flow := newFlow(unix.IPPROTO_UDP, id)
	if flow.To.Addr().IsMulticast() || !ours(flow.From.Addr()) || !validDatagram(flow, pkt) {
		return true // for nobody, and that is no error
	}
	hops := hopsOf(pkt)
	if hops == 0 {
		g.tellExceeded(flow, pkt.TransportHeader().Slice(), netip.Addr{})
		return true
	}
	f := g.datagrams.find(flow)
	if f == nil {
		err := errForbidden
		if g.decide(flow) == Permit {
			f, err = g.newDatagramFlow(flow)
		}
		if err != nil {
			g.tellUnreachable(flow, pkt.TransportHeader().Slice(), datagramRefusal)
			return true
		}
	}
	f.touch()
	f.limitHops(hops)
	g.sendOut(f, pkt.Data().AsRange().ToSlice())
	return true
}

// datagramRefusal is what the sandbox is told of datagrams, whatever the reason: a UDP
// socket that has not asked for all errors hears of this one alone.
var datagramRefusal = unreachablePort

// validDatagram reports whether a datagram is as long as it says, and whole.
func validDatagram(flow Flow, pkt *stack.PacketBuffer) bool {
	length, sum := header.UDPValid(
		pkt.TransportHeader().Slice(), pkt.Data().Checksum, uint16(pkt.Data().Size()), pkt.NetworkProtocolNumber,
		tcpip.AddrFromSlice(flow.From.Addr().AsSlice()), tcpip.AddrFromSlice(flow.To.Addr().AsSlice()), pkt.RXChecksumValidated)
	return length && sum
}

func (g *gateway) newDatagramFlow(flow Flow) (*datagramFlow, error) {
	outer, err := dial(flow.To, unix.SOCK_DGRAM, 0, 0)
	if err != nil {
		return nil, err
	}
	err = outer.control(func(fd int) error {
		// A datagram that the host's path has no room for is fragmented there.
		if flow.To.Addr().Is4() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
	})
	if err = errors.Join(err, outer.hearErrors(flow.To.Addr())); err != nil {
		outer.close()
		return nil, err
	}
	f := &datagramFlow{flow: flow, outer: outer}
	f.touch()
	g.datagrams.add(f)
	go g.receiveDatagrams(g.datagrams, f, g.sendDatagram)
	return f, nil
}

// hearErrors has a socket for datagrams tell of all ICMP errors about what it has sent
// (IP_RECVERR, ip(7)).
func (s *socket) hearErrors(to netip.Addr) error {
	return s.control(func(fd int) error {
		if to.Is4() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	})
}

// sendDatagram sends the sandbox an answer.
func (g *gateway) sendDatagram(flow Flow, data []byte) {
	from, to := flow.To.Addr().AsSlice(), flow.From.Addr().AsSlice()
	message := make(header.UDP, header.UDPMinimumSize+len(data))
	message.Encode(&header.UDPFields{SrcPort: flow.To.Port(), DstPort: flow.From.Port(), Length: uint16(len(message))})
	copy(message.Payload(), data)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, tcpip.AddrFromSlice(from), tcpip.AddrFromSlice(to), uint16(len(message)))
	// 0 would say that there is no checksum (RFC 768).
	if sum = ^message.CalculateChecksum(checksum.Checksum(data, sum)); sum == 0 {
		sum = 0xffff
	}
	message.SetChecksum(sum)
	g.sendPacket(from, to, protocolOf(flow.To.Addr()), header.UDPProtocolNumber, message)
}

// sendOut sends a datagram to the outside. What the host has no room for is lost, as
// datagrams are.
func (g *gateway) sendOut(f *datagramFlow, b []byte) {
	if _, err := f.outer.send(b); fatal(err) {
		// The error is an earlier datagram's, and this one has not been sent.
		g.tellLost(f, err)
		f.outer.send(b)
	}
}

// tellLost tells the sandbox what has become of a datagram of a flow.
func (g *gateway) tellLost(f *datagramFlow, err error) {
	if g.tellErrors(f) {
		return
	}
	why := datagramRefusal
	if f.flow.Protocol != unix.IPPROTO_UDP {
		why = refusal(err)
	}
	g.tellUnreachable(f.flow, quotedHeader(f.flow), why)
}

// quotedHeader is the transport header that an ICMP error about a flow quotes.
func quotedHeader(f Flow) []byte {
	switch f.Protocol {
	case unix.IPPROTO_ICMP:
		h := make(header.ICMPv4, header.ICMPv4MinimumSize)
		h.SetType(header.ICMPv4Echo)
		h.SetIdent(f.From.Port())
		return h
	case unix.IPPROTO_ICMPV6:
		h := make(header.ICMPv6, header.ICMPv6EchoMinimumSize)
		h.SetType(header.ICMPv6EchoRequest)
		h.SetIdent(f.From.Port())
		return h
	}
	h := make(header.UDP, header.UDPMinimumSize)
	h.Encode(&header.UDPFields{SrcPort: f.From.Port(), DstPort: f.To.Port(), Length: header.UDPMinimumSize})
	return h
}

// fatal reports whether an error of a connected socket tells of its other side: an
// ICMP message that has come about what was sent before.
func fatal(err error) bool {
	return slices.ContainsFunc([]error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EPERM, unix.EHOSTDOWN},
		func(e error) bool { return errors.Is(err, e) })
}

// receiveDatagrams delivers what comes from the outside until the flow has been idle
// for too long, or has had to make room.
func (g *gateway) receiveDatagrams(t *flowTable, f *datagramFlow, deliver func(Flow, []byte)) {
	defer t.remove(f)
	for {
		f.outer.file.SetReadDeadline(f.deadline())
		var b *[datagramMax]byte
		n := 0
		err := f.outer.reading(func(fd int) (err error) {
			// No buffer is held while there is nothing to be read.
			b = datagrams.Get().(*[datagramMax]byte)
			if n, err = ignoringInterrupts(func() (int, error) { return unix.Read(fd, b[:]) }); err != nil {
				datagrams.Put(b)
			}
			return err
		})
		switch {
		case err == nil:
			f.answered.Store(true)
			f.touch()
			deliver(f.flow, b[:n])
			datagrams.Put(b)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if time.Now().After(f.deadline()) {
				return
			}
		case fatal(err):
			g.tellLost(f, err)
		case err == unix.EMSGSIZE: // fragments it is, see newDatagramFlow
			g.tellErrors(f)
		default:
			return
		}
	}
}
