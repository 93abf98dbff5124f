package inet

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Flow labels of IPv6 (RFC 6437). Programs give them with the addresses that they connect and send to
// (IPV6_FLOWINFO_SEND), or with a datagram (IPV6_FLOWINFO). Otherwise datagrams that stay within a namespace get one that
// is made of their addresses and ports (IPV6_AUTOFLOWLABEL); others have none.

const (
	// flowMask is what of the first bytes of a header says which flow it is of: the traffic class and the label.
	flowMask  = 0xfffffff
	labelMask = 0xfffff
)

// labels are what a socket has of flow labels.
type labels struct {
	// sendsFlow is IPV6_FLOWINFO_SEND, unlabelled the opposite of IPV6_AUTOFLOWLABEL.
	sendsFlow, unlabelled atomic.Bool
	// ofPeer is what came with the address that the socket has connected to.
	ofPeer atomic.Uint32
	// ofNext is that of the datagram that is being sent; sendMu protects it.
	ofNext atomic.Uint32
	// asksFlow says that the socket is to be told of the labels that come.
	asksFlow atomic.Bool
}

func applyFlowSend(s *Socket, _ tcpip.Endpoint, v int32)  { s.sendsFlow.Store(v != 0) }
func applyAutoLabel(s *Socket, _ tcpip.Endpoint, v int32) { s.unlabelled.Store(v == 0) }

// applyFlowInfo is IPV6_FLOWINFO.
func applyFlowInfo(s *Socket, e tcpip.Endpoint, v int32) {
	s.askFlows(v != 0)
	reports(reportFlow)(s, e, v)
}

// askFlows has headers be kept of all that comes, or no longer.
func (s *Socket) askFlows(on bool) {
	if on = on && !s.stream(); s.asksFlow.Swap(on) == on {
		return
	}
	if on {
		network.AskFlows(1)
	} else {
		network.AskFlows(-1)
	}
}

// flowOf is what of a flow comes with the address that a program gives, 0 for none.
func (s *Socket) flowOf(addr []byte) uint32 {
	if !s.sendsFlow.Load() || len(addr) < sizeofSockaddr6Old || family(addr) != unix.AF_INET6 {
		return 0
	}
	return binary.BigEndian.Uint32(addr[4:]) & flowMask
}

// connectFlow keeps what of a flow comes with the address that the socket connects to.
func (s *Socket) connectFlow(addr []byte) {
	flow := s.flowOf(addr)
	if s.ofPeer.Store(flow); flow != 0 {
		s.own(s.ep.Load())
	}
}

// label is that of the next packet: automatic, unless the program says another one, or that there is to be none.
func (s *Socket) label(automatic uint32) uint32 {
	if l := s.chosenLabel(); l != 0 || s.unlabelled.Load() {
		return l
	}
	return automatic
}

// chosenLabel is the one that the program has chosen for the next packet, 0 for none.
func (s *Socket) chosenLabel() uint32 {
	if s.stream() {
		return s.ofPeer.Load() & labelMask
	}
	return s.ofNext.Load() & labelMask
}

// labelSeed makes labels that nobody foretells.
var labelSeed = maphash.MakeSeed()

// labelOf is the label of a flow, which is not 0.
func labelOf(id *stack.TransportEndpointID) uint32 {
	if id.LocalAddress.Len() != header.IPv6AddressSize {
		return 0
	}
	return max(uint32(maphash.Comparable(labelSeed, *id))&labelMask, 1)
}
