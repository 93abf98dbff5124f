package gateway

import (
	"errors"
	"os"
)

// Gateway is the sandbox's side of a gateway.
type Gateway struct {
	// Link is the sandbox's end of the link: a SOCK_SEQPACKET socket that carries one
	// Ethernet frame in each message (package link). The caller closes its copy
	// when the sandbox has it: the helper ends with the last one.
	Link *os.File
	// Questions, if there is a policy, is a SOCK_SEQPACKET socket over which the
	// sandbox asks whether a flow is permitted; else nil.
	Questions *os.File
	// IPv6 says that the host has a way to IPv6 addresses, so that a default route
	// of that family is of use.
	IPv6 bool
	// Resolv and Hosts are contents for the sandbox's /etc/resolv.conf and /etc/hosts.
	Resolv, Hosts []byte
}

// Start prepares a gateway: it listens on published ports, and has a helper process
// started when the sandbox sends its first frame.
func Start(c Config) (*Gateway, error) {
	return nil, errors.New("the user network is not built yet")
}

// Close ends the helper and closes what the Gateway has.
func (g *Gateway) Close() error { return nil }
