package network

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// extended has packets go by an address first.
type extended struct {
	routed
	hop tcpip.Address
}

func (x extended) ExtensionHeaders(to tcpip.Address) (Extensions, bool) {
	route := append([]byte{0, 2, 4, 1, 0, 0, 0, 0}, to.AsSlice()...)
	return Extensions{Way: []Extension{{Kind: unix.IPPROTO_ROUTING, Data: route}}, Hop: x.hop}, true
}

// TestRoutedFragments: fragments fit the link that a routing header leads to first, whatever other ones take.
func TestRoutedFragments(t *testing.T) {
	s := newStack()
	defer s.Destroy()
	address := func(nic, host byte) tcpip.Address { return tcpip.AddrFrom16([16]byte{0: 0xfd, 1: nic, 15: host}) }
	links := map[tcpip.NICID]*offloads{1: {dummy: newDummy(1500)}, 2: {dummy: newDummy(1280)}}
	var table []tcpip.Route
	for nic, l := range links {
		if err := s.CreateNIC(nic, l); err != nil {
			t.Fatal(err)
		}
		own := tcpip.AddressWithPrefix{Address: address(byte(nic), 1), PrefixLen: 64}
		if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: header.IPv6ProtocolNumber, AddressWithPrefix: own}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SetNICForwarding(nic, header.IPv6ProtocolNumber, true); err != nil {
			t.Fatal(err)
		}
		if err := s.AddStaticNeighbor(nic, header.IPv6ProtocolNumber, address(byte(nic), 2), randomAddress()); err != nil {
			t.Fatal(err)
		}
		table = append(table, tcpip.Route{Destination: own.Subnet(), NIC: nic})
	}
	s.SetRouteTable(table)
	for nic, fragments := range map[tcpip.NICID]int{1: 1, 2: 2} {
		links[nic].sent = nil // what the stack has sent by itself
		r, err := s.FindRoute(1, address(1, 1), address(1, 3), header.IPv6ProtocolNumber, false)
		if err != nil {
			t.Fatal(err)
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
			ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(make([]byte, 1400)),
		})
		pkt.Owner = extended{hop: address(byte(nic), 2)}
		if err := r.WritePacket(stack.NetworkHeaderParams{Protocol: udp.ProtocolNumber, TTL: 9}, pkt); err != nil {
			t.Fatal(err)
		}
		pkt.DecRef()
		r.Release()
		sent := links[nic].sent
		if len(sent) != fragments {
			t.Errorf("%d packets by link %d, want %d", len(sent), nic, fragments)
		}
		for _, pkt := range sent {
			packet := stack.PayloadSince(pkt.NetworkHeader()).AsSlice()
			kinds := [2]byte{packet[header.IPv6NextHeaderOffset], packet[header.IPv6MinimumSize]}
			want := [2]byte{unix.IPPROTO_ROUTING, unix.IPPROTO_UDP}
			if fragments > 1 {
				want[1] = unix.IPPROTO_FRAGMENT
			}
			if len(packet) > int(links[nic].MTU()) || kinds != want {
				t.Errorf("a packet of %d bytes by link %d with headers %d, want %d", len(packet), nic, kinds, want)
			}
			pkt.DecRef()
		}
	}
}
