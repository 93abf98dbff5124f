package egress

import (
	"encoding/binary"
	"net/netip"
)

// guard is a range that only a rule for an address in it opens: neither "*", nor a wider
// prefix, nor a name that resolves there. Else whoever answers for a permitted name
// could point it at what the host trusts (DNS rebinding).
type guard struct {
	prefix netip.Prefix
	what   string
}

// guards are the ranges that never are a destination on the Internet (RFC 6890), and
// the addresses at which clouds tell their machines' secrets.
var guards = []guard{
	{netip.MustParsePrefix("0.0.0.0/8"), "the host itself"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/96"), "the host itself"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a local translation of IPv4 addresses"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo tunnel"}, // RFC 4380
	{netip.MustParsePrefix("fe80::/10"), linkLocal},
	{netip.MustParsePrefix("fec0::/10"), "a site-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},

	{netip.MustParsePrefix("169.254.169.254/32"), metadata}, // most clouds
	{netip.MustParsePrefix("169.254.170.2/32"), metadata},   // Amazon ECS
	{netip.MustParsePrefix("169.254.170.23/32"), metadata},  // Amazon EKS
	{netip.MustParsePrefix("100.100.100.200/32"), metadata}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},   // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},     // Oracle
	{netip.MustParsePrefix("fd00:ec2::254/128"), metadata},  // Amazon EC2
	{netip.MustParsePrefix("fd00:ec2::23/128"), metadata},   // Amazon EKS
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},   // Google
}

const (
	linkLocal = "a link-local address"
	metadata  = "a cloud's metadata service"
)

// translations are prefixes of IPv6 addresses that have an IPv4 address behind them, to
// which routers on the way, or the host itself, translate (RFC 6052, RFC 2765, RFC 3056).
var translations = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("::ffff:0:0:0/96"),
	netip.MustParsePrefix("2002::/16"),
}

// GuardedRanges are the ranges that only a rule for an address in them opens, beside the
// host's own addresses, for those who enforce rules by prefixes instead of with an Engine: these
// do not see where an ISATAP address leads.
func GuardedRanges() []netip.Prefix {
	var all []netip.Prefix
	for _, g := range guards {
		all = append(all, g.prefix)
		for _, t := range translations {
			if g.prefix.Addr().Is4() {
				b := t.Addr().As16()
				copy(b[t.Bits()/8:], g.prefix.Addr().AsSlice())
				all = append(all, netip.PrefixFrom(netip.AddrFrom16(b), t.Bits()+g.prefix.Bits()))
			}
		}
	}
	return all
}

// guardOf returns the narrowest guarded range that has an address, if any.
func guardOf(a netip.Addr, host []guard) (narrowest guard, found bool) {
	consider := func(g guard) {
		if g.prefix.Contains(a) && (!found || g.prefix.Bits() > narrowest.prefix.Bits()) {
			narrowest, found = g, true
		}
	}
	for _, g := range guards {
		consider(g)
	}
	for _, g := range host {
		consider(g)
	}
	for _, e := range embedded(a) {
		if g, ok := guardOf(e.address, host); ok {
			// The same range, as it looks within IPv6.
			p, _ := a.Prefix(e.bits + g.prefix.Bits())
			consider(guard{p, g.what + " (" + e.how + ")"})
		}
	}
	return narrowest, found
}

// hostGuards are the ranges that SetHost is told.
func hostGuards(addresses, local []netip.Prefix) (all []guard) {
	const own = "an address of the host's own"
	for _, p := range addresses {
		all = append(all, guard{netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), own})
		if b, ok := broadcast(p); ok {
			all = append(all, guard{netip.PrefixFrom(b, 32), "a broadcast address of the host's network"})
		}
	}
	for _, p := range local {
		all = append(all, guard{p.Masked(), own})
	}
	return all
}

// embedding is an IPv4 address to which packets for an IPv6 address go in the end, and
// which stands there after so many bits.
type embedding struct {
	address netip.Addr
	bits    int
	how     string
}

// embedded returns what IPv4 addresses an IPv6 address has within it, as routers on the way, or
// the host itself, would read them.
func embedded(a netip.Addr) (all []embedding) {
	if !a.Is6() {
		return nil
	}
	b := a.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i:])) }
	for _, t := range translations {
		if t.Contains(a) {
			all = append(all, embedding{at(t.Bits() / 8), t.Bits(), "translated to IPv6"})
		}
	}
	const teredo, isatap = 0x20010000, 0x00005efe
	if binary.BigEndian.Uint32(b[:]) == teredo {
		// The server's address, and the client's with all its bits turned over.
		client := binary.BigEndian.AppendUint32(nil, ^binary.BigEndian.Uint32(b[12:]))
		all = append(all, embedding{at(4), 32, "a Teredo server"},
			embedding{netip.AddrFrom4([4]byte(client)), 96, "behind a Teredo tunnel"})
	}
	// RFC 5214, section 6.1: with or without the bit that says that the address is unique.
	if binary.BigEndian.Uint32(b[8:])&^0x02000000 == isatap {
		all = append(all, embedding{at(12), 96, "behind an ISATAP tunnel"})
	}
	return all
}

// HoldsSecrets reports whether an address, or one that it is translated to, is link-local or of
// a cloud's metadata service: even who may reach everything needs a rule for these.
func HoldsSecrets(a netip.Addr) bool {
	for _, g := range guards {
		if (g.what == linkLocal || g.what == metadata) && g.prefix.Contains(a) {
			return true
		}
	}
	for _, e := range embedded(a) {
		if HoldsSecrets(e.address) {
			return true
		}
	}
	return false
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

// opens reports whether a rule by address names a guarded range or a part of it.
func (r *Rule) opens(g guard) bool {
	return r.prefix.IsValid() && r.prefix.Bits() >= g.prefix.Bits() && g.prefix.Contains(r.prefix.Addr())
}
