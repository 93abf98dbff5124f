package hostnet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Publish is a port of the host's that leads to one of the sandbox's.
type Publish struct {
	Protocol string // "tcp" or "udp"
	// Address is the host's address to listen on; unspecified is all of them.
	Address        netip.Addr
	HostPort, Port uint16
}

// rangeMost is how many ports a range has at most: each takes sockets or rules of its own.
const rangeMost = 4096

// ParsePublish reads [HOST:]PORTS[:PORTS][/tcp|/udp]: an address of the host's, of
// IPv6 in brackets, its port or range of ports (8000-8010), and the sandbox's, which are
// the same if left out. Without an address it is all of the host's.
func ParsePublish(s string) ([]Publish, error) {
	fail := func(format string, args ...any) ([]Publish, error) {
		return nil, fmt.Errorf("%q: %s; it is [HOST:]PORT[:PORT][/udp], for example 8080:80, 127.0.0.1:5353:53/udp or 8000-8010", s, fmt.Sprintf(format, args...))
	}
	rest, protocol, given := strings.Cut(s, "/")
	if !given {
		protocol = "tcp"
	}
	protocol = strings.ToLower(protocol) // as Docker takes it
	if protocol != "tcp" && protocol != "udp" {
		return fail("the protocol %q is neither tcp nor udp", protocol)
	}
	address := netip.IPv6Unspecified()
	var host string
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		if host, rest, ok = strings.Cut(inner, "]:"); !ok {
			return fail("after the address in brackets a colon and a port are missing")
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Is4In6() {
			return fail("%q is no IPv6 address", host)
		}
	} else if first, _, more := strings.Cut(rest, ":"); more && (strings.Contains(first, ".") || strings.Count(rest, ":") == 2) {
		host, rest = first, rest[len(first)+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			return fail("%q is no address of the host's (names are not looked up; an IPv6 address stands in brackets)", host)
		}
	} else if strings.Count(rest, ":") > 2 {
		return fail("there are too many colons (an IPv6 address stands in brackets)")
	}
	if host != "" {
		address, _ = netip.ParseAddr(host) // it has been tried
		if address.Zone() != "" {
			return fail("an address with a zone cannot be published on")
		}
		// Linux binds sockets to these, and leads no connection to them.
		if address.IsMulticast() {
			return fail("%s is the address of a multicast group, not one of the host's", host)
		}
		if address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return fail("%s is the address of broadcasts, not one of the host's", host)
		}
	}
	outside, inside, both := strings.Cut(rest, ":")
	first, count, err := parsePorts(outside)
	if err != nil {
		return fail("%v", err)
	}
	port := first
	if both {
		var more int
		if port, more, err = parsePorts(inside); err != nil {
			return fail("%v", err)
		}
		if more != count {
			return fail("%q and %q are not as many ports", outside, inside)
		}
	}
	list := make([]Publish, count)
	for i := range list {
		list[i] = Publish{Protocol: protocol, Address: address, HostPort: first + uint16(i), Port: port + uint16(i)}
	}
	return list, nil
}

// parsePorts reads a port, or the first and the last one of a range. It returns the first
// one, and how many there are.
func parsePorts(s string) (first uint16, count int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if first, err = parsePort(from); err != nil || !isRange {
		return first, 1, err
	}
	last, err := parsePort(to)
	if err != nil {
		return 0, 0, err
	}
	count = int(last) - int(first) + 1
	if count < 1 {
		return 0, 0, fmt.Errorf("the range %s ends before it begins", s)
	}
	if count > rangeMost {
		return 0, 0, fmt.Errorf("the range %s has %d ports, and %d are the most", s, count, rangeMost)
	}
	return first, count, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is no port: it is a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// String returns the form that ParsePublish reads.
func (p Publish) String() string {
	s := fmt.Sprintf("%d:%d", p.HostPort, p.Port)
	switch {
	case p.Address == netip.IPv6Unspecified():
	case p.Address.Is6():
		s = "[" + p.Address.String() + "]:" + s
	default:
		s = p.Address.String() + ":" + s
	}
	if p.Protocol != "tcp" {
		s += "/" + p.Protocol
	}
	return s
}

// overlaps reports whether two want the same port of the same address.
func (p Publish) overlaps(q Publish) bool {
	if p.Protocol != q.Protocol || p.HostPort != q.HostPort {
		return false
	}
	return p.Address == q.Address || p.covers(q.Address) || q.covers(p.Address)
}

// covers reports whether an address is among those that p listens on.
func (p Publish) covers(a netip.Addr) bool {
	return p.Address == netip.IPv6Unspecified() || p.Address.IsUnspecified() && p.Address.Is4() == a.Is4()
}
