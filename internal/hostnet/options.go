package hostnet

import (
	"net/netip"

	"coffer/internal/egress"
)

// Mode is what --network names.
type Mode string

const (
	// ModeNone has a loopback interface and nothing else.
	ModeNone Mode = "none"
	// ModeUser ends the sandbox's flows in sockets of an unprivileged helper.
	ModeUser Mode = "user"
	// ModeBridge joins the sandbox to a bridge of the host's, which takes root.
	ModeBridge Mode = "bridge"
	// ModeHost uses the host's own sockets.
	ModeHost Mode = "host"
)

// Options are what a user asks of a sandbox's network.
type Options struct {
	Mode Mode
	// Name is the named network of ModeBridge; empty is the default one.
	Name string
	// Container is the sandbox's own name on a named network.
	Container string
	Publish   []Publish
	// DNS are the name servers to ask instead of the host's; Search its domains.
	DNS    []netip.Addr
	Search []string
	// Hosts are further lines of /etc/hosts.
	Hosts []Host
	// Egress, if not nil, is what may be reached.
	Egress *egress.Policy
	// Rate limits each direction, in bytes a second; 0 is no limit.
	Rate uint64
	// Capture is the file for what crosses the sandbox's edge, as pcap; empty is none.
	Capture string
}

// Publish is a port of the host's that leads to one of the sandbox's.
type Publish struct {
	Protocol string // "tcp" or "udp"
	// Address is the host's address to listen on; unspecified is all of them.
	Address        netip.Addr
	HostPort, Port uint16
}

// Host is a line of /etc/hosts.
type Host struct {
	Name    string
	Address netip.Addr
}
