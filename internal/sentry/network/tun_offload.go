package network

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Who writes frames to a device with IFF_VNET_HDR may leave it to the device to compute a checksum, and to cut segments
// from a large one. All of that is done here, but for the cutting where the packet does not go on. The other way round the
// same is left to who reads, as far as he has said that he can (TUNSETOFFLOAD).

const (
	// vnetHeaderSize is the size of struct virtio_net_hdr, maxVnetSize the most that may stand for it.
	vnetHeaderSize = 10
	maxVnetSize    = 4096
	// headersMax holds the headers of a frame as far as they are looked at.
	headersMax = header.EthernetMinimumSize + header.IPv4MaximumHeaderSize + header.TCPHeaderMaximumSize
)

// vnetHeader is struct virtio_net_hdr (linux/virtio_net.h) in the host's byte order: what is left to do with a
// frame.
type vnetHeader struct {
	flags, kind                                 uint8
	length, size, checksumStart, checksumOffset uint16
}

func parseVnet(b []byte) vnetHeader {
	n := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	return vnetHeader{b[0], b[1], n(2), n(4), n(6), n(8)}
}

// put lays the header out.
func (v *vnetHeader) put(b []byte) {
	b[0], b[1] = v.flags, v.kind
	for i, n := range []uint16{v.length, v.size, v.checksumStart, v.checksumOffset} {
		binary.LittleEndian.PutUint16(b[2+2*i:], n)
	}
}

// vnetOf says what is left to do with a packet of the stack's.
func vnetOf(pkt *stack.PacketBuffer) (v vnetHeader) {
	o := &pkt.GSOOptions
	if o.Type != stack.GSOTCPv4 && o.Type != stack.GSOTCPv6 {
		return v
	}
	if o.NeedsCsum {
		v.flags = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		v.checksumStart, v.checksumOffset = uint16(len(pkt.LinkHeader().Slice()))+o.L3HdrLen, o.CsumOffset
	}
	if pkt.Data().Size() > int(o.MSS) {
		v.kind, v.length, v.size = unix.VIRTIO_NET_HDR_GSO_TCPV4, uint16(pkt.HeaderSize()), o.MSS
		if o.Type == stack.GSOTCPv6 {
			v.kind = unix.VIRTIO_NET_HDR_GSO_TCPV6
		}
	}
	return v
}

// within reports whether nothing else is left to do than what can be (TUN_F_*).
func (v *vnetHeader) within(offload uint32) bool {
	switch v.kind {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4:
		return offload&unix.TUN_F_TSO4 != 0
	case unix.VIRTIO_NET_HDR_GSO_TCPV6:
		return offload&unix.TUN_F_TSO6 != 0
	}
	return !v.needsChecksum() || offload&unix.TUN_F_CSUM != 0
}

// needsChecksum reports whether a checksum is to be computed.
func (v *vnetHeader) needsChecksum() bool { return v.flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 }

// headerLen is how much of the frame must be there.
func (v *vnetHeader) headerLen() int {
	n := int(v.length)
	if v.needsChecksum() {
		n = max(n, int(v.checksumStart)+int(v.checksumOffset)+2)
	}
	return n
}

