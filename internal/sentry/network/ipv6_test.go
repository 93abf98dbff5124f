package network

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// extended has packets go by an address first.
type extended struct {
	routed
	hop tcpip.Address
}

func (x extended) ExtensionHeaders(to tcpip.Address) Extensions {
	route := append([]byte{0, 2, 4, 1, 0, 0, 0, 0}, to.AsSlice()...)
	return Extensions{Way: []Extension{{Kind: unix.IPPROTO_ROUTING, Data: route}}, Hop: x.hop}
}

// TestRoutedFragments: fragments fit the link that a routing header leads to first, whatever other ones take.
func TestRoutedFragments(t *testing.T) {
	s := newStack(newLabels(), new(steering), new(pathMTUs))
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

// heavy has packets carry options for each hop.
type heavy struct {
	routed
	options []byte
}

func (x heavy) ExtensionHeaders(tcpip.Address) Extensions {
	return Extensions{Way: []Extension{{Kind: unix.IPPROTO_HOPOPTS, Data: x.options}}}
}

// TestExtendedSegments: segments that the link finishes have room for extension headers, however long these are, and
// are several if they are too long with them.
func TestExtendedSegments(t *testing.T) {
	s := newStack(newLabels(), new(steering), new(pathMTUs))
	defer s.Destroy()
	l := &offloads{dummy: newDummy(1500)}
	if err := s.CreateNIC(1, l); err != nil {
		t.Fatal(err)
	}
	own, peer := tcpip.AddrFrom16([16]byte{0: 0xfd, 15: 1}), tcpip.AddrFrom16([16]byte{0: 0xfd, 15: 2})
	with := tcpip.AddressWithPrefix{Address: own, PrefixLen: 64}
	if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: header.IPv6ProtocolNumber, AddressWithPrefix: with}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddStaticNeighbor(1, header.IPv6ProtocolNumber, peer, randomAddress()); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: with.Subnet(), NIC: 1}})
	r, err := s.FindRoute(1, own, peer, header.IPv6ProtocolNumber, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for _, c := range []struct{ size, length, count int }{{8, 5000, 1}, {64, 5000, 1}, {2048, 5000, 1}, {64, 65340, 1}, {256, 65340, 2}, {2048, 65340, 2}} {
		l.sent = nil
		payload := make([]byte, c.length)
		for i := range payload {
			payload[i] = byte(i * 7 >> 3)
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
			ReserveHeaderBytes: int(r.MaxHeaderLength()) + header.TCPMinimumSize, Payload: buffer.MakeWithData(payload),
		})
		h := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize))
		flags := header.TCPFlagAck | header.TCPFlagPsh | header.TCPFlagFin
		h.Encode(&header.TCPFields{SrcPort: 7, SeqNum: 1<<32 - 9, DataOffset: header.TCPMinimumSize, Flags: flags})
		h.SetChecksum(r.PseudoHeaderChecksum(tcp.ProtocolNumber, uint16(pkt.Size())))
		pkt.GSOOptions = stack.GSO{Type: stack.GSOTCPv6, NeedsCsum: true, MSS: 1000, MaxSize: 1 << 16, L3HdrLen: header.IPv6MinimumSize}
		pkt.Owner = heavy{options: append([]byte{0, byte(c.size/8 - 1)}, make([]byte, c.size-2)...)}
		if err := r.WritePacket(stack.NetworkHeaderParams{Protocol: tcp.ProtocolNumber, TTL: 9}, pkt); err != nil {
			t.Fatal(err)
		}
		pkt.DecRef()
		if len(l.sent) != c.count {
			t.Fatalf("%d packets, want %d", len(l.sent), c.count)
		}
		var got []byte
		for i, out := range l.sent {
			packet := stack.PayloadSince(out.NetworkHeader()).AsSlice()
			n := header.IPv6MinimumSize + c.size
			h := header.TCP(packet[n:])
			if int(header.IPv6(packet).PayloadLength()) != len(packet)-header.IPv6MinimumSize || h.SourcePort() != 7 ||
				int(out.GSOOptions.L3HdrLen) != n || out.GSOOptions.MSS != 1000 {
				t.Errorf("%d bytes, %+v", len(packet), out.GSOOptions)
			}
			if h.SequenceNumber() != uint32(len(got))-9 {
				t.Errorf("segment %d is number %d after %d bytes", i, h.SequenceNumber(), len(got))
			}
			want := flags
			if i < c.count-1 {
				want = header.TCPFlagAck
				if len(h.Payload())%1000 != 0 {
					t.Errorf("segment %d of %d bytes is no whole number of packets", i, len(h.Payload()))
				}
			}
			if h.Flags() != want || h.Checksum() != r.PseudoHeaderChecksum(tcp.ProtocolNumber, uint16(len(h))) {
				t.Errorf("segment %d has flags %v, want %v, and the sum %#x", i, h.Flags(), want, h.Checksum())
			}
			got = append(got, h.Payload()...)
			out.DecRef()
		}
		if !bytes.Equal(got, payload) {
			t.Errorf("%d bytes differ from those that were sent", len(got))
		}
	}
}
