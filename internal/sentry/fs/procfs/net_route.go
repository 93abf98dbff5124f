package procfs

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// RTF_* of linux/route.h and linux/ipv6_route.h, which these tables show.
const (
	rtfUp      = 0x1
	rtfGateway = 0x2
	rtfHost    = 0x4
	rtfReject  = 0x200
	rtfLocal   = 0x80000000
	rtfNoNext  = 0x200000
)

const routeWidth = 127

func netRoute(v netView, b []byte) []byte {
	names := linkNames(v.IP)
	b = append(b, padded("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", routeWidth)...)
	for _, r := range v.IP.Routes() {
		if !r.Destination.Addr().Is4() || r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		if len(r.Hops) > 0 {
			r.Link, r.Gateway = r.Hops[0].Link, r.Hops[0].Gateway // as Linux shows them
		}
		flags := rtfUp
		if r.Gateway.IsValid() {
			flags |= rtfGateway
		}
		if r.Gateway.Is6() {
			r.Gateway = netip.IPv4Unspecified()
		}
		if r.Destination.Bits() == 32 {
			flags |= rtfHost
		}
		name := names[r.Link]
		if r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT {
			flags |= rtfReject
		}
		if name == "" {
			name = "*"
		}
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-r.Destination.Bits()))
		start := len(b)
		b = fmt.Appendf(b, "%s\t%s\t%s\t%04X\t%d\t%d\t%d\t%s\t%d\t%d\t%d", name, hexAddr(r.Destination.Addr(), false),
			hexAddr(r.Gateway, false), flags, 0, 0, r.Metric, hexAddr(netip.AddrFrom4(mask), false), r.MTU, 0, 0)
		b = appendPadded(b, start, routeWidth)
	}
	return b
}

func netRoute6(v netView, b []byte) []byte {
	names := linkNames(v.IP)
	for _, r := range v.IP.Routes() {
		if !r.Destination.Addr().Is6() {
			continue
		}
		hops := r.Hops
		if len(hops) == 0 {
			hops = []network.NextHop{{Gateway: r.Gateway, Link: r.Link}}
		}
		for _, h := range hops {
			b = appendRoute6(b, &r, h, names)
		}
	}
	return b
}

// appendRoute6 is a line of it.
func appendRoute6(b []byte, r *network.RouteInfo, h network.NextHop, names map[int32]string) []byte {
	flags := uint32(rtfUp)
	if h.Gateway.IsValid() {
		flags |= rtfGateway
	}
	if r.Destination.Bits() == 128 && r.Table == unix.RT_TABLE_MAIN {
		flags |= rtfHost
	}
	name := names[h.Link]
	switch r.Type {
	case unix.RTN_LOCAL:
		flags |= rtfLocal | rtfNoNext
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE, unix.RTN_THROW:
		flags, name = rtfReject|rtfNoNext, "lo"
	}
	gateway := netip.IPv6Unspecified()
	if h.Gateway.IsValid() {
		gateway = h.Gateway
	}
	return fmt.Appendf(b, "%032x %02x %032x %02x %032x %08x %08x %08x %08x %8s\n", r.Destination.Addr().As16(), r.Destination.Bits(),
		[16]byte{}, 0, gateway.As16(), r.Metric, 1, 0, flags, name)
}

// netFibTrie shows what is routed where, without the shape of a tree that there is none of:
// programs look for the addresses that are the host's own.
func netFibTrie(v netView, b []byte) []byte {
	for _, table := range []string{"Main", "Local"} {
		b = append(b, table+":\n  +-- 0.0.0.0/0 1 0 0\n"...)
		for _, r := range v.IP.Routes() {
			if r.Destination.Addr().Is4() {
				b = fmt.Appendf(b, "     |-- %s\n        /%d %s %s\n", r.Destination.Addr(), r.Destination.Bits(), scopeName(r.Scope), typeName(r.Type))
			}
		}
	}
	return b
}

func scopeName(scope uint8) string {
	switch scope {
	case unix.RT_SCOPE_UNIVERSE:
		return "universe"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	}
	return "nowhere"
}

func typeName(typ uint8) string {
	switch typ {
	case unix.RTN_LOCAL:
		return "LOCAL"
	case unix.RTN_BROADCAST:
		return "BROADCAST"
	case unix.RTN_BLACKHOLE:
		return "BLACKHOLE"
	case unix.RTN_UNREACHABLE:
		return "UNREACHABLE"
	case unix.RTN_PROHIBIT:
		return "PROHIBIT"
	}
	return "UNICAST"
}
