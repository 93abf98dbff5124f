package network

import "net/netip"

// Permit asks the policy whether a process may send to an address. EACCES if not.
// A network without a policy permits everything, and each what stays inside.
func (n *Namespace) Permit(f Flow) error {
	to := f.To.Addr()
	if n.config.Policy == nil || to.IsLoopback() || to.IsUnspecified() {
		return nil
	}
	for i := range n.config.Interfaces {
		for _, own := range n.config.Interfaces[i].Addresses {
			if own.Addr() == to {
				return nil
			}
		}
	}
	return n.config.Policy.Permit(f)
}

// Policy decides where the programs of a network may connect and send to. What it
// says is advice to the program, at once; whoever carries the frames enforces it.
type Policy interface {
	// Permit returns EACCES for what is not permitted. It may wait for an answer,
	// a few seconds at most, and then refuses.
	Permit(Flow) error
}

// Flow is a connection or datagram that is about to leave.
type Flow struct {
	// Protocol is IPPROTO_TCP, IPPROTO_UDP and so on.
	Protocol uint8
	From, To netip.AddrPort
	// PID and Command are the process, as the sandbox's first namespace numbers it.
	PID     int32
	Command string
}
