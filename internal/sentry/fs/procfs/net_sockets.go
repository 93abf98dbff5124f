package procfs

import (
	"fmt"
	"strings"

	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// The heads of the tables of sockets, and how wide the padded ones are.
const (
	tcpHead       = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	tcpHead6      = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	datagramHead  = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
	datagramHead6 = tcpHead6 + " ref pointer drops"
	tcpWidth      = 149
	datagramWidth = 127
)

// noPointer is the address of a socket that the tables have, which nobody is told.
const noPointer = "0000000000000000"

// of are the sockets of a family, type and protocol, in the order of their inodes.
func (v netView) of(family, typ, protocol int32) []socket.Info {
	return v.Sockets.List(func(i *socket.Info) bool {
		return i.Family == family && i.Type == typ && (protocol < 0 || i.Protocol == protocol)
	})
}

// socketRow appends what the rows of all the tables have in common, up to the inode.
// slot is wide digits.
func (v netView) socketRow(b []byte, wide, slot int, i *socket.Info) []byte {
	is6 := i.Family == unix.AF_INET6
	return fmt.Appendf(b, "%*d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d",
		wide, slot, hexAddr(i.Local.Addr(), is6), i.Local.Port(), hexAddr(i.Peer.Addr(), is6), i.Peer.Port(),
		i.State, i.SendQueue, i.ReceiveQueue, 0, 0, 0, v.uid(i.UID), 0, i.Inode)
}

func netTCP(v netView, b []byte) []byte {
	b = append(b, padded(tcpHead, tcpWidth)...)
	return v.tcpRows(b, unix.AF_INET, tcpWidth)
}

func netTCP6(v netView, b []byte) []byte {
	b = append(b, tcpHead6+"\n"...)
	return v.tcpRows(b, unix.AF_INET6, 0)
}

const tcpListen = 10

func (v netView) tcpRows(b []byte, family int32, width int) []byte {
	for slot, i := range v.of(family, unix.SOCK_STREAM, unix.IPPROTO_TCP) {
		if i.State == 0 || i.State == tcpClose {
			continue // neither bound to listen nor connected: in no table of Linux's
		}
		start := len(b)
		if i.State == tcpListen {
			i.SendQueue = 0 // what of the backlog is left is sock_diag(7)'s to tell
		}
		b = v.socketRow(b, 4, slot, &i)
		if i.State == tcpListen {
			b = append(b, " 1 "+noPointer+" 100 0 0 10 0"...)
		} else {
			b = append(b, " 1 "+noPointer+" 20 4 30 10 -1"...)
		}
		b = appendPadded(b, start, width)
	}
	return b
}

// tcpClose is the state of a socket without a connection.
const tcpClose = 7

func netUDP(v netView, b []byte) []byte {
	b = append(b, padded(datagramHead, datagramWidth)...)
	return v.datagramRows(b, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP, 5, datagramWidth)
}

func netUDP6(v netView, b []byte) []byte {
	b = append(b, datagramHead6+"\n"...)
	return v.datagramRows(b, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP, 5, 0)
}

func netICMP(v netView, b []byte) []byte {
	b = append(b, padded(tcpHead+" ref pointer drops", datagramWidth)...)
	return v.datagramRows(b, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, 5, datagramWidth)
}

func netICMP6(v netView, b []byte) []byte {
	b = append(b, datagramHead6+"\n"...)
	return v.datagramRows(b, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6, 5, 0)
}

func netRaw(v netView, b []byte) []byte {
	b = append(b, tcpHead+" ref pointer drops\n"...)
	return v.datagramRows(b, unix.AF_INET, unix.SOCK_RAW, -1, 4, 0)
}

func netRaw6(v netView, b []byte) []byte {
	b = append(b, datagramHead6+"\n"...)
	return v.datagramRows(b, unix.AF_INET6, unix.SOCK_RAW, -1, 5, 0)
}

func (v netView) datagramRows(b []byte, family, typ, protocol int32, wide, width int) []byte {
	for slot, i := range v.of(family, typ, protocol) {
		if typ == unix.SOCK_DGRAM && i.Local.Port() == 0 {
			continue // in no table before it has a port
		}
		start := len(b)
		b = v.socketRow(b, wide, slot, &i)
		b = fmt.Appendf(b, " 2 %s %d", noPointer, i.Drops)
		b = appendPadded(b, start, width)
	}
	return b
}

func netPacket(v netView, b []byte) []byte {
	b = append(b, "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"...)
	for _, i := range v.Sockets.List(func(i *socket.Info) bool { return i.Family == unix.AF_PACKET }) {
		running := 0
		if i.Running {
			running = 1
		}
		b = fmt.Appendf(b, "%s %-6d %-4d %04x   %-5d %1d %-6d %-6d %-6d\n",
			noPointer, 3, i.Type, i.EtherType, i.Device, running, i.ReceiveQueue, v.uid(i.UID), i.Inode)
	}
	return b
}

func netNetlink(v netView, b []byte) []byte {
	b = append(b, "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"...)
	for _, i := range v.Sockets.List(func(i *socket.Info) bool { return i.Family == unix.AF_NETLINK }) {
		b = fmt.Appendf(b, "%s %-3d %-10d %08x %-8d %-8d %-5d %-8d %-8d %-8d\n",
			noPointer, i.Protocol, i.PortID, i.Groups, i.ReceiveQueue, i.SendQueue, 0, 2, i.Drops, i.Inode)
	}
	return b
}

func netUnix(v netView, b []byte) []byte {
	b = append(b, "Num       RefCount Protocol Flags    Type St Inode Path\n"...)
	for _, i := range v.Unix.Sockets() {
		flags := 0
		if i.Listening {
			flags = 0x10000 // __SO_ACCEPTCON
		}
		b = fmt.Appendf(b, "%s: %08X %08X %08X %04X %02X %5d", noPointer, 2, 0, flags, i.Type, i.State, i.Ino)
		if i.Name != "" {
			b = append(b, " "+strings.ReplaceAll(i.Name, "\x00", "@")...)
		}
		b = append(b, '\n')
	}
	return b
}

// counts are the numbers of sockets by what they are.
type counts struct{ all, orphans, tcp, tcp6, udp, udp6, raw, raw6, ping, ping6, packet, netlink, unix int }

func (v netView) count() (n counts) {
	n.unix = len(v.Unix.Sockets())
	n.all = n.unix
	v.Sockets.List(func(i *socket.Info) bool {
		if i.Inode == 0 {
			n.orphans++
			return false
		}
		n.all++
		four := i.Family == unix.AF_INET
		pick := func(v4, v6 *int) {
			if four {
				*v4++
			} else {
				*v6++
			}
		}
		switch {
		case i.Family == unix.AF_PACKET:
			n.packet++
		case i.Family == unix.AF_NETLINK:
			n.netlink++
		case i.Type == unix.SOCK_STREAM:
			pick(&n.tcp, &n.tcp6)
		case i.Type == unix.SOCK_RAW:
			pick(&n.raw, &n.raw6)
		case i.Protocol == unix.IPPROTO_UDP:
			pick(&n.udp, &n.udp6)
		default:
			pick(&n.ping, &n.ping6)
		}
		return false
	})
	return n
}

func netSockstat(v netView, b []byte) []byte {
	n := v.count()
	return fmt.Appendf(b, "sockets: used %d\nTCP: inuse %d orphan 0 tw %d alloc %d mem 0\nUDP: inuse %d mem 0\nUDPLITE: inuse 0\nRAW: inuse %d\nFRAG: inuse 0 memory 0\n",
		n.all, n.tcp, n.orphans, n.tcp+n.tcp6, n.udp, n.raw)
}

func netSockstat6(v netView, b []byte) []byte {
	n := v.count()
	return fmt.Appendf(b, "TCP6: inuse %d\nUDP6: inuse %d\nUDPLITE6: inuse 0\nRAW6: inuse %d\nFRAG6: inuse 0 memory 0\n", n.tcp6, n.udp6, n.raw6)
}

func netProtocols(v netView, b []byte) []byte {
	n := v.count()
	b = append(b, "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n"...)
	for _, p := range []struct {
		name    string
		sockets int
	}{
		{"PACKET", n.packet}, {"PINGv6", n.ping6}, {"RAWv6", n.raw6}, {"UDPv6", n.udp6}, {"TCPv6", n.tcp6}, {"UNIX", n.unix},
		{"PING", n.ping}, {"RAW", n.raw}, {"UDP", n.udp}, {"TCP", n.tcp}, {"NETLINK", n.netlink},
	} {
		b = fmt.Appendf(b, "%-9s %4d %6d  %6d   %-3s %6d   %-3s  %-10s  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n\n",
			p.name, 1024, p.sockets, -1, "NI", 0, "no", "kernel")
	}
	return b
}
