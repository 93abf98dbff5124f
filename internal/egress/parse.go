package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// none is the policy without rules.
	none = "none"
	// maxRules and maxPorts bound what each new flow is compared with.
	maxRules = 1024
	maxPorts = 64
	maxText  = 64 << 10
)

// webPorts are where clients are expected to say, first and in the clear, whom they talk to:
// by TLS or by HTTP/1. A flow there that is permitted by name must.
var webPorts = map[uint16]bool{80: true, 443: true, 8080: true, 8443: true}

// Parse reads the rules of --egress:
//
//	policy      = "none" | item {"," item}
//	item        = rule | ports            ; ports add to those of the rule before
//	rule        = destination [":" ports | "/" protocol]
//	destination = "*" | name | "*." name | IPv4 ["/" bits] | "[" IPv6 "]" ["/" bits]
//	ports       = port ["-" port] ["/" protocol]
//	protocol    = "tcp" | "udp" | "icmp"  ; icmp has no ports
//
// White space is possible around items. A port without a protocol is TCP's. A destination
// without ports and protocol is permitted all of TCP, UDP and ICMP's echo. Case and a
// name's final dot do not matter.
//
// Errors say which rule is wrong, at which column (characters from 1), and why.
func Parse(s string) (*Policy, error) {
	if len(s) > maxText {
		return nil, fmt.Errorf("egress rules of %d bytes: %d are the most", len(s), maxText)
	}
	if strings.EqualFold(strings.TrimSpace(s), none) {
		return new(Policy), nil
	}
	p := new(Policy)
	for at, more := 0, true; more; {
		item := s[at:]
		if end := strings.IndexByte(item, ','); end >= 0 {
			item = item[:end]
		} else {
			more = false
		}
		text := strings.TrimSpace(item)
		start := at + strings.Index(item, text)
		at += len(item) + 1
		if err := p.parseItem(text); err != nil {
			number := len(p.rules)
			var in *itemError
			if !errors.As(err, &in) || !in.added {
				number++
			}
			if in != nil {
				start += in.at
			}
			return nil, fmt.Errorf("egress rule %d (%q), column %d: %w", number, shorten(text), utf8.RuneCountInString(s[:start])+1, err)
		}
	}
	return p, nil
}

// itemError is what is wrong at a place of an item.
type itemError struct {
	// at is in bytes from the item's start.
	at int
	// added says that the item adds ports to the rule before.
	added bool
	err   error
}

func (e *itemError) Error() string { return e.err.Error() }

func wrong(at int, format string, args ...any) error {
	return &itemError{at: at, err: fmt.Errorf(format, args...)}
}

func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (p *Policy) parseItem(s string) error {
	if s == "" {
		return wrong(0, "there is no rule here; 'none' alone permits nothing")
	}
	if strings.EqualFold(s, none) {
		return wrong(0, "'none' stands alone, without other rules")
	}
	if at := strings.IndexAny(s, " \t\n;"); at >= 0 {
		return wrong(at, "rules stand between commas")
	}
	if isPorts(s) {
		return p.addPorts(s)
	}
	if len(p.rules) == maxRules {
		return wrong(0, "there are more than %d rules", maxRules)
	}
	r, rest, err := parseDestination(s)
	if err != nil {
		return err
	}
	at := len(s) - len(rest)
	switch {
	case rest == "":
	case rest[0] == '/':
		proto, err := parseProtocol(rest[1:])
		if err != nil {
			return wrong(at+1, "%w", err)
		}
		r.ports = []ports{everyPort(proto)}
	case rest[0] == ':':
		one, err := parsePorts(rest[1:])
		if err != nil {
			return wrong(at+1, "%w", err)
		}
		r.ports = []ports{one}
	default:
		return wrong(at, "after the destination comes :PORT or /PROTOCOL, not %q", shorten(rest))
	}
	if err := r.checkPorts(); err != nil {
		return wrong(at, "%w", err)
	}
	p.rules = append(p.rules, r)
	return nil
}

// addPorts adds an item such as "443" or "53/udp" to the rule before.
func (p *Policy) addPorts(s string) error {
	if len(p.rules) == 0 {
		return wrong(0, "a port needs a destination before it, as in pypi.org:443")
	}
	r := &p.rules[len(p.rules)-1]
	failed := func(err error) error { return &itemError{added: true, err: err} }
	if len(r.ports) == 0 || r.ports[0] == everyPort(r.ports[0].protocol) {
		return failed(fmt.Errorf("a port after a rule without ports; write %s:%s", r.destination(), s))
	}
	if len(r.ports) == maxPorts {
		return failed(fmt.Errorf("%d ports of one rule are the most", maxPorts))
	}
	one, err := parsePorts(s)
	if err != nil {
		return failed(err)
	}
	r.ports = append(r.ports, one)
	if err := r.checkPorts(); err != nil {
		return failed(err)
	}
	return nil
}