// apply does what is left to do with a frame that begins with a header of size bytes, and hands over frames of their own, one
// after the other: all together would take much more memory than the frame. It asks whole whether a packet to an address need
// not be cut. EINVAL for what cannot be done.
func (v vnetHeader) apply(frame []byte, size int, whole func(tcpip.NetworkProtocolNumber, tcpip.Address) bool, each func([]byte)) error {
	frame = append([]byte(nil), frame...)
	kind := v.kind &^ unix.VIRTIO_NET_HDR_GSO_ECN
	if kind == unix.VIRTIO_NET_HDR_GSO_NONE {
		return v.applyWhole(frame, each)
	}
	p, err := parseIP(frame, size)
	if err != nil {
		return err
	}
	headers := 0
	switch kind {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
		if p.transport != header.TCPProtocolNumber || p.v6 != (kind == unix.VIRTIO_NET_HDR_GSO_TCPV6) || len(p.payload()) < header.TCPMinimumSize {
			return unix.EINVAL
		}
		if headers = int(header.TCP(p.payload()).DataOffset()); headers < header.TCPMinimumSize {
			return unix.EINVAL
		}
	case unix.VIRTIO_NET_HDR_GSO_UDP_L4, unix.VIRTIO_NET_HDR_GSO_UDP:
		if headers = header.UDPMinimumSize; p.transport != header.UDPProtocolNumber {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	switch {
	case v.size == 0, p.fragment, len(p.payload()) < headers:
		return unix.EINVAL
	case kind == unix.VIRTIO_NET_HDR_GSO_UDP, // which would be cut into fragments: that the stack does
		kind != unix.VIRTIO_NET_HDR_GSO_UDP_L4 && whole(p.protocol(), p.destination()),
		len(p.payload())-headers <= int(v.size):
		return v.applyWhole(frame, each)
	}
	p.cut(frame[:size], headers, int(v.size), each)
	return nil
}

// applyWhole is apply for a frame that is not cut.
func (v *vnetHeader) applyWhole(frame []byte, each func([]byte)) error {
	if err := v.completeChecksum(frame); err != nil {
		return err
	}
	each(frame)
	return nil
}

// completeChecksum computes a checksum, of which there is the part of the addresses. EINVAL for a place that is not there.
func (v *vnetHeader) completeChecksum(frame []byte) error {
	if !v.needsChecksum() {
		return nil
	}
	start, at := int(v.checksumStart), int(v.checksumStart)+int(v.checksumOffset)
	if at+2 > len(frame) {
		return unix.EINVAL
	}
	sum := ^checksum.Checksum(frame[start:], 0)
	if sum == 0 { // which says in UDP that there is none, and elsewhere the same as 0
		sum = 0xffff
	}
	checksum.Put(frame[at:], sum)
	return nil
}

// ipPacket is where what is in a packet.
type ipPacket struct {
	v6 bool
	// packet is the packet, without what is behind it in a frame, headerLen the length of its header.
	packet    []byte
	headerLen int
	transport tcpip.TransportProtocolNumber
	fragment  bool
}

// parseIP finds a packet behind a frame's header of size bytes, as far as the frame is there. EINVAL for what is none.
func parseIP(frame []byte, size int) (p ipPacket, err error) {
	if len(frame) <= size {
		return p, unix.EINVAL
	}
	b := frame[size:]
	switch b[0] >> 4 {
	case header.IPv4Version:
		h := header.IPv4(b)
		if len(b) < header.IPv4MinimumSize || int(h.HeaderLength()) < header.IPv4MinimumSize || int(h.HeaderLength()) > min(len(b), int(h.TotalLength())) {
			return p, unix.EINVAL
		}
		p = ipPacket{
			packet: b[:min(len(b), int(h.TotalLength()))], headerLen: int(h.HeaderLength()), transport: h.TransportProtocol(),
			fragment: h.More() || h.FragmentOffset() != 0,
		}
	case header.IPv6Version:
		h := header.IPv6(b)
		if len(b) < header.IPv6MinimumSize {
			return p, unix.EINVAL
		}
		p = ipPacket{
			v6: true, packet: b[:min(len(b), header.IPv6MinimumSize+int(h.PayloadLength()))], headerLen: header.IPv6MinimumSize, transport: h.TransportProtocol(),
		}
	default:
		return p, unix.EINVAL
	}
	return p, nil
}

func (p *ipPacket) payload() []byte { return p.packet[p.headerLen:] }

func (p *ipPacket) protocol() tcpip.NetworkProtocolNumber {
	if p.v6 {
		return header.IPv6ProtocolNumber
	}
	return header.IPv4ProtocolNumber
}

// addresses are the source and the destination.
func (p *ipPacket) addresses() []byte {
	if p.v6 {
		return p.packet[8:40]
	}
	return p.packet[12:20]
}

func (p *ipPacket) destination() tcpip.Address {
	a := p.addresses()
	return tcpip.AddrFromSlice(a[len(a)/2:])
}

// cut makes frames of a packet of TCP or UDP, each with the link's header and so much data, which follows
// headers of that length behind IP's.
func (p *ipPacket) cut(link []byte, headers, size int, each func([]byte)) {
	before := p.headerLen + headers
	data := p.packet[before:]
	for at, i := 0, 0; at < len(data); at, i = at+size, i+1 {
		piece := data[at:min(at+size, len(data))]
		f := make([]byte, 0, len(link)+before+len(piece))
		f = append(append(append(f, link...), p.packet[:before]...), piece...)
		b := f[len(link):]
		rest := b[p.headerLen:]
		var sum uint16
		if p.v6 {
			h := header.IPv6(b)
			h.SetPayloadLength(uint16(len(rest)))
			sum = header.PseudoHeaderChecksum(p.transport, h.SourceAddress(), h.DestinationAddress(), uint16(len(rest)))
		} else {
			h := header.IPv4(b)
			h.SetTotalLength(uint16(len(b)))
			h.SetID(h.ID() + uint16(i))
			h.SetChecksum(0)
			h.SetChecksum(^h.CalculateChecksum())
			sum = header.PseudoHeaderChecksum(p.transport, h.SourceAddress(), h.DestinationAddress(), uint16(len(rest)))
		}
		if p.transport == header.UDPProtocolNumber {
			h := header.UDP(rest)
			h.SetLength(uint16(len(rest)))
			h.SetChecksum(0)
			if sum = ^checksum.Checksum(rest, sum); sum == 0 {
				sum = 0xffff
			}
			h.SetChecksum(sum)
		} else {
			h := header.TCP(rest)
			h.SetSequenceNumber(h.SequenceNumber() + uint32(at))
			flags := h.Flags()
			if at > 0 {
				flags &^= header.TCPFlagCwr
			}
			if at+size < len(data) {
				flags &^= header.TCPFlagFin | header.TCPFlagPsh
			}
			h.SetFlags(uint8(flags))
			h.SetChecksum(0)
			h.SetChecksum(^checksum.Checksum(rest, sum))
		}
		each(f)
	}
}
