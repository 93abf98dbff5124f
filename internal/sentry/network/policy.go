package network

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Permit asks the policy whether a process may send to an address. EACCES if not.
// A network without a policy permits everything, and each what stays inside.
func (n *Namespace) Permit(f Flow) error {
	if n.config.Policy == nil || n.staysInside(f.To.Addr()) {
		return nil
	}
	return n.config.Policy.Permit(f)
}

// staysInside reports whether what is sent to an address does not leave the sandbox: it
// is one of the namespace's own, or leads to another namespace inside. If that is not clear, it does not say so.
func (n *Namespace) staysInside(to netip.Addr) bool {
	if to.IsUnspecified() { // another name of the loopback's
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if r, local := n.local(to); local && r.Type == unix.RTN_LOCAL {
		return true
	}
	a := n.currentFIB().search(RouteKey{To: to}, nil)
	if a.err != 0 {
		return false
	}
	l := n.links[a.hop.Link]
	return l != nil && (l.kind == kindVeth || l.kind == kindDummy || l.kind == kindTun)
}

// Policy decides where the programs of a network may connect and send to. What it
// says is advice to the program, at once; whoever carries the frames enforces it.
type Policy interface {
	// Permit returns EACCES for what is not permitted. It may wait for an answer,
	// for a bounded time, and then refuses, or returns ERESTARTNOINTR after a signal.
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
	// Block is how the caller waits: until the channel has something or is closed, ETIMEDOUT after the
	// deadline, or with another error if a signal comes. Without it the wait is not interrupted.
	Block func(come <-chan struct{}, deadline time.Time) error
}
