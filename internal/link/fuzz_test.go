package link

import (
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

func packetOf(b []byte) *stack.PacketBuffer {
	return stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
}

// dropped takes frames and does nothing with them.
type dropped struct{}

func (dropped) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}
func (dropped) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

// FuzzFrame takes frames in, into a stack that does what it does with them.
func FuzzFrame(f *testing.F) {
	f.Add(frame(1, 2, header.IPv4ProtocolNumber, append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1}, 0, 9, 0, 9, 0, 8, 1, 1)))
	f.Add(frame(1, 2, header.IPv6ProtocolNumber, append([]byte{0x60, 0, 0, 0, 0, 8, 17, 64, 39: 1}, 0, 9, 0, 9, 0, 4, 1, 1)))
	f.Add(frame(1, 2, header.ARPProtocolNumber, []byte{0, 1, 8, 0, 6, 4, 0, 1}))
	f.Add(frame(1, 2, header.IPv4ProtocolNumber, forgedMTU4(68)))
	f.Add(frame(1, 2, header.IPv6ProtocolNumber, forgedMTU6(68)))
	ours, theirs, err := Pair()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { theirs.Close() })
	m := newMachine(f, 1, Config{FD: own(f, ours), Offload: true})
	d := m.link.attached()
	g := newGuard(&m.link.config)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range []stack.NetworkDispatcher{dropped{}, d} {
			if len(b) < header.EthernetMinimumSize {
				break
			}
			pkt := packetOf(b)
			m.link.accept(d, pkt, false)
			pkt.DecRef()
		}
		if g != nil {
			g.permitsFrame(b)
		}
	})
}

// FuzzTooBig answers packets that a guest made up.
func FuzzTooBig(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0, 9, 0, 9, 0, 8, 0, 0}, uint32(1300))
	f.Add([]byte{0x60, 0, 0, 0, 0, 8, 17, 64, 39: 1}, uint32(1300))
	f.Fuzz(func(t *testing.T, packet []byte, mtu uint32) {
		if b := tooBig(header.IPv4ProtocolNumber, packet, mtu); b != nil && !header.IPv4(b).IsValid(len(b)) {
			t.Errorf("% x is answered by % x", packet, b)
		}
		if b := tooBig(header.IPv6ProtocolNumber, packet, mtu); b != nil && !header.IPv6(b).IsValid(len(b)) {
			t.Errorf("% x is answered by % x", packet, b)
		}
	})
}
