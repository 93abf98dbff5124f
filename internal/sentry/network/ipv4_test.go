package network

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestSourceRoutesAreFound(t *testing.T) {
	for _, c := range []struct {
		options []byte
		want    bool
	}{
		{nil, false},
		{[]byte{131, 7, 4, 1, 2, 3, 4, 0}, true},
		{[]byte{1, 137, 7, 4, 1, 2, 3, 4}, true},
		{[]byte{7, 7, 4, 131, 131, 131, 131, 0}, false},
		{[]byte{7, 7, 4, 0, 0, 0, 0, 131}, true},
		{[]byte{0, 131, 7, 4}, false},
		{[]byte{7, 9, 4, 131}, false},
		{[]byte{7, 1, 131, 3}, false},
		{[]byte{1, 1, 1, 7}, false},
	} {
		if got := hasSourceRoute(c.options); got != c.want {
			t.Errorf("hasSourceRoute(% x) = %v", c.options, got)
		}
	}
}

// offloads is a link that has checksums computed. It keeps what is sent.
type offloads struct {
	*dummy
	sent []*stack.PacketBuffer
}

func (*offloads) GSOMaxSize() uint32               { return 65000 }
func (*offloads) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

func (o *offloads) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		o.sent = append(o.sent, pkt.Clone())
	}
	return pkts.Len(), nil
}

// routed has packets go by an address first.
type routed tcpip.Address

func (routed) KUID() uint32 { return 0 }
func (routed) KGID() uint32 { return 0 }
func (r routed) HeaderOptions(_, to tcpip.Address, _ *stack.PacketBuffer) ([]byte, tcpip.Address, bool) {
	return append([]byte{131, 7, 4}, append(to.AsSlice(), 0)...), tcpip.Address(r), false
}

// twoOffloads is a stack with links to 10.9.1.0/24 and 10.9.2.0/24 that forward, and its neighbours .2 and .3 there.
func twoOffloads(t *testing.T, paths *pathMTUs) (*stack.Stack, map[tcpip.NICID]*offloads) {
	t.Helper()
	s := newStack(newLabels(), new(steering), paths)
	t.Cleanup(s.Destroy)
	links := map[tcpip.NICID]*offloads{}
	var table []tcpip.Route
	for nic := tcpip.NICID(1); nic <= 2; nic++ {
		links[nic] = &offloads{dummy: newDummy(1500)}
		if err := s.CreateNIC(nic, links[nic]); err != nil {
			t.Fatal(err)
		}
		address := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{10, 9, byte(nic), 1}), PrefixLen: 24}
		if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: address}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
		for host := byte(2); host <= 3; host++ {
			if err := s.AddStaticNeighbor(nic, header.IPv4ProtocolNumber, tcpip.AddrFrom4([4]byte{10, 9, byte(nic), host}), randomAddress()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.SetNICForwarding(nic, header.IPv4ProtocolNumber, true); err != nil {
			t.Fatal(err)
		}
		table = append(table, tcpip.Route{Destination: address.Subnet(), NIC: nic})
	}
	s.SetRouteTable(table)
	return s, links
}

// TestSourceRoutedSegments: where the way begins at the link that a segment of TCP was made for, that does the rest; another
// gets it whole.
func TestSourceRoutedSegments(t *testing.T) {
	s, links := twoOffloads(t, new(pathMTUs))
	own := tcpip.AddrFrom4([4]byte{10, 9, 1, 1})
	for nic, l := range links {
		hop := tcpip.AddrFrom4([4]byte{10, 9, byte(nic), 2})
		r, err := s.FindRoute(1, own, tcpip.AddrFrom4([4]byte{10, 9, 1, 3}), header.IPv4ProtocolNumber, false)
		if err != nil {
			t.Fatal(err)
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
			ReserveHeaderBytes: int(r.MaxHeaderLength()) + header.TCPMinimumSize, Payload: buffer.MakeWithData([]byte("what is sent")),
		})
		pkt.Owner = routed(hop)
		pkt.GSOOptions = stack.GSO{Type: stack.GSOTCPv4, NeedsCsum: true, CsumOffset: header.TCPChecksumOffset, L3HdrLen: header.IPv4MinimumSize, MSS: 1000}
		segment := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize))
		segment.Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, DataOffset: header.TCPMinimumSize})
		pseudo := r.PseudoHeaderChecksum(header.TCPProtocolNumber, uint16(pkt.Size()))
		segment.SetChecksum(pseudo)
		if err := r.WritePacket(stack.NetworkHeaderParams{Protocol: header.TCPProtocolNumber, TTL: 9}, pkt); err != nil {
			t.Fatal(err)
		}
		pkt.DecRef()
		r.Release()
		if len(l.sent) != 1 {
			t.Fatalf("%d packets by link %d", len(l.sent), nic)
		}
		sent := l.sent[0]
		network := header.IPv4(stack.PayloadSince(sent.NetworkHeader()).AsSlice())
		if !network.IsChecksumValid() || network.DestinationAddress() != hop || network.HeaderLength() != header.IPv4MinimumSize+8 {
			t.Errorf("by link %d: % x", nic, network)
		}
		segment = header.TCP(network[network.HeaderLength():])
		switch o := sent.GSOOptions; {
		case nic == 1 && (!o.NeedsCsum || o.L3HdrLen != uint16(network.HeaderLength()) || segment.Checksum() != pseudo):
			t.Errorf("the link is told %+v of % x", o, network)
		case nic == 2 && (o.NeedsCsum || checksum.Checksum(segment, pseudo) != 0xffff):
			t.Errorf("the other link is told %+v of % x", o, network)
		}
		sent.DecRef()
	}
}

// TestNeighboursThatAreNotThere connects to addresses on the link that nobody has: that is told.
func TestNeighboursThatAreNotThere(t *testing.T) {
	a, b := Empty(), Empty()
	pair(t, a, NewLink{Name: "a"}, b, NewLink{Name: "b"})
	up(t, b, "b", "10.9.0.2/24")
	t.Cleanup(func() { runtime.KeepAlive(b) }) // with b the pair would go
	for _, prefix := range []string{"10.9.0.1/24", "fd09::1/64"} {
		up(t, a, "a", prefix)
		p := netip.MustParsePrefix(prefix)
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			to := netip.AddrPortFrom(p.Addr().Next().Next(), 80)
			_, err := gonet.DialContextTCP(t.Context(), a.Stack(), full(to.String()), protocolOf(p.Addr()))
			if err == nil || !strings.Contains(err.Error(), "no route to host") {
				t.Errorf("connecting to %v: %v", to, err)
			}
		})
	}
}
