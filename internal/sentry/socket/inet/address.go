package inet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The sizes of struct sockaddr_in and sockaddr_in6, and of the latter without the
// scope, which RFC 2133 did not have: it may be left out.
const (
	sizeofSockaddr4    = 16
	sizeofSockaddr6    = 28
	sizeofSockaddr6Old = 24
)

// family is the family of an address that has at least two bytes.
func family(addr []byte) int32 { return int32(binary.LittleEndian.Uint16(addr)) }

// address reads a struct sockaddr_in or sockaddr_in6. EINVAL if it is too short,
// EAFNOSUPPORT for another family.
func (s *Socket) address(addr []byte) (tcpip.FullAddress, error) {
	own, least := s.family.Load(), sizeofSockaddr4
	if own == unix.AF_INET6 {
		least = sizeofSockaddr6Old
	}
	switch {
	case len(addr) < least:
		return tcpip.FullAddress{}, unix.EINVAL
	case family(addr) != own:
		return tcpip.FullAddress{}, unix.EAFNOSUPPORT
	}
	return parse(addr), nil
}

// parse reads an address whose length and family are known to be right.
func parse(addr []byte) tcpip.FullAddress {
	full := tcpip.FullAddress{Port: binary.BigEndian.Uint16(addr[2:])}
	if family(addr) == unix.AF_INET {
		full.Addr = tcpip.AddrFrom4([4]byte(addr[4:8]))
		return full
	}
	ip := [16]byte(addr[8:24])
	full.Addr = tcpip.AddrFrom16(ip)
	if len(addr) >= sizeofSockaddr6 && hasScope(netip.AddrFrom16(ip)) {
		full.NIC = tcpip.NICID(binary.LittleEndian.Uint32(addr[24:]))
	}
	return full
}

// hasScope reports whether an address means something on one interface only.
func hasScope(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast()
}

// sockaddr lays an address out for a socket of the family. In AF_INET6, IPv4
// addresses are shown as mapped ones, in AF_INET none are.
func sockaddr(family int32, full tcpip.FullAddress) []byte {
	if family == unix.AF_INET {
		b := make([]byte, sizeofSockaddr4)
		binary.LittleEndian.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], full.Port)
		ip := addrPort(family, full).Addr().As4()
		copy(b[4:8], ip[:])
		return b
	}
	b := make([]byte, sizeofSockaddr6)
	binary.LittleEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], full.Port)
	ip := addrPort(family, full).Addr()
	copy(b[8:24], ip.AsSlice())
	if hasScope(ip) {
		binary.LittleEndian.PutUint32(b[24:], uint32(full.NIC))
	}
	return b
}

// addrPort is an address as net/netip has it, in a family as sockaddr's.
func addrPort(family int32, full tcpip.FullAddress) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(full.Addr.AsSlice())
	switch {
	case family == unix.AF_INET:
		if ip = ip.Unmap(); !ip.Is4() {
			ip = netip.IPv4Unspecified()
		}
	case family == unix.AF_INET6 && !ip.IsValid():
		ip = netip.IPv6Unspecified()
	case family == unix.AF_INET6 && ip.Is4():
		ip = netip.AddrFrom16(ip.As16())
	}
	return netip.AddrPortFrom(ip, full.Port)
}

// wildcard reports whether the stack is to be given no address at all, which is its
// way of saying any. A mapped 0.0.0.0 is not: it stands for IPv4 alone.
func wildcard(a tcpip.Address) bool { return a.Unspecified() }

// unmapped is an address for a policy, to whom a mapped IPv4 address is IPv4's.
func unmapped(family int32, full tcpip.FullAddress) netip.AddrPort {
	a := addrPort(family, full)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// destination reads the address that a datagram goes to. AF_UNSPEC stands for
// AF_INET in sockets of that family, and those of AF_INET6 take AF_INET too.
func (s *Socket) destination(addr []byte) (tcpip.FullAddress, error) {
	if len(addr) < 2 {
		return tcpip.FullAddress{}, unix.EINVAL
	}
	switch f := family(addr); {
	case s.family.Load() == unix.AF_INET && f == unix.AF_UNSPEC && len(addr) >= sizeofSockaddr4:
		addr = append([]byte{unix.AF_INET, 0}, addr[2:]...)
	case s.family.Load() == unix.AF_INET6 && f == unix.AF_INET:
		if len(addr) < sizeofSockaddr4 {
			return tcpip.FullAddress{}, unix.EINVAL
		}
		return parse(addr), nil
	}
	return s.address(addr)
}

// v6Only reports whether IPV6_V6ONLY rules an address out: a mapped one, or IPv4's.
func (s *Socket) v6Only(full tcpip.FullAddress) bool {
	return s.family.Load() == unix.AF_INET6 && s.ep.Load().SocketOptions().GetV6Only() &&
		(full.Addr.Len() == header.IPv4AddressSize || header.IsV4MappedAddress(full.Addr))
}
