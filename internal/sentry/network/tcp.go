package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// The sizes of TCP's buffers in bytes: the least, those of a new socket, and as far as
// they grow with the path (tcp_wmem and tcp_rmem in tcp(7), with Linux's defaults).
var (
	sendBuffers    = tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 16 << 10, Max: 4 << 20}
	receiveBuffers = tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 128 << 10, Max: 6 << 20}
)

// tuneTCP makes a new stack's TCP what Linux's is: CUBIC, Nagle's algorithm, selective
// acknowledgements, buffers that tune themselves.
func tuneTCP(s *stack.Stack) {
	cubic, nagle, sack, moderate := tcpip.CongestionControlOption("cubic"), tcpip.TCPDelayEnabled(true), tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	send, receive := sendBuffers, receiveBuffers
	for _, o := range []tcpip.SettableTransportProtocolOption{&cubic, &nagle, &sack, &moderate, &send, &receive} {
		must(s.SetTransportProtocolOption(tcp.ProtocolNumber, o))
	}
}
