package procfs

import (
	"fmt"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

func netDev(v netView, b []byte) []byte {
	b = append(b, "Inter-|   Receive                                                |  Transmit\n"+
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"...)
	for _, l := range v.IP.Links() {
		s := &l.Statistics
		b = fmt.Appendf(b, "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n",
			l.Name, s.RxBytes, s.RxPackets, 0, s.RxDropped, 0, 0, 0, 0, s.TxBytes, s.TxPackets, 0, s.TxDropped, 0, 0, 0, 0)
	}
	return b
}

func netIfInet6(v netView, b []byte) []byte {
	names := linkNames(v.IP)
	for _, a := range v.IP.Addresses() {
		if a.Prefix.Addr().Is4() {
			continue
		}
		// The scopes of IPv6 have numbers of their own here.
		scope := 0
		switch a.Scope {
		case unix.RT_SCOPE_HOST:
			scope = 0x10
		case unix.RT_SCOPE_LINK:
			scope = 0x20
		}
		b = fmt.Appendf(b, "%032x %02x %02x %02x %02x %8s\n",
			a.Prefix.Addr().As16(), a.Link, a.Prefix.Bits(), scope, a.Flags&0xff, names[a.Link])
	}
	return b
}

func linkNames(n *network.Namespace) map[int32]string {
	names := map[int32]string{}
	for _, l := range n.Links() {
		names[l.Index] = l.Name
	}
	return names
}

func netARP(v netView, b []byte) []byte {
	const complete, permanent = 2, 4 // ATF_COM, ATF_PERM
	names := linkNames(v.IP)
	b = append(b, "IP address       HW type     Flags       HW address            Mask     Device\n"...)
	for _, n := range v.IP.Neighbours() {
		if !n.Address.Is4() {
			continue
		}
		flags := 0
		switch {
		case n.State&unix.NUD_PERMANENT != 0:
			flags = complete | permanent
		case n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED|unix.NUD_NOARP) == 0 && n.State != 0:
			flags = complete
		}
		h := n.HardwareAddr
		b = fmt.Appendf(b, "%-16s 0x%-10x0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n",
			n.Address, unix.ARPHRD_ETHER, flags, h[0], h[1], h[2], h[3], h[4], h[5], names[n.Link])
	}
	return b
}
