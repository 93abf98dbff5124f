package network

import (
	"hash/maphash"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Flow labels of IPv6 (RFC 6437) that packets get by themselves: each flow its own.

// Labelling is what a socket says of the labels of its packets (IPV6_AUTOFLOWLABEL).
type Labelling uint32

const (
	LabelUnsaid Labelling = iota
	LabelRefused
	LabelAsked
)

// The values of net.ipv6.auto_flowlabels.
const (
	labelNone = iota
	labelUnlessRefused
	labelIfAsked
	labelAll
)

// labels is that setting. The stack has it, which must not hold its namespace.
type labels struct{ mode atomic.Int64 }

func newLabels() *labels {
	l := new(labels)
	l.mode.Store(labelUnlessRefused)
	return l
}

// wanted reports whether packets get labels by themselves for which a socket says something.
func (l *labels) wanted(said Labelling) bool {
	switch l.mode.Load() {
	case labelUnlessRefused:
		return said != LabelRefused
	case labelIfAsked:
		return said == LabelAsked
	case labelAll:
		return true
	}
	return false
}

// Labels reports whether packets of sockets that say something get labels by themselves.
func (n *Namespace) Labels(said Labelling) bool { return n.labels.wanted(said) }

// labelMask is how large labels are.
const labelMask = 1<<20 - 1

// labelSeed makes labels that nobody foretells.
var labelSeed = maphash.MakeSeed()

// flow is what has a label of its own.
type flow struct {
	from, to         tcpip.Address
	protocol         tcpip.TransportProtocolNumber
	fromPort, toPort uint16
}

// FlowLabel is the label of a flow, which is not 0. Protocols without ports have them 0.
func FlowLabel(from, to tcpip.Address, protocol tcpip.TransportProtocolNumber, fromPort, toPort uint16) uint32 {
	return max(uint32(maphash.Comparable(labelSeed, flow{from, to, protocol, fromPort, toPort}))&labelMask, 1)
}

// labelOf is that of a packet which has no header of IPv6 yet.
func labelOf(r *stack.Route, protocol tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) uint32 {
	var from, to uint16
	if t := pkt.TransportHeader().Slice(); (protocol == tcp.ProtocolNumber || protocol == udp.ProtocolNumber) && len(t) >= header.UDPMinimumSize {
		from, to = header.UDP(t).SourcePort(), header.UDP(t).DestinationPort() // where TCP has them too
	}
	return FlowLabel(r.LocalAddress(), r.RemoteAddress(), protocol, from, to)
}
