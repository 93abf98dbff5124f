package gateway

import (
	"io"
	"net"
	"testing"
	"time"

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
	gw, inside := raw(f, limits{tcp: 16, datagrams: 16, echoes: 16}, nil)
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

// TestSynFlood has SYNs come that nobody means: they take no more than a share.
func TestSynFlood(t *testing.T) {
	const most = 20
	gw, inside := raw(t, limits{tcp: most, datagrams: 16, echoes: 16}, nil)
	at := addr(listen(t, outside4+":0", func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	}))
	for port := range uint16(500) {
		tcp := make(header.TCP, header.TCPMinimumSize)
		tcp.Encode(&header.TCPFields{SrcPort: 1000 + port, DstPort: at.Port(), SeqNum: 7, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
		sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, tcpip.AddrFromSlice(Guest4.Addr().AsSlice()), tcpip.AddrFromSlice(at.Addr().AsSlice()), uint16(len(tcp)))
		tcp.SetChecksum(^tcp.CalculateChecksum(sum))
		if _, err := inside.Write(frame(outside4, header.TCPProtocolNumber, tcp)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "its share is used up", func() bool { return gw.tcpFlows.Load() == most })
	for range 100 {
		if n := gw.tcpFlows.Load(); n > most+1 { // one may just be counted that is refused then
			t.Fatalf("%d connections", n)
		}
		time.Sleep(time.Millisecond)
	}
}
