package gateway

import (
	"net/netip"
	"time"
)

// Policy decides what a sandbox may reach; a nil Policy permits all. The gateway
// calls it from many goroutines. No method may wait: frames queue behind it.
//
// A flow is first put to Connect. What Connect wants to see the first bytes of is
// put to Data until that has decided; until then nothing of it leaves but what that lets pass.
type Policy interface {
	// Name says whether a name may be asked for. It has no trailing dot; kind is the
	// number of a resource record's type (RFC 1035, section 3.2.2), class that of its class. Refuse answers
	// REFUSED, NoData success without records; neither asks anybody else.
	Name(name string, kind, class uint16) Decision
	// Answer tells of addresses that the resolver is about to answer a name with, and
	// for how long they hold. Names of a CNAME chain are reported as the name that
	// was asked for. It says which of them the sandbox may be told; an answer with
	// others is not passed on.
	Answer(name string, addresses []netip.Addr, ttl time.Duration) Decision
	// Withheld tells of an answer for a name that is not passed on, since it is not in a form
	// in which Answer could be asked, and why.
	Withheld(name string, why error)
	// Connect says what becomes of a new flow.
	Connect(Flow) Decision
	// Data looks at the first bytes that the sandbox has sent on a TCP flow for which
	// Connect has said Inspect. Inspect now asks for more of them, and so does Pass, with which
	// these leave already; last says that there won't be any: the sandbox has ended its side, or has sent as much as is
	// looked at (inspectMax), or has taken too long (inspectTime): then Permit lets nothing
	// leave, but has Data asked again when more comes. Meanwhile what the other side sends
	// is passed on: in some protocols it speaks first.
	Data(f Flow, first []byte, last bool) Decision
	// Rest returns who has a say in all of a flow whose first bytes Data has permitted;
	// nil is nobody.
	Rest(f Flow, first []byte) Rest
}

// Rest has a say in what the sandbox sends in one TCP flow. One goroutine calls it.
type Rest interface {
	// Next takes what has come, from the first bytes on, and says what may leave now:
	// of that, and of what it has held back before. What it returns may be in b.
	// Whatever is not Permit resets the flow.
	Next(b []byte) (pass []byte, d Decision)
	// Over reports whether all that comes after what Next has taken may leave.
	Over() bool
}

// Decision is what a policy says.
type Decision uint8

const (
	// Refuse is the zero value: what is not decided is refused.
	Refuse Decision = iota
	Permit
	// Inspect permits a TCP flow if its first bytes are as they should be. For
	// anything but TCP it is Refuse.
	Inspect
	// Pass is Inspect of a TCP flow whose bytes up to now may leave, but are to be put to Data
	// again with those that follow. Only Data says it, and not of the last ones.
	Pass
	// NoData answers a question without records. For a flow it is Refuse.
	NoData
)

// Flow is a connection, or an exchange of datagrams, that a sandbox begins.
type Flow struct {
	// Protocol is unix.IPPROTO_TCP, IPPROTO_UDP, or IPPROTO_ICMP and IPPROTO_ICMPV6
	// for echo requests, whose ports are 0.
	Protocol uint8
	// From is the sandbox's address, To the one that it wants to reach. IPv4
	// addresses are never mapped into IPv6.
	From, To netip.AddrPort
}

const (
	// inspectMax is how many bytes a policy gets to see: a ClientHello with
	// post-quantum key shares and a long ticket has some 4 KiB, request headers 8.
	inspectMax = 16 << 10
)

// inspectTime is how long a sandbox may take to send them. Tests are in a hurry.
var inspectTime = 10 * time.Second
