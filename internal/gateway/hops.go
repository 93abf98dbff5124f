package gateway

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The gateway is a router to the sandbox: a datagram that may go one hop ends here, and
// others go on with one hop less. Where they end outside the host's kernel learns by
// ICMP, and the sandbox hears it from here, in the name of who said it: so traceroute
// works with UDP and echo requests. TCP's segments are the host's own.

// defaultHops is what programs that name no number send with (RFC 1700), and from which
// on the number is the host's.
const defaultHops = 64

// hopsOf is how many hops a datagram may still go beyond the gateway.
func hopsOf(pkt *stack.PacketBuffer) int {
	h := pkt.NetworkHeader().Slice()
	hops := 0
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		hops = int(header.IPv4(h).TTL())
	} else {
		hops = int(header.IPv6(h).HopLimit())
	}
	if hops >= defaultHops {
		return defaultHops
	}
	return max(hops-1, 0)
}

// hops is what a socket's datagrams go out with; 0 for what the host has.
type hops struct{ atomic.Int32 }

// limitHops has what is sent next go so many hops.
func (f *datagramFlow) limitHops(n int) {
	option := n
	if n == defaultHops {
		n, option = 0, -1 // the host's default
	}
	if int(f.hops.Swap(int32(n))) == n {
		return
	}
	f.outer.control(func(fd int) error {
		if f.flow.To.Addr().Is4() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, option)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, option)
	})
}

// tellExceeded tells the sandbox that a datagram has gone as many hops as it might. by is
// the router that says so; the gateway itself if it is invalid, or one that cannot be.
func (g *gateway) tellExceeded(f Flow, transport []byte, by netip.Addr) {
	if f.To.Addr().Is4() {
		if !by.Is4() || !outside(by) {
			by = Router4
		}
		g.tell4(f, transport, header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded, by)
		return
	}
	if !by.Is6() || !outside(by) {
		by = Router6
	}
	g.tell6(f, transport, header.ICMPv6TimeExceeded, header.ICMPv6HopLimitExceeded, by)
}

// tellErrors empties a socket's error queue, which takes from the room for what it
// receives, and tells the sandbox of datagrams that have gone too far. All else has been
// told as an error of a call. It reports whether there was nothing else.
func (g *gateway) tellErrors(f *datagramFlow) (all bool) {
	exceeded, others := 0, 0
	f.outer.control(func(fd int) error {
		var quoted [header.ICMPv4MinimumSize]byte
		var control [512]byte
		for {
			n, controlLen := 0, 0
			if _, err := ignoringInterrupts(func() (_ int, err error) {
				n, controlLen, _, _, err = unix.Recvmsg(fd, quoted[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
				return 0, err
			}); err != nil {
				return nil
			}
			by, ok := exceededBy(control[:controlLen])
			if !ok {
				others++
				continue
			}
			exceeded++
			h := quotedHeader(f.flow)
			if f.flow.Protocol != unix.IPPROTO_UDP && n >= header.ICMPv4MinimumSize {
				copy(h[6:8], quoted[6:8]) // which of the echo requests it was, its sequence number
			}
			g.tellExceeded(f.flow, h, by)
		}
	})
	return exceeded > 0 && others == 0
}

// exceededBy reads what came with an error (struct sock_extended_err of
// linux/errqueue.h, and the address of who told): ok if it says that a datagram has gone
// too far.
func exceededBy(control []byte) (by netip.Addr, ok bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return by, false
	}
	const size, origin, kind, code = 16, 4, 5, 6
	for _, m := range messages {
		d := m.Data
		switch {
		case len(d) < size:
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR &&
			d[origin] == unix.SO_EE_ORIGIN_ICMP && d[kind] == uint8(header.ICMPv4TimeExceeded) && d[code] == uint8(header.ICMPv4TTLExceeded):
			if at := d[size:]; len(at) >= unix.SizeofSockaddrInet4 && binary.NativeEndian.Uint16(at) == unix.AF_INET {
				by = netip.AddrFrom4([4]byte(at[4:]))
			}
			return by, true
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR &&
			d[origin] == unix.SO_EE_ORIGIN_ICMP6 && d[kind] == uint8(header.ICMPv6TimeExceeded) && d[code] == uint8(header.ICMPv6HopLimitExceeded):
			if at := d[size:]; len(at) >= unix.SizeofSockaddrInet6 && binary.NativeEndian.Uint16(at) == unix.AF_INET6 {
				by = netip.AddrFrom16([16]byte(at[8:]))
			}
			return by, true
		}
	}
	return by, false
}
