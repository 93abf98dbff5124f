package gateway

import (
	"testing"

	"coffer/internal/link"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// vnetSize is the size of the virtio-net header before each frame, which is all zeroes
// where nothing is left to the other end.
const vnetSize = 10

// frame is a message of the link: an IPv4 packet from the sandbox.
func frame(to string, protocol tcpip.TransportProtocolNumber, transport []byte) []byte {
	b := make([]byte, vnetSize+header.EthernetMinimumSize+header.IPv4MinimumSize, vnetSize+1500)
	header.Ethernet(b[vnetSize:]).Encode(&header.EthernetFields{SrcAddr: guestAddress, DstAddr: routerAddress, Type: header.IPv4ProtocolNumber})
	ip := header.IPv4(b[vnetSize+header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip) + len(transport)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFromSlice(Guest4.Addr().AsSlice()), DstAddr: tcpip.AddrFromSlice(addr(to + ":0").Addr().AsSlice()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return append(b, transport...)
}

// FuzzFrames has the sandbox send anything. The gateway must live, and still serve.
func FuzzFrames(f *testing.F) {
	inside, ours, err := link.Pair()
	if err != nil {
		f.Fatal(err)
	}
	fd, err := unix.FcntlInt(ours.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	ours.Close()
	l, err := link.New(link.Config{FD: fd, Name: "fuzz", Address: routerAddress, MTU: MTU, Offload: Offload})
	if err != nil {
		f.Fatal(err)
	}
	s, open, err := newStack(l)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Destroy)
	r := newResolver(nil, nil, nil)
	if err := r.serve(s); err != nil {
		f.Fatal(err)
	}
	gw := newGateway(s, r, nil, limits{tcp: 16, datagrams: 16, echoes: 16})
	open()

	tcp := make(header.TCP, header.TCPMinimumSize)
	tcp.Encode(&header.TCPFields{SrcPort: 1000, DstPort: 80, SeqNum: 7, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, tcpip.AddrFromSlice(Guest4.Addr().AsSlice()), tcpip.AddrFromSlice(addr(outside4+":0").Addr().AsSlice()), uint16(len(tcp)))
	tcp.SetChecksum(^tcp.CalculateChecksum(sum))
	udp := make(header.UDP, header.UDPMinimumSize+4)
	udp.Encode(&header.UDPFields{SrcPort: 1000, DstPort: 53, Length: uint16(len(udp))})
	echo := header.ICMPv4{byte(header.ICMPv4Echo), 0, 0, 0, 0, 7, 0, 1}
	echo.SetChecksum(^checksum.Checksum(echo, 0))
	for _, to := range []string{outside4, "10.0.2.2", "10.0.2.3", "127.0.0.1"} {
		f.Add(frame(to, header.TCPProtocolNumber, tcp))
		f.Add(frame(to, header.UDPProtocolNumber, udp))
		f.Add(frame(to, header.ICMPv4ProtocolNumber, echo))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > datagramMax || len(b) == 0 { // nothing is the end of the link
			return
		}
		if _, err := inside.Write(b); err != nil {
			t.Fatal(err)
		}
		// What comes back is thrown away, so that the link does not fill up.
		for {
			n, _, err := unix.Recvfrom(int(inside.Fd()), make([]byte, datagramMax), unix.MSG_DONTWAIT)
			if err != nil || n == 0 {
				break
			}
		}
		gw.datagrams.mu.Lock()
		defer gw.datagrams.mu.Unlock()
		if n := len(gw.datagrams.flows); n > 16 {
			t.Errorf("%d flows", n)
		}
	})
}
