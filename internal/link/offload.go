package link

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The virtio-net header, as PACKET_VNET_HDR has it (packet(7); linux/virtio_net.h):
// flags, type of segmentation, length of headers, size of segments, where to begin
// a checksum and where to put it. Numbers are in the host's order, little endian.
const vnetSize = 10

// vnet is one.
type vnet [vnetSize]byte

// encode describes what is left to the other end to do with a packet of the stack's.
func (v *vnet) encode(pkt *stack.PacketBuffer) {
	*v = vnet{}
	o := &pkt.GSOOptions
	if o.Type != stack.GSOTCPv4 && o.Type != stack.GSOTCPv6 {
		return
	}
	if o.NeedsCsum {
		v[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		binary.LittleEndian.PutUint16(v[6:], header.EthernetMinimumSize+o.L3HdrLen)
		binary.LittleEndian.PutUint16(v[8:], o.CsumOffset)
	}
	if pkt.Data().Size() <= int(o.MSS) {
		return
	}
	v[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	if o.Type == stack.GSOTCPv6 {
		v[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	binary.LittleEndian.PutUint16(v[2:], uint16(pkt.HeaderSize()))
	binary.LittleEndian.PutUint16(v[4:], o.MSS)
}

// verified reports whether checksums need not be looked at: they have been, or the
// frame has crossed no wire.
func (v *vnet) verified() bool {
	return v[0]&(unix.VIRTIO_NET_HDR_F_NEEDS_CSUM|unix.VIRTIO_NET_HDR_F_DATA_VALID) != 0
}

// headersMax holds an IP header with options and what follows it of UDP's.
const headersMax = header.IPv4MaximumHeaderSize + header.UDPMinimumSize

// intact verifies the checksums that the stack does not look at if the link has
// CapabilityRXChecksumOffload: those of IPv4, TCP and UDP. Of what is no whole packet
// the stack makes what it can; behind IPv6's extension headers nothing is looked at,
// as network cards do. What is wrong is counted, as the stack would.
func (l *Link) intact(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(min(pkt.Data().Size(), headersMax))
	if !ok {
		return true
	}
	var source, destination []byte
	var protocol uint8
	var start, end int
	switch pkt.NetworkProtocolNumber {
	case header.IPv4ProtocolNumber:
		h := header.IPv4(b)
		if len(b) < header.IPv4MinimumSize || int(h.HeaderLength()) < header.IPv4MinimumSize || int(h.HeaderLength()) > len(b) {
			return true
		}
		if !h.IsChecksumValid() {
			l.damagedIP.Add(1)
			return false
		}
		if h.More() || h.FragmentOffset() != 0 {
			return true
		}
		source, destination, protocol = h.SourceAddressSlice(), h.DestinationAddressSlice(), h.Protocol()
		start, end = int(h.HeaderLength()), int(h.TotalLength())
	case header.IPv6ProtocolNumber:
		h := header.IPv6(b)
		if len(b) < header.IPv6MinimumSize {
			return true
		}
		source, destination, protocol = h.SourceAddressSlice(), h.DestinationAddressSlice(), h.NextHeader()
		start, end = header.IPv6MinimumSize, header.IPv6MinimumSize+int(h.PayloadLength())
	default:
		return true
	}
	if end > pkt.Data().Size() {
		return true
	}
	damaged := &l.damagedTCP
	switch {
	case protocol == uint8(header.TCPProtocolNumber) && end-start >= header.TCPMinimumSize:
	case protocol == uint8(header.UDPProtocolNumber) && end-start >= header.UDPMinimumSize:
		h := header.UDP(b[start:])
		if h.Checksum() == 0 {
			return true // none was made; the stack knows where there must be one
		}
		end, damaged = min(end, start+int(h.Length())), &l.damagedUDP
	default:
		return true
	}
	sum := checksum.Checksum(source, 0)
	sum = checksum.Checksum(destination, sum)
	sum = checksum.Combine(sum, uint16(protocol))
	sum = checksum.Combine(sum, uint16(end-start))
	if end < pkt.Data().Size() {
		// What follows is padding, of a short frame on Ethernet.
		part := pkt.Data().AsRange().Capped(end).ToSlice()
		sum = checksum.Checksum(part[start:], sum)
	} else {
		// The stack counts this offset from the frame's first byte.
		at := len(pkt.LinkHeader().Slice()) + start
		sum = checksum.Combine(sum, pkt.Data().ChecksumAtOffset(at))
	}
	if sum != 0xffff {
		damaged.Add(1)
		return false
	}
	return true
}
