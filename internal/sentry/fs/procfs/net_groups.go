package procfs

import (
	"fmt"
	"net/netip"
)

func netDevMcast(v netView, b []byte) []byte {
	for _, g := range v.IP.Groups() {
		if h, ok := g.HardwareAddr(); ok {
			b = fmt.Appendf(b, "%-4d %-15s %-5d %-5d %012x\n", g.Link, g.LinkName, g.Users, 0, h)
		}
	}
	return b
}

func netIGMP(v netView, b []byte) []byte {
	b = append(b, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"...)
	groups := v.IP.Groups()
	for _, l := range v.IP.Links() {
		var rows []byte
		count := 0
		for _, g := range groups {
			if g.Link == l.Index && g.Address.Is4() {
				count++
				rows = fmt.Appendf(rows, "\t\t\t\t%s %5d 0:00000000\t\t0\n", hexAddr(g.Address, false), g.Users)
			}
		}
		if count > 0 {
			b = fmt.Appendf(b, "%d\t%-10s: %5d %7s\n", l.Index, l.Name, count, "V3")
			b = append(b, rows...)
		}
	}
	return b
}

func netIGMP6(v netView, b []byte) []byte {
	allNodes := netip.MustParseAddr("ff02::1")
	for _, g := range v.IP.Groups() {
		if g.Address.Is4() {
			continue
		}
		const reported, ownWill = 0x4, 0x8 // MAF_LAST_REPORTER, MAF_LOADED
		flags := reported
		if g.Address == allNodes {
			flags |= ownWill
		}
		b = fmt.Appendf(b, "%-4d %-15s %032x %5d %08X 0\n", g.Link, g.LinkName, g.Address.As16(), g.Users, flags)
	}
	return b
}
