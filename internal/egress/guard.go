package egress

import (
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
// host's own addresses, for those who enforce rules by other means than an Engine.
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
func guardOf(a netip.Addr, host []netip.Prefix) (narrowest guard, found bool) {
	consider := func(g guard) {
		if g.prefix.Contains(a) && (!found || g.prefix.Bits() > narrowest.prefix.Bits()) {
			narrowest, found = g, true
		}
	}
	for _, g := range guards {
		consider(g)
	}
	for _, own := range host {
		consider(guard{netip.PrefixFrom(own.Addr(), a.BitLen()), "an address of the host's own"})
		if b, ok := broadcast(own); ok {
			consider(guard{netip.PrefixFrom(b, 32), "a broadcast address of the host's network"})
		}
	}
	for _, t := range translations {
		if !t.Contains(a) {
			continue
		}
		if g, ok := guardOf(behind(a, t), host); ok {
			// The same range, as it looks translated.
			p, _ := a.Prefix(t.Bits() + g.prefix.Bits())
			consider(guard{p, g.what + " (translated to IPv6)"})
		}
	}
	return narrowest, found
}

// behind is the IPv4 address behind one of a translation.
func behind(a netip.Addr, translation netip.Prefix) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[translation.Bits()/8:]))
}

// HoldsSecrets reports whether an address, or one that it is translated to, is link-local or of
// a cloud's metadata service: even who may reach everything needs a rule for these.
func HoldsSecrets(a netip.Addr) bool {
	for _, g := range guards {
		if (g.what == linkLocal || g.what == metadata) && g.prefix.Contains(a) {
			return true
		}
	}
	for _, t := range translations {
		if t.Contains(a) && HoldsSecrets(behind(a, t)) {
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
