package network

import (
	"math"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack sends no extension headers of IPv6 but those of fragments, makes no fragments of packets that have
// others, and knows no flow labels. Here those of sockets are added.

// Extended is the owner of packets of IPv6 with extension headers or a flow label.
type Extended interface {
	tcpip.PacketOwner
	// ExtensionHeaders are those of a packet to an address. It is called with locks of the endpoint held.
	ExtensionHeaders(to tcpip.Address) Extensions
}

// Extensions are the extension headers of a packet.
type Extensions struct {
	// Way are those that are in each fragment, End those that are not, in their order.
	Way, End []Extension
	// Hop is where the packet goes first, or nothing if that is where it is to go.
	Hop tcpip.Address
	// Label is the flow label, or 0; Labelling says whether there may be one then.
	Label     uint32
	Labelling Labelling
}

// Extension is an extension header: its number, and what it is, of which the first byte, the
// number of the next one, counts for nothing.
type Extension struct {
	Kind uint8
	Data []byte
}

// ipv6Protocol is the stack's IPv6 but for that.
type ipv6Protocol struct {
	ipv6Stack
	stack    *stack.Stack
	labels   *labels
	steering *steering
	paths    *pathMTUs
}

// ipv6Stack and ipv6Link are what the stack's IPv6 implements, altogether and of an interface.
type ipv6Stack interface {
	stack.NetworkProtocol
	stack.MulticastForwardingNetworkProtocol
}

type ipv6Link interface {
	stack.NDPEndpoint
	stack.AddressableEndpoint
	stack.GroupAddressableEndpoint
	stack.MulticastForwardingNetworkEndpoint
	stack.LinkResolvableNetworkEndpoint
	stack.LinkAddressResolver
	stack.DuplicateAddressDetector
}

// ipv6Endpoint is IPv6 of an interface.
type ipv6Endpoint struct {
	ipv6Link
	stack    *stack.Stack
	nic      stack.NetworkInterface
	labels   *labels
	steering *steering
	paths    *pathMTUs
	findings findings[[32]byte]
}

// newIPv6 returns what makes the protocol, which labels packets.
func newIPv6(l *labels, st *steering, paths *pathMTUs) stack.NetworkProtocolFactory {
	return func(s *stack.Stack) stack.NetworkProtocol {
		return ipv6Protocol{ipv6.NewProtocol(s).(ipv6Stack), s, l, st, paths}
	}
}

// NewEndpoint implements stack.NetworkProtocol.
func (p ipv6Protocol) NewEndpoint(nic stack.NetworkInterface, d stack.TransportDispatcher) stack.NetworkEndpoint {
	nic = newSteeredLink(nic, p.Number(), p.stack, p.steering)
	e := &ipv6Endpoint{
		ipv6Link: p.ipv6Stack.NewEndpoint(nic, rawDispatcher{d}).(ipv6Link), stack: p.stack, nic: nic,
		labels: p.labels, steering: p.steering, paths: p.paths,
	}
	e.findings.init(p.stack, nic, e.ipv6Link, d)
	return e
}

// rawDispatcher hands packets to raw sockets also where headers come before that of their protocol.
type rawDispatcher struct{ stack.TransportDispatcher }

// DeliverTransportPacket implements stack.TransportDispatcher.
func (d rawDispatcher) DeliverTransportPacket(protocol tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) stack.TransportPacketDisposition {
	if h := header.IPv6(pkt.NetworkHeader().Slice()); h.TransportProtocol() != protocol {
		d.DeliverRawPacket(protocol, pkt)
	}
	return d.TransportDispatcher.DeliverTransportPacket(protocol, pkt)
}

// HandlePacket implements stack.NetworkEndpoint.
func (e *ipv6Endpoint) HandlePacket(pkt *stack.PacketBuffer) {
	if p, ok := plain6(pkt); ok && e.findings.take(&p, pkt) {
		return
	}
	e.paths.hear6(e.stack, pkt)
	if e.Forwarding() {
		if f := e.steering.Load(); f != nil && f.refuses(e.stack, e.nic.ID(), e.Stats(), header.IPv6ProtocolNumber, pkt) || f == nil && e.tooLong(pkt) {
			return
		}
	}
	e.ipv6Link.HandlePacket(pkt)
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv6Endpoint) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	var x Extensions
	if owner, ok := pkt.Owner.(Extended); ok {
		x = owner.ExtensionHeaders(r.RemoteAddress())
	}
	extended := len(x.Way)+len(x.End) > 0
	// What goes out and comes back (multicasts) has none: the stack trusts the checksum of what comes back only if it has
	// made the header.
	if x.Label == 0 && e.labels.wanted(x.Labelling) && (extended || r.Loop() == stack.PacketOut) {
		x.Label = labelOf(r, params.Protocol, pkt)
	}
	least := e.paths.least(r, params, pkt, math.MaxInt)
	cut := least != 0 && header.IPv6MinimumSize+pkt.Size() > least
	if x.Label == 0 && !extended && !cut {
		if pkt.GSOOptions.Type == stack.GSONone && header.IPv6MinimumSize+pkt.Size() > int(e.nic.MTU()) {
			defer e.steering.hold(r, params, pkt)()
		}
		return e.ipv6Link.WritePacket(r, params, pkt)
	}
	if x.Hop.BitLen() != 0 {
		nic := tcpip.NICID(0)
		if header.IsV6LinkLocalUnicastAddress(x.Hop) {
			nic = r.NICID()
		}
		first, err := e.stack.FindRoute(nic, r.LocalAddress(), x.Hop, header.IPv6ProtocolNumber, false)
		if err != nil {
			return err
		}
		defer first.Release()
		r = first
	}
	end, next := chain(x.End, uint8(params.Protocol))
	way, first := chain(x.Way, next)
	switch gso := &pkt.GSOOptions; {
	case gso.Type == stack.GSONone && (extended || cut || r.Loop() != stack.PacketOut || header.IPv6MinimumSize+pkt.Size() > int(e.nic.MTU())):
	case r.NICID() != e.nic.ID() || r.Loop() != stack.PacketOut:
		completeChecksum(pkt)
	default:
		// The link cuts it into packets, whose size is for TCP to say, which knows nothing of the headers here.
		extra := len(way) + len(end)
		send := func(pkt *stack.PacketBuffer) tcpip.Error {
			if pkt.GSOOptions.Type != stack.GSONone {
				pkt.GSOOptions.L3HdrLen = uint16(header.IPv6MinimumSize + extra)
			}
			length := extra + pkt.Size()
			h := pkt.NetworkHeader().Push(header.IPv6MinimumSize + extra)
			encodeExtended(h, r, params, x.Label, first, length)
			copy(h[header.IPv6MinimumSize+copy(h[header.IPv6MinimumSize:], way):], end)
			pkt.NetworkProtocolNumber = header.IPv6ProtocolNumber
			e.Stats().(stack.IPNetworkEndpointStats).IPStats().PacketsSent.Increment()
			return e.nic.WritePacket(r, pkt)
		}
		if extra == 0 {
			return send(pkt)
		}
		return segments(pkt, math.MaxUint16-extra, int(r.MaxHeaderLength())+header.IPv6MinimumSize+extra, send)
	}
	defer e.steering.hold(r, params, pkt)()
	content := pkt.ToBuffer()
	if len(end) > 0 {
		content.Prepend(buffer.NewViewWithData(end))
	}
	defer content.Release()
	if int64(len(way))+content.Size() > math.MaxUint16 {
		return &tcpip.ErrMessageTooLong{}
	}
	mtu := int(r.MTU()) + header.IPv6MinimumSize
	if least != 0 {
		mtu = min(mtu, least)
	}
	if header.IPv6MinimumSize+len(way)+int(content.Size()) <= mtu {
		return writeExtended(r, params, pkt.Mark, x.Label, first, way, content.Flatten())
	}
	room := (mtu - header.IPv6MinimumSize - len(way) - header.IPv6FragmentHeaderSize) &^ 7
	if room < len(end)+len(pkt.TransportHeader().Slice()) || room < 8 {
		return &tcpip.ErrMessageTooLong{}
	}
	way, first = chain(x.Way, uint8(header.IPv6FragmentExtHdrIdentifier))
	rng := e.stack.SecureRNG()
	id := rng.Uint32()
	rest := content.Flatten()
	for at := 0; at < len(rest); at += room {
		piece := rest[at:min(at+room, len(rest))]
		s := header.IPv6ExtHdrSerializer{&header.IPv6SerializableFragmentExtHdr{
			FragmentOffset: uint16(at / 8), M: at+room < len(rest), Identification: id,
		}}
		b := make([]byte, s.Length(), s.Length()+len(piece))
		s.Serialize(tcpip.TransportProtocolNumber(next), b)
		if err := writeExtended(r, params, pkt.Mark, x.Label, first, way, append(b, piece...)); err != nil {
			return err
		}
	}
	return nil
}

