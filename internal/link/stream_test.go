package link

import (
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// largeFrame is a frame of a stream, as far as streamOf looks at it.
func largeFrame(version int, source byte, port uint16) []byte {
	frame := make([]byte, largeFrom)
	kind, ip := header.IPv4ProtocolNumber, frame[header.EthernetMinimumSize:]
	var tcp []byte
	if version == 4 {
		header.IPv4(ip).Encode(&header.IPv4Fields{SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, source}), Options: header.IPv4OptionsSerializer{&header.IPv4SerializableRouterAlertOption{}}})
		tcp = ip[header.IPv4MinimumSize+4:]
	} else {
		kind = header.IPv6ProtocolNumber
		header.IPv6(ip).Encode(&header.IPv6Fields{SrcAddr: tcpip.AddrFrom16([16]byte{15: source})})
		tcp = ip[header.IPv6MinimumSize:]
	}
	header.Ethernet(frame).Encode(&header.EthernetFields{Type: kind})
	header.TCP(tcp).Encode(&header.TCPFields{SrcPort: port, DstPort: 80, DataOffset: header.TCPMinimumSize})
	return frame
}

// TestStreamOf tells streams apart by address and port, in both families.
func TestStreamOf(t *testing.T) {
	seen := map[uint64]bool{}
	for _, version := range []int{4, 6} {
		for _, source := range []byte{1, 2} {
			for _, port := range []uint16{1000, 1001} {
				frame := largeFrame(version, source, port)
				of := streamOf(frame)
				// Sequence numbers and data say nothing.
				for i := header.EthernetMinimumSize + header.IPv6MinimumSize + 4; i < len(frame); i++ {
					frame[i]++
				}
				if again := streamOf(frame); again != of || of == 0 {
					t.Errorf("IPv%d, %d:%d is both %#x and %#x", version, source, port, of, again)
				}
				seen[of] = true
			}
		}
	}
	if len(seen) < 4 {
		t.Errorf("8 streams look like %d", len(seen))
	}
}

// TestSeveral says of reads whether large frames of several streams were in them or in the one before.
func TestSeveral(t *testing.T) {
	r := &receiver{}
	for i, c := range []struct {
		ports []uint16 // 0 is a small frame
		want  bool
	}{
		{[]uint16{1}, true}, // nothing is known yet
		{[]uint16{1}, false},
		{[]uint16{1, 0, 1}, false},
		{[]uint16{1, 2}, true},
		{[]uint16{1}, true},
		{[]uint16{1, 1}, false},
		{[]uint16{0, 0}, true},
		{[]uint16{1}, false},
	} {
		r.n = len(c.ports)
		sum := 0
		for j, port := range c.ports {
			r.slots[j].release()
			r.slots[j].prepare(false)
			frame := largeFrame(4, 1, port)
			r.messages[j].n = uint32(len(frame))
			if port == 0 {
				r.messages[j].n = 100
			}
			copy(r.slots[j].pieces[0].AsSlice(), frame)
			sum += int(r.messages[j].n)
		}
		if all, several := r.bytes(); all != sum || several != c.want {
			t.Errorf("read %d: %d bytes, several %v, want %d, %v", i, all, several, sum, c.want)
		}
	}
}
