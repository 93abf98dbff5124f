package link

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// BenchmarkTransfer moves data over TCP between two stacks, as between a sandbox and
// its gateway.
func BenchmarkTransfer(b *testing.B) {
	for _, kind := range []struct {
		name   string
		config Config
	}{{"plain", Config{}}, {"offload", Config{Offload: true}}} {
		b.Run(kind.name, func(b *testing.B) {
			const size = 64 << 20
			b.SetBytes(size)
			for b.Loop() {
				from, to := pair(b, kind.config, kind.config)
				transfer(b, from, to, size)
			}
		})
	}
}

// BenchmarkSend has frames leave, one in each call, to somebody who takes them.
func BenchmarkSend(b *testing.B) {
	f, g, err := Pair()
	if err != nil {
		b.Fatal(err)
	}
	m := newMachine(b, 1, Config{FD: own(b, f), Offload: true})
	unix.SetNonblock(int(g.Fd()), false)
	go func() {
		for buf := make([]byte, 70<<10); ; {
			if n, err := g.Read(buf); n == 0 || err != nil {
				return
			}
		}
	}()
	pkt := packetOf(frame(2, 1, header.IPv4ProtocolNumber, make([]byte, 1400)))
	defer pkt.DecRef()
	b.SetBytes(int64(pkt.Size()))
	b.ReportAllocs()
	for b.Loop() {
		var list stack.PacketBufferList
		list.PushBack(pkt)
		m.link.WritePackets(list)
	}
	b.StopTimer()
	m.link.Close()
}

// BenchmarkAccept takes a frame in whose checksums are to be looked at, up to the stack.
func BenchmarkAccept(b *testing.B) {
	f, g, err := Pair()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Close() })
	m := newMachine(b, 1, Config{FD: own(b, f), Offload: true})
	packet := append([]byte{0x45, 0, 5, 140, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1, 0, 9, 0, 9, 5, 120, 0, 0}, make([]byte, 1392)...)
	ip, udp := header.IPv4(packet), header.UDP(packet[header.IPv4MinimumSize:])
	ip.SetChecksum(^ip.CalculateChecksum())
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(udp)))
	udp.SetChecksum(^checksum.Checksum(udp, sum))
	bytes := frame(1, 2, header.IPv4ProtocolNumber, packet)
	b.SetBytes(int64(len(bytes)))
	b.ReportAllocs()
	for b.Loop() {
		pkt := packetOf(bytes)
		if !m.link.accept(dropped{}, pkt, false) {
			b.Fatal("the frame is not taken")
		}
		pkt.DecRef()
	}
}
