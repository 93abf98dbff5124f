package packet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

const (
	sizeofSockaddr = 20 // struct sockaddr_ll
	offsetAddr     = 12 // of sll_addr in it
	etherHeader    = 14
)

// address is struct sockaddr_ll of packet(7).
type address struct {
	// protocol is an ETH_P_* number, index an interface's.
	protocol     uint16
	index        int32
	hardwareType uint16
	packetType   uint8
	// addr is an Ethernet address, or empty.
	addr []byte
}

// parseAddress reads an address to bind to or to send to. EINVAL if it is too short.
func parseAddress(b []byte) (address, error) {
	if len(b) < sizeofSockaddr {
		return address{}, unix.EINVAL
	}
	n := int(b[11])
	if len(b) < offsetAddr+n {
		return address{}, unix.EINVAL
	}
	return address{
		protocol: binary.BigEndian.Uint16(b[2:]),
		index:    int32(binary.LittleEndian.Uint32(b[4:])),
		addr:     b[offsetAddr : offsetAddr+n],
	}, nil
}

// bytes lays the address out. It is sizeofSockaddr long.
func (a address) bytes() []byte {
	b := make([]byte, sizeofSockaddr)
	binary.LittleEndian.PutUint16(b, unix.AF_PACKET)
	binary.BigEndian.PutUint16(b[2:], a.protocol)
	binary.LittleEndian.PutUint32(b[4:], uint32(a.index))
	binary.LittleEndian.PutUint16(b[8:], a.hardwareType)
	b[10] = a.packetType
	b[11] = uint8(copy(b[offsetAddr:], a.addr))
	return b
}

// packetTypes are PACKET_* by what the stack calls them.
var packetTypes = map[tcpip.PacketType]uint8{
	tcpip.PacketHost: unix.PACKET_HOST, tcpip.PacketOtherHost: unix.PACKET_OTHERHOST,
	tcpip.PacketOutgoing: unix.PACKET_OUTGOING, tcpip.PacketBroadcast: unix.PACKET_BROADCAST,
	tcpip.PacketMulticast: unix.PACKET_MULTICAST,
}