// checkPorts refuses what could never be used: by name, QUIC is refused (Flow).
func (r *Rule) checkPorts() error {
	for _, p := range r.ports {
		if r.byName() && p.protocol == UDP && p.first == p.last && webPorts[p.first] {
			return fmt.Errorf("UDP port %d (QUIC) cannot be permitted by name, since the name in it is not checked; leave it out, and clients use TCP", p.first)
		}
	}
	return nil
}

// isPorts reports whether an item is meant as ports: digits and hyphens, and perhaps a protocol.
func isPorts(s string) bool {
	number, _, _ := strings.Cut(s, "/")
	return number != "" && strings.Trim(number, "0123456789-") == ""
}

func parsePorts(s string) (ports, error) {
	number, name, has := strings.Cut(s, "/")
	proto := TCP
	if has {
		var err error
		if proto, err = parseProtocol(name); err != nil {
			return ports{}, err
		}
		if proto == ICMP {
			return ports{}, errors.New("icmp has no ports; write DESTINATION/icmp")
		}
	}
	from, to, isRange := strings.Cut(number, "-")
	if !isRange {
		to = from
	}
	first, err := parsePort(from)
	if err != nil {
		return ports{}, err
	}
	last, err := parsePort(to)
	if err != nil {
		return ports{}, err
	}
	if last < first {
		return ports{}, fmt.Errorf("the range %d-%d ends before it begins", first, last)
	}
	if isRange && first == 1 && last == 65535 {
		return ports{}, fmt.Errorf("for all ports, write /%s without ports", proto)
	}
	return ports{proto, first, last}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", shorten(s))
	}
	return uint16(n), nil
}

func parseProtocol(s string) (Protocol, error) {
	for p := TCP; p <= ICMP; p++ {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is none of the protocols tcp, udp and icmp", shorten(s))
}

// parseDestination returns a rule without ports, and what follows the destination.
func parseDestination(s string) (Rule, string, error) {
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return Rule{}, "", wrong(0, "the bracket is not closed")
		}
		a, err := netip.ParseAddr(s[1:end])
		switch {
		case strings.Contains(s[:end], "/"):
			return Rule{}, "", wrong(1, "the length of a prefix stands behind the bracket, as in [2001:db8::]/32")
		case err != nil || !a.Is6():
			return Rule{}, "", wrong(1, "%q is no IPv6 address", shorten(s[1:end]))
		case a.Zone() != "":
			return Rule{}, "", wrong(1, "an address with a zone (%%%s) is not possible", a.Zone())
		case a.Is4In6():
			return Rule{}, "", wrong(1, "write the IPv4 address %s itself", a.Unmap())
		}
		return parsePrefix(a, s, end+1)
	}
	if scheme, _, is := strings.Cut(s, "://"); is {
		return Rule{}, "", wrong(0, "a destination is not a URL; leave %s:// and the path out", shorten(scheme))
	}
	end := strings.IndexAny(s, ":/")
	if end < 0 {
		end = len(s)
	}
	host := s[:end]
	if a, err := netip.ParseAddr(host); err == nil {
		return parsePrefix(a, s, end)
	}
	if strings.Count(s, ":") > 1 {
		return Rule{}, "", wrong(0, "an IPv6 address stands in brackets, as in [2001:db8::1]:443")
	}
	rest := s[end:]
	if host == "*" {
		return Rule{}, rest, nil
	}
	r := Rule{name: host}
	r.name, r.below = strings.CutPrefix(host, "*.")
	var err error
	if r.name, err = canonicalName(r.name); err != nil {
		return Rule{}, "", wrong(0, "%w", err)
	}
	if len(rest) > 1 && rest[0] == '/' && isPorts(rest[1:]) {
		return Rule{}, "", wrong(end, "only an address has the length of a prefix; a port follows a colon")
	}
	return r, rest, nil
}

// parsePrefix reads the length of a prefix, if there is one at s[at:].
func parsePrefix(a netip.Addr, s string, at int) (Rule, string, error) {
	rest := s[at:]
	bits := a.BitLen()
	if len(rest) > 1 && rest[0] == '/' && '0' <= rest[1] && rest[1] <= '9' {
		digits := rest[1:]
		if end := strings.IndexAny(digits, ":/"); end >= 0 {
			digits = digits[:end]
		}
		n, err := strconv.ParseUint(digits, 10, 8)
		if err != nil || int(n) > bits {
			return Rule{}, "", wrong(at+1, "%q is not the length of a prefix, 0 to %d", shorten(digits), bits)
		}
		bits = int(n)
		rest = rest[1+len(digits):]
	}
	p := netip.PrefixFrom(a, bits)
	if p != p.Masked() {
		return Rule{}, "", wrong(0, "%s has bits set beyond its first %d; write %s", a, bits, Rule{prefix: p.Masked()}.destination())
	}
	return Rule{prefix: p}, rest, nil
}
