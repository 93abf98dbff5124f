package network

import (
	"math"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack sends headers of IPv4 without options, and forwards what comes with any. Here options
// of sockets are added, before packets are cut into fragments, and source routes are not followed.

// Optioned is the owner of packets whose headers have options.
type Optioned interface {
	tcpip.PacketOwner
	// HeaderOptions are the options of a packet of IPv4 between two addresses, which has no header yet: a multiple of
	// four bytes, 40 at most. A source route goes to hop first, which has to be on the link if it is strict. It is
	// called with locks of the endpoint held.
	HeaderOptions(from, to tcpip.Address, pkt *stack.PacketBuffer) (options []byte, hop tcpip.Address, strict bool)
}

// ipv4Protocol is the stack's IPv4 but for that.
type ipv4Protocol struct {
	ipv4Stack
	stack    *stack.Stack
	steering *steering
	paths    *pathMTUs
}

// ipv4Stack and ipv4Link are what the stack's IPv4 implements, altogether and of an interface.
type ipv4Stack interface {
	stack.NetworkProtocol
	stack.MulticastForwardingNetworkProtocol
}

type ipv4Link interface {
	stack.NetworkEndpoint
	stack.AddressableEndpoint
	stack.GroupAddressableEndpoint
	stack.MulticastForwardingNetworkEndpoint
	stack.LinkResolvableNetworkEndpoint
}

// ipv4Endpoint is IPv4 of an interface.
type ipv4Endpoint struct {
	ipv4Link
	stack    *stack.Stack
	nic      stack.NetworkInterface
	steering *steering
	paths    *pathMTUs
	findings findings[[8]byte]
}

func newIPv4(st *steering, paths *pathMTUs) stack.NetworkProtocolFactory {
	return func(s *stack.Stack) stack.NetworkProtocol {
		return ipv4Protocol{ipv4.NewProtocol(s).(ipv4Stack), s, st, paths}
	}
}

// NewEndpoint implements stack.NetworkProtocol.
func (p ipv4Protocol) NewEndpoint(nic stack.NetworkInterface, d stack.TransportDispatcher) stack.NetworkEndpoint {
	nic = newSteeredLink(nic, p.Number(), p.stack, p.steering)
	e := &ipv4Endpoint{ipv4Link: p.ipv4Stack.NewEndpoint(nic, d).(ipv4Link), stack: p.stack, nic: nic, steering: p.steering, paths: p.paths}
	e.findings.init(p.stack, nic, e.ipv4Link, d)
	return e
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv4Endpoint) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	var options []byte
	var hop tcpip.Address
	var strict bool
	owner, owned := pkt.Owner.(Optioned)
	if owned {
		options, hop, strict = owner.HeaderOptions(r.LocalAddress(), r.RemoteAddress(), pkt)
	}
	least := e.paths.least(r, params, pkt, header.IPv4MinimumSize+len(options)+pkt.Size())
	if len(options) == 0 && least == 0 {
		if !owned {
			return e.ipv4Link.WritePacket(r, params, pkt)
		}
		if pkt.GSOOptions.Type == stack.GSONone && header.IPv4MinimumSize+pkt.Size() > int(e.nic.MTU()) {
			defer e.steering.hold(r, params, pkt)()
		}
		return e.ipv4Link.WritePacket(r, params, pkt)
	}
	size := header.IPv4MinimumSize + len(options)
	length := size + pkt.Size()
	if length > math.MaxUint16 {
		return &tcpip.ErrMessageTooLong{}
	}
	if hop.BitLen() != 0 {
		first, err := e.stack.FindRoute(0, r.LocalAddress(), hop, header.IPv4ProtocolNumber, false)
		if err != nil {
			return err
		}
		defer first.Release()
		if strict && first.NextHop().BitLen() != 0 {
			return &tcpip.ErrNetworkUnreachable{}
		}
		r = first
	}
	fields := header.IPv4Fields{
		TotalLength: uint16(length), TOS: params.TOS, TTL: params.TTL, Protocol: uint8(params.Protocol),
		SrcAddr: r.LocalAddress(), DstAddr: r.RemoteAddress(),
	}
	if params.DF {
		fields.Flags = header.IPv4FlagDontFragment
	}
	encode := func(h header.IPv4) {
		h.Encode(&fields)
		h.SetHeaderLength(uint8(size))
		copy(h[header.IPv4MinimumSize:], options)
	}
	switch gso := &pkt.GSOOptions; {
	case gso.Type == stack.GSONone:
	case r.NICID() != e.nic.ID() || r.Loop() != stack.PacketOut:
		completeChecksum(pkt)
	default:
		// The link cuts it into packets, whose size is for TCP to say.
		h := header.IPv4(pkt.NetworkHeader().Push(size))
		encode(h)
		h.SetChecksum(^h.CalculateChecksum())
		pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
		gso.L3HdrLen = uint16(size)
		for _, s := range e.findings.stats {
			s.PacketsSent.Increment()
		}
		return e.nic.WritePacket(r, pkt)
	}
	defer e.steering.hold(r, params, pkt)()
	h := header.IPv4(make([]byte, size))
	encode(h)
	b := pkt.ToBuffer()
	b.Prepend(buffer.NewViewWithData(h))
	if least != 0 {
		defer b.Release()
		whole := b.Flatten()
		rng := e.stack.SecureRNG()
		header.IPv4(whole).SetID(uint16(1 + rng.Uint32()%math.MaxUint16)) // 0 would have each fragment get its own
		header.IPv4(whole).SetFlagsFragmentOffset(0, 0)
		least = min(least, int(r.MTU())+header.IPv4MinimumSize)
		return cut(r, whole, size, (least-size)&^7, pkt.Mark, 0)
	}
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: b, Mark: pkt.Mark})
	defer out.DecRef()
	return r.WriteHeaderIncludedPacket(out)
}

