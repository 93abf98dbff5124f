package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Policy is what a sandbox may reach: what any of its rules permits, and nothing else.
// Make one with Parse. It is not changed afterwards.
type Policy struct {
	rules []Rule
}

// Rule permits one destination. It has a name, a prefix, or neither: then it is "*".
type Rule struct {
	// name is in lower case, without a final dot.
	name string
	// below is the rule "*.name", which permits what lies below the name at any depth,
	// but not the name itself.
	below bool
	// prefix is masked; a single address is a prefix as long as the address.
	prefix netip.Prefix
	// ports are what is permitted there; none are all ports of TCP and UDP, and ICMP.
	ports []ports
}

// ports is a range of ports of one protocol. ICMP has none, and both are 0.
type ports struct {
	protocol    Protocol
	first, last uint16
}

// everyPort is what stands for a protocol without a port.
func everyPort(p Protocol) ports {
	if p == ICMP {
		return ports{protocol: p}
	}
	return ports{protocol: p, first: 1, last: 65535}
}

// Protocol is what rules know of a packet's protocol.
type Protocol uint8

// The protocols. ICMP is both ICMP and ICMPv6, and of these only what ping sends.
const (
	TCP Protocol = iota + 1
	UDP
	ICMP
)

var protocolNames = [...]string{TCP: "tcp", UDP: "udp", ICMP: "icmp"}

func (p Protocol) String() string {
	if p < TCP || p > ICMP {
		return fmt.Sprintf("protocol %d", uint8(p))
	}
	return protocolNames[p]
}

// String returns the policy in the form that Parse reads.
func (p *Policy) String() string {
	if len(p.rules) == 0 {
		return none
	}
	var b strings.Builder
	for i, r := range p.rules {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// MarshalText and UnmarshalText are String and Parse, for the description of a gateway.
func (p *Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Policy) UnmarshalText(b []byte) error {
	parsed, err := Parse(string(b))
	if err == nil {
		*p = *parsed
	}
	return err
}

// String returns the rule in the form that Parse reads.
func (r Rule) String() string {
	s := r.destination()
	if len(r.ports) == 1 && r.ports[0] == everyPort(r.ports[0].protocol) {
		return s + "/" + r.ports[0].protocol.String()
	}
	for i, p := range r.ports {
		if i == 0 {
			s += ":"
		} else {
			s += ","
		}
		s += p.String()
	}
	return s
}

func (r Rule) destination() string {
	switch {
	case r.below:
		return "*." + r.name
	case r.name != "":
		return r.name
	case !r.prefix.IsValid():
		return "*"
	}
	a := r.prefix.Addr()
	s := a.String()
	if a.Is6() {
		s = "[" + s + "]"
	}
	if !r.prefix.IsSingleIP() {
		s += fmt.Sprintf("/%d", r.prefix.Bits())
	}
	return s
}

func (p ports) String() string {
	s := fmt.Sprint(p.first)
	if p.last != p.first {
		s += fmt.Sprintf("-%d", p.last)
	}
	if p.protocol != TCP {
		s += "/" + p.protocol.String()
	}
	return s
}

// permitsPort reports whether the rule has a port. ICMP has port 0.
func (r *Rule) permitsPort(proto Protocol, port uint16) bool {
	if len(r.ports) == 0 {
		return true
	}
	for _, p := range r.ports {
		if p.protocol == proto && p.first <= port && port <= p.last {
			return true
		}
	}
	return false
}

// byName reports whether the rule permits addresses only by what they are called.
func (r *Rule) byName() bool { return r.name != "" }

// matchesName reports whether a name in canonical form is the rule's or lies below it.
// "*" matches each.
func (r *Rule) matchesName(name string) bool {
	switch {
	case r.prefix.IsValid():
		return false
	case r.below:
		return len(name) > len(r.name)+1 && strings.HasSuffix(name, r.name) && name[len(name)-len(r.name)-1] == '.'
	case r.name != "":
		return name == r.name
	}
	return true
}

// isAbout reports whether the rule has an address, or one of the names that it stands for.
func (r *Rule) isAbout(a netip.Addr, known []answer) bool {
	if !r.byName() {
		return !r.prefix.IsValid() || r.prefix.Contains(a)
	}
	return slices.ContainsFunc(known, func(k answer) bool { return r.matchesName(k.name) })
}

// Empty reports whether the policy permits nothing.
func (p *Policy) Empty() bool { return len(p.rules) == 0 }
