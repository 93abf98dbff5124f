package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
)

// Host is a line of /etc/hosts.
type Host struct {
	Name    string
	Address netip.Addr
}

// ParseHost reads NAME:ADDRESS, where an IPv6 address may stand in brackets.
func ParseHost(s string) (Host, error) {
	name, address, ok := strings.Cut(s, ":")
	if !ok {
		return Host{}, fmt.Errorf("%q has no colon: it is NAME:ADDRESS, for example db:10.0.0.5", s)
	}
	if err := checkHostname(name); err != nil {
		return Host{}, err
	}
	if inner, ok := strings.CutPrefix(address, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return Host{}, fmt.Errorf("%q is no address: it is NAME:ADDRESS, for example db:10.0.0.5", address)
	}
	return Host{Name: name, Address: a}, nil
}

// checkHostname says what is wrong with a name as RFC 1123 has them; underscores
// are in use too.
func checkHostname(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if len(name) > 253 {
		return fmt.Errorf("a name of %d characters is too long: 253 are possible", len(name))
	}
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, letters) != "" {
			return fmt.Errorf("%q is no host name: its parts have 1 to 63 letters, digits and hyphens, between dots", name)
		}
	}
	return nil
}

// CheckSearch says what is wrong with a domain of --dns-search; "." is none.
func CheckSearch(domain string) error {
	if domain == "." {
		return nil
	}
	return checkHostname(domain)
}

// resolvConf is a resolv.conf(5).
func resolvConf(servers []netip.Addr, search []string) []byte {
	var b strings.Builder
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	return []byte(b.String())
}

// neighboursFirst is the line of a resolv.conf(5) that has names without a dot looked up
// as they are before the search list is tried: db is the sandbox db, though the search
// list may have a db of its own.
const neighboursFirst = "options ndots:0\n"

// own are the lines for what the sandbox itself is called.
func own(name string, addresses ...netip.Prefix) (list []Host) {
	for _, p := range addresses {
		list = append(list, Host{name, p.Addr()})
	}
	return list
}

// hostsFile is a hosts(5): the loopback names, what the sandbox itself is called, and
// more.
func hostsFile(own []Host, more []Host) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range append(own, more...) {
		fmt.Fprintf(&b, "%s\t%s\n", h.Address, h.Name)
	}
	return []byte(b.String())
}