// chain lays out headers before what has a number. It returns the number of the first one too.
func chain(list []Extension, next uint8) (b []byte, first uint8) {
	for _, x := range list {
		b = append(b, x.Data...)
	}
	first = next
	for i, at := len(list)-1, len(b); i >= 0; i-- {
		at -= len(list[i].Data)
		b[at], first = first, list[i].Kind
	}
	return b, first
}

// segments has a segment of TCP be sent with room for longer headers than the stack has, in several ones where it is longer
// than most.
func segments(pkt *stack.PacketBuffer, most, headers int, send func(*stack.PacketBuffer) tcpip.Error) tcpip.Error {
	t := pkt.TransportHeader().Slice()
	left := pkt.Data().Size()
	size := left
	if len(t)+size > most {
		mss := int(pkt.GSOOptions.MSS)
		if size = most - len(t); mss == 0 || size < mss {
			return &tcpip.ErrMessageTooLong{}
		}
		size -= size % mss
	}
	data := pkt.Data().ToBuffer()
	defer data.Release()
	for at := 0; ; at += size {
		piece := data.Clone()
		piece.TrimFront(int64(at))
		piece.Truncate(int64(size))
		out := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: headers + len(t), Payload: piece, Mark: pkt.Mark})
		h := header.TCP(out.TransportHeader().Push(len(t)))
		copy(h, t)
		left -= out.Data().Size()
		if h.SetSequenceNumber(h.SequenceNumber() + uint32(at)); left > 0 {
			h.SetFlags(uint8(h.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh)))
		}
		if size < pkt.Data().Size() && pkt.GSOOptions.NeedsCsum { // so far it is that of the addresses and the length
			sum := checksum.Combine(h.Checksum(), ^uint16(pkt.Size()))
			h.SetChecksum(checksum.Combine(sum, uint16(out.Size())))
		}
		out.TransportProtocolNumber, out.GSOOptions, out.Hash, out.Owner = pkt.TransportProtocolNumber, pkt.GSOOptions, pkt.Hash, pkt.Owner
		err := send(out)
		if out.DecRef(); err != nil || left == 0 {
			return err
		}
	}
}

// writeExtended sends a packet with extension headers, the first of which has a number.
func writeExtended(r *stack.Route, params stack.NetworkHeaderParams, mark, label uint32, first uint8, extensions, content []byte) tcpip.Error {
	b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(extensions)+len(content))
	encodeExtended(b, r, params, label, first, len(extensions)+len(content))
	b = append(append(b, extensions...), content...)
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(b), Mark: mark})
	defer out.DecRef()
	return r.WriteHeaderIncludedPacket(out)
}

// encodeExtended makes the header of a packet, after which so many bytes come.
func encodeExtended(b []byte, r *stack.Route, params stack.NetworkHeaderParams, label uint32, first uint8, length int) {
	header.IPv6(b).Encode(&header.IPv6Fields{
		TrafficClass: params.TOS, FlowLabel: label, PayloadLength: uint16(length), TransportProtocol: tcpip.TransportProtocolNumber(first),
		HopLimit: params.TTL, SrcAddr: r.LocalAddress(), DstAddr: r.RemoteAddress(),
	})
}
