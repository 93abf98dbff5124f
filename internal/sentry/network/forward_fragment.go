package network

import (
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack gives what it forwards a checksum of its own, of TCP or UDP, also to a fragment of IPv4, which has none or
// that of the whole: its content would be overwritten. And it cuts a fragment that is too long for the next link as if that
// began the packet. So fragments are forwarded here.

// fragment reports whether a packet is a part of one, and no more than that.
func fragment(h header.IPv4) bool { return h.More() || h.FragmentOffset() != 0 }

// forwardFragment forwards a packet that comes in if it is a fragment and goes on by another link. Its header need not
// be whole. What is false the stack looks at, which knows what to do with all that is not to be sent on.
func (e *ipv4Endpoint) forwardFragment(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok || !fragment(b) || !e.Enabled() || pkt.PktType != tcpip.PacketHost {
		return false
	}
	if b, ok = pkt.Data().PullUp(int(header.IPv4(b).HeaderLength())); !ok {
		return false
	}
	h := header.IPv4(b)
	if !h.IsValid(pkt.Data().Size()) || !h.IsChecksumValid() || h.TTL() <= 1 {
		return false
	}
	var k RouteKey
	k.readHeader(header.IPv4ProtocolNumber, h)
	to := toStack(k.To)
	if !leaves(k.To) || !leaves(k.From) || k.To.IsLinkLocalUnicast() || k.From.IsLinkLocalUnicast() ||
		e.stack.CheckLocalAddress(0, header.IPv4ProtocolNumber, to) != 0 || e.stack.IsSubnetBroadcast(0, header.IPv4ProtocolNumber, to) ||
		e.stack.IsSubnetBroadcast(0, header.IPv4ProtocolNumber, toStack(k.From)) {
		return false
	}
	r, err := e.stack.FindRoute(0, tcpip.Address{}, to, header.IPv4ProtocolNumber, false)
	if err != nil {
		return false
	}
	defer r.Release()
	stats := e.Stats().(stack.IPNetworkEndpointStats).IPStats()
	stats.PacketsReceived.Increment()
	stats.ValidPacketsReceived.Increment()
	content := pkt.Data().ToBuffer()
	content.Truncate(int64(h.TotalLength()))
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: content.DeepClone(), IsForwardedPacket: true, Mark: pkt.Mark,
	})
	content.Release()
	defer out.DecRef()
	out.InputNICID = e.nic.ID()
	b, _ = out.Data().PullUp(len(h))
	h = b
	h.SetTTL(h.TTL() - 1)
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
	switch r.WriteHeaderIncludedPacket(out).(type) {
	case nil:
		e.steering.trafficOf(header.IPv4ProtocolNumber).forwarded.Add(1)
	case *tcpip.ErrMessageTooLong:
		stats.Forwarding.PacketTooBig.Increment()
		if e.stack.AllowICMPMessage() {
			tellUnreachable4(e.stack, e.nic.ID(), &k, unix.EMSGSIZE, int(r.MTU())+header.IPv4MinimumSize, pkt)
		}
	}
	return true
}

// WriteHeaderIncludedPacket implements stack.NetworkEndpoint.
func (e *ipv4Endpoint) WriteHeaderIncludedPacket(r *stack.Route, pkt *stack.PacketBuffer) tcpip.Error {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok || !pkt.NetworkPacketInfo.IsForwardedPacket || !fragment(b) {
		return e.ipv4Link.WriteHeaderIncludedPacket(r, pkt)
	}
	size := int(header.IPv4(b).HeaderLength())
	mtu := int(e.nic.MTU())
	if pkt.Data().Size() <= mtu {
		return e.writeFragment(r, pkt, size)
	}
	room := (mtu - size) &^ 7
	if header.IPv4(b).Flags()&header.IPv4FlagDontFragment != 0 || room <= 0 {
		return &tcpip.ErrMessageTooLong{}
	}
	whole := pkt.Data().ToBuffer()
	defer whole.Release()
	if err := cut(r, whole.Flatten(), size, room, pkt.Mark, pkt.InputNICID); err != nil {
		return err
	}
	t := e.steering.trafficOf(header.IPv4ProtocolNumber)
	t.cut.Add(1)
	t.fragments.Add((uint64(whole.Size()) - uint64(size) + uint64(room) - 1) / uint64(room))
	return nil
}

// cut sends a packet, whose header has a size, by the link of a route, in fragments that have room for so many bytes of it.
func cut(r *stack.Route, whole []byte, size, room int, mark uint32, in tcpip.NICID) tcpip.Error {
	h, content := header.IPv4(whole[:size]), whole[size:]
	for at := 0; at < len(content); at += room {
		piece := content[at:min(at+room, len(content))]
		out := stack.NewPacketBuffer(stack.PacketBufferOptions{
			ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(slices.Concat(h, piece)), IsForwardedPacket: in != 0, Mark: mark,
		})
		out.InputNICID = in
		b, _ := out.Data().PullUp(size)
		part := header.IPv4(b)
		flags := h.Flags()
		if at+room < len(content) {
			flags |= header.IPv4FlagMoreFragments
		}
		part.SetTotalLength(uint16(size + len(piece)))
		part.SetFlagsFragmentOffset(flags, h.FragmentOffset()+uint16(at))
		part.SetChecksum(0)
		part.SetChecksum(^part.CalculateChecksum())
		err := r.WriteHeaderIncludedPacket(out)
		if out.DecRef(); err != nil {
			return err
		}
	}
	return nil
}

// writeFragment sends a packet whose header, of a size, is as it should be.
func (e *ipv4Endpoint) writeFragment(r *stack.Route, pkt *stack.PacketBuffer, size int) tcpip.Error {
	pkt.NetworkHeader().Consume(size)
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	stats := e.Stats().(stack.IPNetworkEndpointStats).IPStats()
	err := e.nic.WritePacket(r, pkt)
	if err != nil {
		stats.OutgoingPacketErrors.Increment()
	} else {
		stats.PacketsSent.Increment()
	}
	return err
}
