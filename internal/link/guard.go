package link

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// guard knows which addresses frames may leave with.
type guard struct {
	address tcpip.LinkAddress
	ip      map[netip.Addr]bool
}

func newGuard(c *Config) *guard {
	if c.Guard == nil {
		return nil
	}
	g := &guard{address: c.Address, ip: map[netip.Addr]bool{netip.IPv4Unspecified(): true, netip.IPv6Unspecified(): true}}
	for _, a := range c.Guard {
		g.ip[a] = true
	}
	return g
}

// guarded is as much of a frame as is looked at: up to the target of a neighbour
// advertisement.
const guarded = header.EthernetMinimumSize + header.IPv6MinimumSize + header.ICMPv6NeighborAdvertMinimumSize

// permits reports whether a frame leaves with the interface's own addresses. What
// is neither ARP nor IP does not leave.
func (g *guard) permits(pkt *stack.PacketBuffer) bool {
	var space [guarded]byte
	views, offset := pkt.AsViewList()
	b := space[:0]
	for v := views.Front(); v != nil && len(b) < guarded; v = v.Next() {
		s := v.AsSlice()
		skip := min(offset, len(s))
		offset -= skip
		b = append(b, s[skip:skip+min(len(s)-skip, guarded-len(b))]...)
	}
	if extended(b) {
		whole := pkt.ToView()
		defer whole.Release()
		b = whole.AsSlice()
	}
	return g.permitsFrame(b)
}

// extended reports whether a frame has extension headers of IPv6, behind which ICMP may be.
func extended(b []byte) bool {
	if len(b) < header.EthernetMinimumSize+header.IPv6MinimumSize || header.Ethernet(b).Type() != header.IPv6ProtocolNumber {
		return false
	}
	return isExtension(header.IPv6(b[header.EthernetMinimumSize:]).NextHeader())
}

// isExtension reports whether a header is one that neighbours read past. They take no part in this from fragments (RFC 6980).
func isExtension(kind uint8) bool {
	return kind == unix.IPPROTO_HOPOPTS || kind == unix.IPPROTO_ROUTING || kind == unix.IPPROTO_DSTOPTS
}

// permitsFrame is permits of the frame's first bytes.
func (g *guard) permitsFrame(b []byte) bool {
	if len(b) < header.EthernetMinimumSize {
		return false
	}
	e := header.Ethernet(b)
	if e.SourceAddress() != g.address {
		return false
	}
	b = b[header.EthernetMinimumSize:]
	switch e.Type() {
	case header.ARPProtocolNumber:
		a := header.ARP(b)
		return a.IsValid() && tcpip.LinkAddress(a.HardwareAddressSender()) == g.address && g.owns(a.ProtocolAddressSender())
	case header.IPv4ProtocolNumber:
		return len(b) >= header.IPv4MinimumSize && g.owns(header.IPv4(b).SourceAddressSlice())
	case header.IPv6ProtocolNumber:
		return len(b) >= header.IPv6MinimumSize && g.owns(header.IPv6(b).SourceAddressSlice()) && g.permitsNeighbour(header.IPv6(b))
	}
	return false
}

// owns reports whether an address is the interface's own, or none, or one that
// means something on the link only (RFC 4291, 2.5.6).
func (g *guard) owns(address []byte) bool {
	a, _ := netip.AddrFromSlice(address)
	return g.ip[a] || a.Is6() && a.IsLinkLocalUnicast()
}

// permitsNeighbour reports whether a packet claims no neighbour's address and does
// not pose as a router (RFC 4861, 4.2 and 4.4).
func (g *guard) permitsNeighbour(h header.IPv6) bool {
	kind, rest := h.NextHeader(), h[header.IPv6MinimumSize:]
	for isExtension(kind) {
		if len(rest) < 2 || len(rest) < (int(rest[1])+1)*8 {
			return true // nobody gets further
		}
		kind, rest = rest[0], rest[(int(rest[1])+1)*8:]
	}
	if kind != uint8(header.ICMPv6ProtocolNumber) {
		return true
	}
	icmp := header.ICMPv6(rest)
	if len(icmp) < header.ICMPv6MinimumSize {
		return true
	}
	switch icmp.Type() {
	case header.ICMPv6RouterAdvert, header.ICMPv6RedirectMsg:
		return false
	case header.ICMPv6NeighborAdvert:
		advert := header.NDPNeighborAdvert(icmp.MessageBody())
		if len(advert) < header.NDPNAMinimumSize {
			return false
		}
		target := advert.TargetAddress()
		return g.owns(target.AsSlice())
	}
	return true
}
