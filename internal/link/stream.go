package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// largeFrom is from how many bytes on it is looked at which stream a frame is of.
const largeFrom = 2 << 10

// streamOf tells streams apart by who sends, in most cases: by the last bytes of the address, and the ports. It is
// for a frame of more than headersMax bytes, and a guess, by which nothing is decided but who does what.
func streamOf(frame []byte) uint64 {
	ip := frame[header.EthernetMinimumSize:]
	var source, ports []byte
	switch header.Ethernet(frame).Type() {
	case header.IPv4ProtocolNumber:
		source, ports = header.IPv4(ip).SourceAddressSlice(), ip[header.IPv4(ip).HeaderLength():]
	case header.IPv6ProtocolNumber:
		source, ports = header.IPv6(ip).SourceAddressSlice(), ip[header.IPv6MinimumSize:]
	default:
		return 0
	}
	return uint64(binary.BigEndian.Uint32(source[len(source)-4:]))<<32 | uint64(binary.BigEndian.Uint32(ports))
}
