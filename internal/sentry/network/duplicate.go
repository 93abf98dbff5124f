package network

import (
	"slices"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack takes an acknowledgement for a duplicate, by which it finds what was lost, only if it has the window of
// the one before (RFC 5681, 2). With SACK blocks any counts that tells of more that has come (RFC 6675, 2), and where a
// receiver's buffer tunes itself, as Linux's, each of them has a larger window as long as the slow start lasts: a loss
// then cost a retransmission timeout. So the first few that acknowledge the same are handed over with the window of
// the first one, which is less than there is. One that tells of nothing more is no duplicate, and has its own: it may be the one
// that says that there is room again, also in answer to a probe, which comes with a block of what came twice (RFC 2883).

const (
	// duplicatesMost is how many after the first: as many as the stack counts.
	duplicatesMost = 3
	// repeatersMost bounds how many connections are known.
	repeatersMost = 32
)

// repeated is the last of what a connection was acknowledged with SACK blocks.
type repeated struct {
	says   selective
	window uint16
	// times is how often that was repeated.
	times int
}

// repeaters are connections that were told of something lost, of which some may have ended.
type repeaters map[stack.TransportEndpointID]repeated

// steady is a segment that only acknowledges, with SACK blocks, or in its place a copy with another window, with a
// reference for the caller. a is what it tells.
func (r *repeaters) steady(id stack.TransportEndpointID, pkt *stack.PacketBuffer, a selective) *stack.PacketBuffer {
	h := header.TCP(pkt.TransportHeader().Slice())
	last, known := (*r)[id]
	if known && a.ack == last.says.ack && h.WindowSize() >= last.window && !last.says.tells(&a, nil) {
		last.says = a
		last.times++
		(*r)[id] = last
		if last.times > duplicatesMost || h.WindowSize() == last.window {
			return pkt.IncRef()
		}
		return withWindow(pkt, last.window)
	}
	switch {
	case *r == nil:
		*r = repeaters{}
	case !known && len(*r) >= repeatersMost:
		for other := range *r {
			delete(*r, other)
			break
		}
	}
	(*r)[id] = repeated{says: a, window: h.WindowSize()}
	return pkt.IncRef()
}

// withWindow is a copy of a segment without data that says another window: others may look at the original.
func withWindow(pkt *stack.PacketBuffer, window uint16) *stack.PacketBuffer {
	network, transport := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(slices.Concat(network, transport))})
	out.NetworkHeader().Consume(len(network))
	out.TransportHeader().Consume(len(transport))
	cameAs(out, pkt)
	h := header.TCP(out.TransportHeader().Slice())
	// What is wrong stays wrong (RFC 1624).
	h.SetChecksum(^checksum.Combine(checksum.Combine(^h.Checksum(), ^h.WindowSize()), window))
	h.SetWindowSize(window)
	return out
}

// cameAs has a segment of TCP be one that has come as another one did.
func cameAs(pkt, as *stack.PacketBuffer) {
	pkt.NetworkProtocolNumber, pkt.TransportProtocolNumber = as.NetworkProtocolNumber, as.TransportProtocolNumber
	pkt.NICID, pkt.PktType, pkt.RXChecksumValidated, pkt.Hash = as.NICID, as.PktType, as.RXChecksumValidated, as.Hash
	pkt.NetworkPacketInfo = as.NetworkPacketInfo
}
