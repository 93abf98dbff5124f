package gateway

import (
	"net/netip"
	"os"

	"coffer/internal/egress"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// The network between a sandbox and its gateway. The addresses are those of QEMU's
// user networking, which other programs of the kind use as well.
var (
	// Guest4 and Guest6 are the sandbox's own addresses.
	Guest4 = netip.MustParsePrefix("10.0.2.15/24")
	Guest6 = netip.MustParsePrefix("fd00:c0ff:e200::15/64")
	// Router4 and Router6 are the gateway's: the default routes lead there.
	Router4 = netip.MustParseAddr("10.0.2.2")
	Router6 = netip.MustParseAddr("fd00:c0ff:e200::2")
	// Resolver4 and Resolver6 answer names, on port 53.
	Resolver4 = netip.MustParseAddr("10.0.2.3")
	Resolver6 = netip.MustParseAddr("fd00:c0ff:e200::3")
)

const (
	// GuestHardware and RouterHardware are the Ethernet addresses of the sandbox and of the
	// gateway, locally administered ones; guestAddress and routerAddress are the same as bytes.
	GuestHardware  = "02:c0:ff:e2:00:15"
	RouterHardware = "02:c0:ff:e2:00:02"
	guestAddress   = tcpip.LinkAddress("\x02\xc0\xff\xe2\x00\x15")
	routerAddress  = tcpip.LinkAddress("\x02\xc0\xff\xe2\x00\x02")
	// MTU is that of Ethernet. With Offload, large segments cross in one piece.
	MTU = 1500
	// Offload says that frames have a virtio-net header before them.
	Offload = true
)

// Config is what a gateway is to do. Its files stay the caller's to close.
type Config struct {
	// Namespace is the network namespace in which the gateway's sockets live; nil is
	// the caller's. Another one takes CAP_SYS_ADMIN.
	Namespace *os.File
	// Publish are ports that Start listens on. With any the helper runs from the
	// start on, not from the sandbox's first frame.
	Publish []Publish
	// DNS are the name servers to ask, in this order. Zones of link-local addresses
	// are names or numbers of interfaces of the caller's network namespace.
	DNS []netip.Addr
	// Hosts are names that the gateway's resolver answers by itself.
	Hosts []Host
	// Egress is what the sandbox may reach; nil is everything that is not the host's
	// loopback or the gateway's own network.
	Egress *egress.Policy
	// EgressLog takes what Egress refuses as JSON lines; nil is Log, as text.
	EgressLog *os.File
	// Log takes what the helper has to say, as lines of text; nil is nowhere.
	Log *os.File
	// Detached has the helper end with the sandbox's end of the link alone. Otherwise
	// it ends with the process that called Start, too.
	Detached bool
}

// Publish is a port of the host's that leads to one of the sandbox's.
type Publish struct {
	Protocol string // "tcp" or "udp"
	// Address is the host's to listen on; an invalid or unspecified one is all.
	Address        netip.Addr
	HostPort, Port uint16
}

// Host is a name with an address.
type Host struct {
	Name    string
	Address netip.Addr
}
