package hostnet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// choose gives a record addresses of a network that nobody else has. The IPv6 one ends
// in the IPv4 one's number within its network.
func (s *state) choose(net *Network, r *record) error {
	taken := map[netip.Addr]bool{net.Gateway: true}
	highest := net.Subnet.Addr()
	for _, other := range s.live {
		if other.Network != net.Name {
			continue
		}
		a := other.address(true)
		taken[a] = true
		if a.IsValid() && highest.Less(a) {
			highest = a
		}
	}
	// Addresses after the highest come first, so that one that has just become free is
	// not soon another sandbox's.
	end := last(net.Subnet)
	for _, from := range []netip.Addr{highest, net.Subnet.Addr()} {
		for a := from.Next(); a.Less(end); a = a.Next() {
			if !taken[a] {
				r.Addresses, r.Gateways = []netip.Prefix{netip.PrefixFrom(a, net.Subnet.Bits())}, []netip.Addr{net.Gateway}
				if net.Subnet6.IsValid() {
					r.Addresses = append(r.Addresses, netip.PrefixFrom(net.sibling(a), net.Subnet6.Bits()))
					r.Gateways = append(r.Gateways, net.Gateway6)
				}
				r.Hardware = hardware(a)
				return nil
			}
		}
	}
	return fmt.Errorf("all addresses of network %s, %s, are in use: end a sandbox, or make a larger network with 'coffer network create --subnet'", net.Name, net.Subnet)
}

// sibling is the IPv6 address that goes with an IPv4 one.
func (n *Network) sibling(a netip.Addr) netip.Addr {
	number := binary.BigEndian.Uint32(a.AsSlice()) - binary.BigEndian.Uint32(n.Subnet.Addr().AsSlice())
	b := n.Subnet6.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], number)
	if sibling := netip.AddrFrom16(b); sibling != n.Gateway6 {
		return sibling
	}
	b[11] = 1 // the gateway's number is another one in IPv4
	return netip.AddrFrom16(b)
}

// hardware is the Ethernet address that goes with an IPv4 one: a neighbour that
// remembers it is right, whoever has the address next.
func hardware(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("02:c0:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// ownLinkLocal is the IPv6 address that an interface gives itself: fe80:: and its Ethernet
// address (RFC 4291, appendix A).
func ownLinkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
