package egress

import (
	"net/netip"
	"slices"
)

// Static is a rule without a name, for those who enforce rules by other means than an
// Engine: packet filters.
type Static struct {
	// Prefix is what the rule permits; an invalid one is "*", all addresses.
	Prefix netip.Prefix
	// Ports are those that are permitted; none are all of TCP and UDP, and ICMP's echo.
	Ports []PortRange
}

// PortRange is ports of a protocol, from First to Last. ICMP has none, and both are 0.
type PortRange struct {
	Protocol    Protocol
	First, Last uint16
}

// Statics returns the rules without names, in their order.
func (p *Policy) Statics() []Static {
	var list []Static
	for i := range p.rules {
		r := &p.rules[i]
		if r.byName() {
			continue
		}
		s := Static{Prefix: r.prefix}
		for _, q := range r.ports {
			s.Ports = append(s.Ports, PortRange{q.protocol, q.first, q.last})
		}
		list = append(list, s)
	}
	return list
}

// Named returns the first rule by name as a user would write it; empty if there is none.
func (p *Policy) Named() string {
	i := slices.IndexFunc(p.rules, func(r Rule) bool { return r.byName() })
	if i < 0 {
		return ""
	}
	return p.rules[i].String()
}
