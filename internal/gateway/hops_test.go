package gateway

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	hop2    = "203.0.113.254"   // the router outside
	hop2v6  = "2001:db8:77::fe" // likewise
	beyond  = "198.18.0.1"      // what it leads to
	beyond6 = "2001:db8:99::1"  // likewise
)

// routerOutside makes a network namespace that forwards, and has this one send through it
// what is for beyond.
func routerOutside(t *testing.T) {
	t.Helper()
	type made struct {
		ns  *os.File
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, being of another namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err == nil {
				err = os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0)
			}
		}
		var ns *os.File
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out0"}, PeerName: "in0", PeerNamespace: netlink.NsFd(m.ns.Fd())}))
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(err)
	t.Cleanup(here.Close)
	there := handleIn(t, m.ns)
	for _, end := range []struct {
		handle   *netlink.Handle
		name     string
		at       []string
		gateways map[string]string
	}{
		{here, "out0", []string{"203.0.113.1/24", "2001:db8:77::1/64"}, map[string]string{"198.18.0.0/15": hop2, "2001:db8:99::/48": hop2v6}},
		{there, "in0", []string{hop2 + "/24", hop2v6 + "/64"}, map[string]string{"198.18.0.0/15": "203.0.113.77", "2001:db8:99::/48": "2001:db8:77::77"}},
	} {
		l, err := end.handle.LinkByName(end.name)
		must(err)
		must(end.handle.LinkSetUp(l))
		for _, a := range end.at {
			addr, err := netlink.ParseAddr(a)
			must(err)
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD
			}
			must(end.handle.AddrAdd(l, addr))
		}
		for to, via := range end.gateways {
			_, n, err := net.ParseCIDR(to)
			must(err)
			must(end.handle.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: n, Gw: net.ParseIP(via)}))
		}
	}
	t.Cleanup(func() {
		if l, err := here.LinkByName("out0"); err == nil {
			here.LinkDel(l)
		}
	})
}

// handleIn is a netlink socket of another network namespace.
func handleIn(t *testing.T, ns *os.File) *netlink.Handle {
	t.Helper()
	type made struct {
		h   *netlink.Handle
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		var h *netlink.Handle
		if err == nil {
			h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		}
		done <- made{h, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(m.h.Close)
	return m.h
}

// hopFrame is a datagram that may go so many hops.
func hopFrame(to string, protocol tcpip.TransportProtocolNumber, hops uint8) []byte {
	a := netip.MustParseAddr(to)
	from := Guest4.Addr()
	if a.Is6() {
		from = Guest6.Addr()
	}
	sum := header.PseudoHeaderChecksum(protocol, tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(a.AsSlice()), header.UDPMinimumSize)
	var transport []byte
	switch protocol {
	case header.UDPProtocolNumber:
		u := make(header.UDP, header.UDPMinimumSize)
		u.Encode(&header.UDPFields{SrcPort: 1000, DstPort: 33434, Length: uint16(len(u))})
		u.SetChecksum(^u.CalculateChecksum(sum))
		transport = u
	case header.ICMPv4ProtocolNumber:
		e := header.ICMPv4{byte(header.ICMPv4Echo), 0, 0, 0, 0, 7, 0, hops}
		e.SetChecksum(^checksum.Checksum(e, 0))
		transport = e
	case header.ICMPv6ProtocolNumber:
		e := header.ICMPv6{byte(header.ICMPv6EchoRequest), 0, 0, 0, 0, 7, 0, hops}
		e.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: e, Src: tcpip.AddrFromSlice(from.AsSlice()), Dst: tcpip.AddrFromSlice(a.AsSlice())}))
		transport = e
	}
	if a.Is4() {
		b := frame(to, protocol, transport)
		ip := header.IPv4(b[vnetSize+header.EthernetMinimumSize:])
		ip.SetTTL(hops)
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
		return b
	}
	b := make([]byte, vnetSize+header.EthernetMinimumSize+header.IPv6MinimumSize)
	header.Ethernet(b[vnetSize:]).Encode(&header.EthernetFields{SrcAddr: guestAddress, DstAddr: routerAddress, Type: header.IPv6ProtocolNumber})
	header.IPv6(b[vnetSize+header.EthernetMinimumSize:]).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(transport)), HopLimit: hops, TransportProtocol: protocol,
		SrcAddr: tcpip.AddrFromSlice(from.AsSlice()), DstAddr: tcpip.AddrFromSlice(a.AsSlice()),
	})
	return append(b, transport...)
}

