package link

import (
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// forgedMTU4 is what a router says to whose packet was too big.
func forgedMTU4(mtu uint16) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize, 100)
	b = append(b, []byte{0x45, 0, 5, 0xdc, 27: 0}...)
	icmp := header.ICMPv4(b[header.IPv4MinimumSize:])
	icmp.SetType(header.ICMPv4DstUnreachable)
	icmp.SetCode(header.ICMPv4FragmentationNeeded)
	icmp.SetMTU(mtu)
	icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), DstAddr: tcpip.AddrFrom4([4]byte{10, 9, 0, 1}),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return b
}

// forgedMTU6 is the same of IPv6, behind extension headers.
func forgedMTU6(mtu byte, extensions ...byte) []byte {
	next := []byte{58}
	var chain []byte
	for i := len(extensions) - 1; i >= 0; i-- {
		chain = slices.Concat([]byte{next[0], 0, 0, 0, 0, 0, 0, 0}, chain)
		next = []byte{extensions[i]}
	}
	b := append([]byte{0x60, 0, 0, 0, 0, byte(len(chain) + 48), next[0], 64, 39: 1}, chain...)
	return append(b, []byte{2, 0, 0, 0, 0, 0, 0, mtu, 0x60, 47: 0}...)
}

func TestSmallPathMTU(t *testing.T) {
	for mtu, want := range map[uint16]uint16{0: 552, 68: 552, 551: 552, 552: 552, 1300: 1300} {
		pkt := packetOf(forgedMTU4(mtu))
		pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
		if !believable(pkt) {
			t.Errorf("MTU %d is dropped", mtu)
		}
		b := pkt.ToView().AsSlice()
		icmp := header.ICMPv4(b[header.IPv4MinimumSize:])
		if icmp.MTU() != want || header.ICMPv4Checksum(icmp, 0) != icmp.Checksum() {
			t.Errorf("MTU %d becomes %d, checksum %#x", mtu, icmp.MTU(), icmp.Checksum())
		}
		pkt.DecRef()
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"small", forgedMTU6(68), false},
		{"behind extensions", forgedMTU6(68, 0, 43, 44, 60), false},
		{"behind what is none", forgedMTU6(68, 0, 99), true},
		{"another message", append(forgedMTU6(68)[:40], 128, 0, 0, 0, 0, 0, 0, 68), true},
		{"short", forgedMTU6(68)[:45], true},
		{"an extension without end", append(forgedMTU6(68)[:6], []byte{0, 64, 33: 1}...), true},
	} {
		pkt := packetOf(c.packet)
		pkt.NetworkProtocolNumber = header.IPv6ProtocolNumber
		if got := believable(pkt); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		pkt.DecRef()
	}
}
