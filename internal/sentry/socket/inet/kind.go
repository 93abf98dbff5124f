package inet

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// The bounds of socket(2)'s arguments.
const (
	maxType     = 11  // SOCK_MAX
	maxProtocol = 263 // IPPROTO_MAX
)

// kind is a pair of type and protocol that sockets can have. A new one is a case in
// kindOf; how its endpoints are made is in maker.
type kind struct {
	typ, protocol int32
	make          maker
}

// maker makes an endpoint for a network protocol.
type maker func(s *stack.Stack, network tcpip.NetworkProtocolNumber, q *stackwaiter.Queue) (tcpip.Endpoint, tcpip.Error)

// kindOf says which kind socket(2)'s arguments stand for. EINVAL, ESOCKTNOSUPPORT or
// EPROTONOSUPPORT for those that stand for none.
func kindOf(family, typ, protocol int32) (kind, error) {
	if typ < 0 || typ >= maxType || protocol < 0 || protocol >= maxProtocol {
		return kind{}, unix.EINVAL
	}
	switch typ {
	case unix.SOCK_STREAM:
		if protocol == 0 || protocol == unix.IPPROTO_TCP {
			return kind{typ, unix.IPPROTO_TCP, transport(tcp.ProtocolNumber)}, nil
		}
	case unix.SOCK_DGRAM:
		if protocol == 0 || protocol == unix.IPPROTO_UDP {
			return kind{typ, unix.IPPROTO_UDP, transport(udp.ProtocolNumber)}, nil
		}
		switch {
		case family == unix.AF_INET && protocol == unix.IPPROTO_ICMP:
			return kind{typ, protocol, transport(icmp.ProtocolNumber4)}, nil
		case family == unix.AF_INET6 && protocol == unix.IPPROTO_ICMPV6:
			return kind{typ, protocol, transport(icmp.ProtocolNumber6)}, nil
		}
	case unix.SOCK_RAW:
		if protocol > 0 && protocol <= unix.IPPROTO_RAW {
			return kind{typ, protocol, rawEndpoint(protocol)}, nil
		}
	default:
		return kind{}, unix.ESOCKTNOSUPPORT
	}
	return kind{}, unix.EPROTONOSUPPORT
}

// observes reports whether a socket of the kind receives copies of others' packets.
func (k *kind) observes() bool {
	return k.typ == unix.SOCK_RAW && (k.protocol == unix.IPPROTO_TCP || k.protocol == unix.IPPROTO_UDP)
}

// transport makes the endpoints of a transport protocol.
func transport(number tcpip.TransportProtocolNumber) maker {
	return func(s *stack.Stack, network tcpip.NetworkProtocolNumber, q *stackwaiter.Queue) (tcpip.Endpoint, tcpip.Error) {
		return s.NewEndpoint(number, network, q)
	}
}

// networkProtocol is the stack's number for an address family.
func networkProtocol(family int32) tcpip.NetworkProtocolNumber {
	if family == unix.AF_INET {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