// exceeded waits for an ICMP error that says that a datagram has gone too far, and returns
// who says it, and the transport header that it quotes.
func exceeded(t *testing.T, inside *os.File) (by string, quoted []byte) {
	t.Helper()
	inside.SetReadDeadline(time.Now().Add(patience))
	for {
		b := make([]byte, datagramMax)
		n, err := inside.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[vnetSize:n]
		switch header.Ethernet(b).Type() {
		case header.IPv4ProtocolNumber:
			ip := header.IPv4(b[header.EthernetMinimumSize:])
			icmp := header.ICMPv4(ip.Payload())
			if ip.TransportProtocol() == header.ICMPv4ProtocolNumber && icmp.Type() == header.ICMPv4TimeExceeded {
				return ip.SourceAddress().String(), icmp.Payload()[header.IPv4MinimumSize:]
			}
			t.Fatalf("a packet of protocol %d, %x", ip.Protocol(), ip.Payload())
		case header.IPv6ProtocolNumber:
			ip := header.IPv6(b[header.EthernetMinimumSize:])
			icmp := header.ICMPv6(ip.Payload())
			if ip.TransportProtocol() == header.ICMPv6ProtocolNumber && icmp.Type() == header.ICMPv6TimeExceeded {
				return ip.SourceAddress().String(), icmp[header.ICMPv6MinimumSize+header.IPv6MinimumSize:]
			}
		}
	}
}

// TestHops: what may go one hop ends at the gateway, what may go two at the router outside,
// and the sandbox hears who it was.
func TestHops(t *testing.T) {
	routerOutside(t)
	for _, c := range []struct {
		name     string
		protocol tcpip.TransportProtocolNumber
		to       string
		by       [2]string
	}{
		{"UDP", header.UDPProtocolNumber, beyond, [2]string{Router4.String(), hop2}},
		{"echo", header.ICMPv4ProtocolNumber, beyond, [2]string{Router4.String(), hop2}},
		{"UDP over IPv6", header.UDPProtocolNumber, beyond6, [2]string{Router6.String(), hop2v6}},
		{"echo over IPv6", header.ICMPv6ProtocolNumber, beyond6, [2]string{Router6.String(), hop2v6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, inside := raw(t, newLimits(4096), nil)
			for i, by := range c.by {
				hops := uint8(i + 1)
				if _, err := inside.Write(hopFrame(c.to, c.protocol, hops)); err != nil {
					t.Fatal(err)
				}
				got, quoted := exceeded(t, inside)
				if netip.MustParseAddr(got) != netip.MustParseAddr(by) {
					t.Errorf("after %d hops %s says so, want %s", hops, got, by)
				}
				switch c.protocol {
				case header.UDPProtocolNumber:
					if u := header.UDP(quoted); u.SourcePort() != 1000 || u.DestinationPort() != 33434 {
						t.Errorf("it quotes ports %d and %d", u.SourcePort(), u.DestinationPort())
					}
				default: // the same places in both versions
					if e := header.ICMPv4(quoted); e.Ident() != 7 || e.Sequence() != uint16(hops) {
						t.Errorf("it quotes echo request %d of %d", e.Sequence(), e.Ident())
					}
				}
			}
		})
	}
}

// FuzzExceededBy reads what might come from an error queue.
func FuzzExceededBy(f *testing.F) {
	b := make([]byte, unix.CmsgSpace(32))
	copy(b, []byte{48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, unix.IP_RECVERR, 0, 0, 0, 113, 0, 0, 0, unix.SO_EE_ORIGIN_ICMP, byte(header.ICMPv4TimeExceeded), 0})
	f.Add(b)
	if _, ok := exceededBy(b); !ok {
		f.Error("a datagram that has gone too far is none")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if by, ok := exceededBy(b); !ok && by.IsValid() {
			t.Error("an address of nothing")
		}
	})
}
