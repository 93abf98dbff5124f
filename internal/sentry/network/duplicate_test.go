package network

import (
	"fmt"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// withHeaders is a segment of IPv4 with a window and its checksum.
func withHeaders(pkt *stack.PacketBuffer, window uint16) *stack.PacketBuffer {
	h := header.TCP(pkt.TransportHeader().Slice())
	h.SetWindowSize(window)
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: header.IPv4MinimumSize + len(h)})
	copy(out.TransportHeader().Push(len(h)), h)
	pkt.DecRef()
	ip := header.IPv4(out.NetworkHeader().Push(header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip) + len(h)), Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 1}), DstAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}),
	})
	out.NetworkProtocolNumber, out.TransportProtocolNumber = header.IPv4ProtocolNumber, header.TCPProtocolNumber
	h = out.TransportHeader().Slice()
	h.SetChecksum(^checksum.Checksum(h, header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(h)))))
	return out
}

// TestDuplicates: the first few acknowledgements of the same have one window, and are otherwise what has come.
func TestDuplicates(t *testing.T) {
	var got []uint16
	var fault error
	s := &sieve{hand: func(_ stack.TransportEndpoint, _ stack.TransportEndpointID, pkt *stack.PacketBuffer) {
		ip, h := header.IPv4(pkt.NetworkHeader().Slice()), header.TCP(pkt.TransportHeader().Slice())
		got = append(got, h.WindowSize())
		if !h.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), 0, 0) || pkt.Data().Size() != 0 {
			fault = fmt.Errorf("a segment with a wrong checksum, or %d bytes of data", pkt.Data().Size())
		}
		if o := header.ParseTCPOptions(h[header.TCPMinimumSize:]); len(o.SACKBlocks) == 0 {
			fault = fmt.Errorf("a segment without SACK blocks")
		}
	}}
	says := func(port uint16, ack uint32, window uint16, ends ...uint32) {
		pkt := withHeaders(acknowledgement(ack, "", ends...), window)
		s.take(nil, stack.TransportEndpointID{RemotePort: port}, pkt)
		if w := header.TCP(pkt.TransportHeader().Slice()).WindowSize(); w != window {
			t.Errorf("the window of a segment that others may look at is %d now, not %d", w, window)
		}
		pkt.DecRef()
	}
	end := uint32(2000)
	comes := func(port uint16, ack uint32, window uint16) {
		end += 1000 // there is more each time
		says(port, ack, window, ack+1000, ack+end)
	}
	want := func(windows ...uint16) {
		t.Helper()
		if !slices.Equal(got, windows) || fault != nil {
			t.Errorf("windows that were handed over: %d, want %d, and %v", got, windows, fault)
		}
		got = nil
	}
	for w := range uint16(6) {
		comes(1, 500, 100+w)
	}
	want(100, 100, 100, 100, 104, 105)
	// A window that shrinks must be known.
	comes(1, 500, 50)
	comes(1, 500, 60)
	want(50, 50)
	// Others, and what acknowledges more, have nothing to do with it.
	comes(2, 500, 70)
	comes(1, 501, 80)
	comes(2, 500, 90)
	comes(1, 501, 80)
	want(70, 80, 70, 80)
	// What tells of nothing more is no duplicate, and what comes then is counted anew.
	for w := range uint16(3) {
		says(3, 500, 100+w, 1500, 2500)
	}
	says(3, 500, 110, 1500, 3500)
	says(3, 500, 120, 100, 200, 1500, 3500)
	want(100, 101, 102, 102, 120)
	// There is room again, which answers to probes say: each byte has come twice.
	for _, w := range []uint16{0, 0, 50} {
		says(4, 500, w, 499, 500)
	}
	want(0, 0, 50)
	for port := range uint16(2 * repeatersMost) {
		comes(port, 1, 1)
	}
	if n := len(s.repeaters); n != repeatersMost {
		t.Errorf("%d connections are known, want %d", n, repeatersMost)
	}
}
