package procfs

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// netEntries are the files of /proc/PID/net: what the process's network namespace has.
var netEntries = []taskEntry{
	{name: "dev", perm: 0o444, read: ofNetwork(netDev)},
	{name: "dev_mcast", perm: 0o444, read: ofNetwork(netDevMcast)},
	{name: "unix", perm: 0o444, read: ofNetwork(netUnix)},
	{name: "tcp", perm: 0o444, read: ofNetwork(netTCP)},
	{name: "tcp6", perm: 0o444, read: ofNetwork(netTCP6)},
	{name: "udp", perm: 0o444, read: ofNetwork(netUDP)},
	{name: "udp6", perm: 0o444, read: ofNetwork(netUDP6)},
	{name: "udplite", perm: 0o444, read: text(padded(datagramHead, datagramWidth))},
	{name: "udplite6", perm: 0o444, read: text(datagramHead6 + "\n")},
	{name: "raw", perm: 0o444, read: ofNetwork(netRaw)},
	{name: "raw6", perm: 0o444, read: ofNetwork(netRaw6)},
	{name: "icmp", perm: 0o444, read: ofNetwork(netICMP)},
	{name: "icmp6", perm: 0o444, read: ofNetwork(netICMP6)},
	{name: "packet", perm: 0o444, read: ofNetwork(netPacket)},
	{name: "netlink", perm: 0o444, read: ofNetwork(netNetlink)},
	{name: "route", perm: 0o444, read: ofNetwork(netRoute)},
	{name: "ipv6_route", perm: 0o444, read: ofNetwork(netRoute6)},
	{name: "fib_trie", perm: 0o444, read: ofNetwork(netFibTrie)},
	{name: "if_inet6", perm: 0o444, read: ofNetwork(netIfInet6)},
	{name: "arp", perm: 0o444, read: ofNetwork(netARP)},
	{name: "igmp", perm: 0o444, read: ofNetwork(netIGMP)},
	{name: "igmp6", perm: 0o444, read: ofNetwork(netIGMP6)},
	{name: "snmp", perm: 0o444, read: ofNetwork(netSNMP)},
	{name: "snmp6", perm: 0o444, read: ofNetwork(netSNMP6)},
	{name: "netstat", perm: 0o444, read: ofNetwork(netNetstat)},
	{name: "sockstat", perm: 0o444, read: ofNetwork(netSockstat)},
	{name: "sockstat6", perm: 0o444, read: ofNetwork(netSockstat6)},
	{name: "protocols", perm: 0o444, read: ofNetwork(netProtocols)},
	{name: "psched", perm: 0o444, read: text("000003e8 00000040 000f4240 3b9aca00\n")},
}

func newNetDir(d *taskDir, ino uint64) vfs.Inode { return &staticDir{d.sub(ino, 0o555), netEntries} }

// netView is a network namespace as a reader sees it.
type netView struct {
	*kernel.NetworkNamespace
	caller vfs.Caller
}

// uid is a user as the reader's user namespace numbers it.
func (v netView) uid(id uint32) uint32 {
	if v.caller == nil {
		return id
	}
	return v.caller.Credentials().UserNS.FromUID(id)
}

// ofNetwork makes a file's content of what writes a view of the network.
func ofNetwork(write func(v netView, b []byte) []byte) content {
	return func(s subject, c vfs.Caller, b []byte) ([]byte, error) {
		t, err := s.task()
		if err != nil {
			return nil, err
		}
		n := t.NamespacesOf()
		if n == nil {
			return nil, unix.EINVAL
		}
		return write(netView{n.Net, c}, b), nil
	}
}

// padded is a line that is filled with spaces, as some tables have them.
func padded(line string, width int) string { return fmt.Sprintf("%-*s\n", width, line) }

// appendPadded ends the line that begins at start.
func appendPadded(b []byte, start, width int) []byte {
	for len(b)-start < width {
		b = append(b, ' ')
	}
	return append(b, '\n')
}

// hexAddr is an address as these tables have it: words of four bytes, each as a number
// of a little-endian machine. What is not valid is the unspecified address.
func hexAddr(a netip.Addr, is6 bool) string {
	if !is6 {
		var raw [4]byte
		if a = a.Unmap(); a.Is4() {
			raw = a.As4()
		}
		return fmt.Sprintf("%08X", binary.LittleEndian.Uint32(raw[:]))
	}
	var raw [16]byte
	if a.IsValid() {
		raw = a.As16()
	}
	out := make([]byte, 0, 32)
	for i := 0; i < 16; i += 4 {
		out = fmt.Appendf(out, "%08X", binary.LittleEndian.Uint32(raw[i:]))
	}
	return string(out)
}
