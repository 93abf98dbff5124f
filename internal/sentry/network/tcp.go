package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// tuneTCP makes a new stack's TCP what Linux's is where no sysctl tells: with Nagle's
// algorithm. Buffers, congestion control and others are in the table of sysctls.
func tuneTCP(s *stack.Stack) {
	nagle := tcpip.TCPDelayEnabled(true)
	must(setTCP(s, &nagle))
}