// completeChecksum has a segment of TCP have its checksum: only the link that it was made for would have that done.
func completeChecksum(pkt *stack.PacketBuffer) {
	if pkt.GSOOptions.NeedsCsum {
		t := header.TCP(pkt.TransportHeader().Slice())
		t.SetChecksum(^checksum.Combine(checksum.Checksum(t, 0), pkt.Data().Checksum()))
	}
}

// HandlePacket implements stack.NetworkEndpoint.
func (e *ipv4Endpoint) HandlePacket(pkt *stack.PacketBuffer) {
	if p, ok := plain4(pkt); ok && e.findings.take(&p, pkt) {
		return
	}
	e.paths.hear4(e.stack, pkt)
	if f := e.steering.Load(); f != nil && e.Forwarding() && f.refuses(e.stack, e.nic.ID(), e.Stats(), header.IPv4ProtocolNumber, pkt) {
		return
	}
	if !sourceRouted(pkt) && !(e.Forwarding() && e.forwardFragment(pkt)) {
		e.ipv4Link.HandlePacket(pkt)
	}
}

// sourceRouted reports whether the sender of a packet says which way it goes, which Linux does not
// permit either (accept_source_route in sysctls).
func sourceRouted(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok {
		return false
	}
	n := int(header.IPv4(b).HeaderLength())
	if n <= header.IPv4MinimumSize {
		return false
	}
	if b, ok = pkt.Data().PullUp(n); !ok {
		return false
	}
	return hasSourceRoute(b[header.IPv4MinimumSize:])
}

// hasSourceRoute reports whether there is a source route among the options of a header of IPv4.
func hasSourceRoute(options []byte) bool {
	const end, nop, loose, strict = 0, 1, 131, 137
	for len(options) > 0 {
		switch options[0] {
		case end:
			return false
		case nop:
			options = options[1:]
			continue
		case loose, strict:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return false
		}
		options = options[options[1]:]
	}
	return false
}
