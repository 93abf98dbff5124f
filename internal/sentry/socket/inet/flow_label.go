package inet

import (
	"encoding/binary"
	"sync/atomic"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Flow labels of IPv6 (RFC 6437). Programs give them with the addresses that they connect and send to
// (IPV6_FLOWINFO_SEND), or with a datagram (IPV6_FLOWINFO). Otherwise packets get one by themselves, as the network has it
// and IPV6_AUTOFLOWLABEL.

const (
	// flowMask is what of the first bytes of a header says which flow it is of: the traffic class and the label.
	flowMask  = 0xfffffff
	labelMask = 0xfffff
)

// labels are what a socket has of flow labels.
type labels struct {
	// sendsFlow is IPV6_FLOWINFO_SEND, automatic a network.Labelling: IPV6_AUTOFLOWLABEL.
	sendsFlow atomic.Bool
	automatic atomic.Uint32
	// ofPeer is what came with the address that the socket has connected to.
	ofPeer atomic.Uint32
	// ofNext is that of the datagram that is being sent; sendMu protects it.
	ofNext atomic.Uint32
	// asksFlow says that the socket is to be told of the labels that come.
	asksFlow atomic.Bool
}

func applyFlowSend(s *Socket, _ tcpip.Endpoint, v int32) { s.sendsFlow.Store(v != 0) }

// applyAutoLabel is IPV6_AUTOFLOWLABEL, and shownAutoLabel what it is also before it is set.
func applyAutoLabel(s *Socket, e tcpip.Endpoint, v int32) {
	said := network.LabelRefused
	if v != 0 {
		said = network.LabelAsked
	}
	s.automatic.Store(uint32(said))
	s.own(e)
}

func shownAutoLabel(s *Socket, v int32) int32 {
	if said := s.labelling(); said == network.LabelUnsaid {
		return truth(s.net.Labels(said))
	}
	return v
}

// labelling is what the socket says of labels.
func (s *Socket) labelling() network.Labelling { return network.Labelling(s.automatic.Load()) }

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
	if l := s.chosenLabel(); l != 0 || !s.net.Labels(s.labelling()) {
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
