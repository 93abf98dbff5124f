package gateway

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"coffer/internal/egress"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// gateway is what runs in the helper.
type gateway struct {
	stack    *stack.Stack
	policy   Policy
	resolver *resolver
	// limits are how many flows of each kind there may be.
	limits limits
	// tcpFlows counts TCP flows in both directions.
	tcpFlows atomic.Int32
	tcpSyns  synTable
	sending  sending
	// ports are the published UDP ports; clients are those that they have, by publishedFlow.
	ports     []*publishedPort
	clients   sync.Map
	datagrams *flowTable
	echoes    *flowTable
}

// limits bound what a sandbox can have of the helper's memory and descriptors.
type limits struct{ tcp, datagrams, echoes int }

// newLimits divides the descriptors that the helper may open: half are for TCP, a
// quarter for UDP, the rest for echo requests, the resolver and published ports.
func newLimits(files int) limits {
	return limits{tcp: min(files/2, 8192), datagrams: min(files/4, 4096), echoes: min(files/16, 64)}
}

// newGateway serves a stack's flows until the stack is closed.
func newGateway(s *stack.Stack, r *resolver, p Policy, l limits) *gateway {
	g := &gateway{stack: s, policy: p, resolver: r, limits: l}
	g.datagrams, g.echoes = newFlowTable(l.datagrams), newFlowTable(l.echoes)
	forwarder := tcp.NewForwarder(s, bufferMax, min(l.tcp, pendingMax), g.connect)
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, g.synHandler(forwarder))
	s.SetTransportProtocolHandler(udp.ProtocolNumber, g.handleDatagram)
	s.SetTransportProtocolHandler(header.ICMPv4ProtocolNumber, g.handleEcho4)
	s.SetTransportProtocolHandler(header.ICMPv6ProtocolNumber, g.handleEcho6)
	return g
}

// errForbidden is what permit says of a flow that is not to be.
var errForbidden = errors.New("not permitted")

// decide says what becomes of a flow that the sandbox begins. What leads back into
// the host or to this network itself is refused whatever the policy says.
func (g *gateway) decide(f Flow) Decision {
	to := f.To.Addr()
	switch {
	case !outside(to) || !ours(f.From.Addr()):
		return Refuse
	case g.policy != nil:
		return g.policy.Connect(f)
	case egress.HoldsSecrets(to):
		return Refuse // it is the host's business alone
	}
	return Permit
}

// ours reports whether an address is one that a sandbox may have here.
func ours(a netip.Addr) bool { return Guest4.Contains(a) || Guest6.Contains(a) }

// outside reports whether an address is one of another host, as far as can be told
// from the address: the host's loopback, this network, groups, and IPv4 addresses in
// IPv6 clothes (which the host's kernel would undress) are not.
func outside(a netip.Addr) bool {
	switch {
	case !a.IsValid(), a.Is4In6(), a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), ours(a):
		return false
	case a.Is4():
		b := a.As4()
		return b[0] != 0 && b != [4]byte{255, 255, 255, 255}
	}
	return !a.IsLinkLocalUnicast() && !compatible6.Contains(a)
}

// compatible6 has the IPv4-compatible addresses, ::a.b.c.d, long out of use.
var compatible6 = netip.MustParsePrefix("::/96")

// refusal is the ICMP error that tells the sandbox of a host call's failure.
func refusal(err error) unreachable {
	switch {
	case errors.Is(err, errForbidden), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return unreachableForbidden
	case errors.Is(err, unix.ECONNREFUSED):
		return unreachablePort
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		return unreachableNetwork
	}
	return unreachableHost
}
