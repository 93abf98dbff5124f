package hostnet

import (
	"errors"
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

// ParsePublish reads [HOST:]PORT[:PORT][/tcp|/udp]: an address of the host's, of
// IPv6 in brackets, its port, and the sandbox's, which is the same if left out.
// Without an address it is all of the host's.
func ParsePublish(s string) (p Publish, err error) {
	fail := func(format string, args ...any) (Publish, error) {
		return Publish{}, fmt.Errorf("%q: %s; it is [HOST:]PORT[:PORT][/udp], for example 8080:80 or 127.0.0.1:5353:53/udp", s, fmt.Sprintf(format, args...))
	}
	rest, protocol, given := strings.Cut(s, "/")
	p.Protocol = "tcp"
	if given {
		p.Protocol = protocol
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return fail("the protocol %q is neither tcp nor udp", protocol)
	}
	p.Address = netip.IPv6Unspecified()
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
		p.Address, _ = netip.ParseAddr(host) // it has been tried
		if p.Address.Zone() != "" {
			return fail("an address with a zone cannot be published on")
		}
	}
	first, second, both := strings.Cut(rest, ":")
	if p.HostPort, err = parsePort(first); err != nil {
		return fail("%v", err)
	}
	p.Port = p.HostPort
	if both {
		if p.Port, err = parsePort(second); err != nil {
			return fail("%v", err)
		}
	}
	return p, nil
}

func parsePort(s string) (uint16, error) {
	if from, to, ok := strings.Cut(s, "-"); ok && isNumber(from) && isNumber(to) {
		return 0, errors.New("a range of ports is not possible: give --publish once for each port")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is no port: it is a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
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
