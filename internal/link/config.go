package link

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// Config describes a link.
type Config struct {
	// FD is a socket whose messages are Ethernet frames: an AF_PACKET socket of type
	// SOCK_RAW, bound to an interface (packet(7)), or one of a pair of SOCK_SEQPACKET
	// sockets as Pair makes them. The link owns it.
	FD int
	// Ready are epoll instances as OpenReady makes them, which the link owns, or 0: then
	// it makes some, which takes host calls that HostCalls does not have.
	Ready [2]int
	// Name is what messages call the link.
	Name string
	// Address is the interface's Ethernet address, 6 bytes.
	Address tcpip.LinkAddress
	// MTU is in bytes, without the Ethernet header.
	MTU uint32
	// Offload says that a virtio-net header stands before each frame, so that large
	// segments and checksums can be left to the other end (PACKET_VNET_HDR).
	Offload bool
	// Rate limits each direction, in bytes a second; 0 is no limit.
	Rate uint64
	// Capture, if it is not 0, is a descriptor to which a pcap file is written of all
	// that crosses. The link owns it.
	Capture int
	// Guard, if not nil, has frames dropped that leave with another Ethernet address
	// than Address or another IP address than these and those of the link's own
	// IPv6 prefix fe80::/10.
	Guard []netip.Addr
	// Hold, if not nil, may have small frames wait.
	Hold *Hold
	// Inflow, if not nil, is told of what is read, by who reads it.
	Inflow Inflow
	// Outflow, if not nil, has others send.
	Outflow Outflow
	// Changed, if not nil, is called on a goroutine of its own when Running or MTU has
	// changed by what happened outside.
	Changed func()
	// Log takes a line of text about what users should know: that a capture has ended.
	Log func(string)
}

// Inflow has who reads go to another processor before, and counts what was read, which may be of several
// streams. Aside has work done soon on another processor than the caller's, if that has time and
// much comes in several streams, and reports whether; it does not wait.
type Inflow interface {
	Begin()
	Read(bytes int, several bool)
	Aside(work func()) bool
}

// Outflow has work done soon on another processor than the caller's, if that has time and the caller has much to send
// yet, and reports whether; it does not wait.
type Outflow interface {
	Meanwhile(work func()) bool
}

// Statistics count since the link was made. Frames count as the other end gave or
// took them: a large segment is one.
type Statistics struct {
	ReceivedFrames, ReceivedBytes, ReceivedDropped uint64
	SentFrames, SentBytes, SentDropped             uint64
	// Spoofed are frames that Guard did not let leave; they are in SentDropped too.
	Spoofed uint64
	// Damaged are frames with a wrong checksum, which are in ReceivedDropped too.
	DamagedIP, DamagedTCP, DamagedUDP uint64
}
