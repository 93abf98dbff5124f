package link

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pairBuffer is how much a socket of a pair holds, in bytes, where the host allows it
// (sysctl net.core.wmem_max).
const pairBuffer = 1 << 20

// Pair returns two sockets of which each is the other's end of a link.
func Pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the sockets of a link: %w", err)
	}
	for _, fd := range fds {
		// With less it works too.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, pairBuffer)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// packetBuffer is how much a packet socket holds of what has come, in bytes.
const packetBuffer = 4 << 20

// OpenPacket opens an interface of the thread's network namespace, by its index, for a
// link with Offload. It takes CAP_NET_RAW (packet(7)).
func OpenPacket(index int) (*os.File, error) {
	// Without a protocol nothing comes before it is bound.
	// A link's socket may block (New): a sentry that runs can no longer set that.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "packet socket")
	// Without the header it would not be told where a neighbour on the same host has
	// left checksums out.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		f.Close()
		return nil, fmt.Errorf("a packet socket with offload: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		f.Close()
		return nil, fmt.Errorf("a packet socket that does not see what it sends (Linux 4.20 or later has it): %w", err)
	}
	for option, size := range map[int]int{unix.SO_RCVBUFFORCE: packetBuffer, unix.SO_SNDBUFFORCE: packetBuffer} {
		// Without CAP_NET_ADMIN over the host it keeps the usual size.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		f.Close()
		return nil, fmt.Errorf("binding a packet socket to interface %d: %w", index, err)
	}
	// Which groups the stack joins, a network card does not know.
	groups := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_ALLMULTI}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, groups); err != nil {
		f.Close()
		return nil, fmt.Errorf("receiving all multicast frames of interface %d: %w", index, err)
	}
	return f, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// interfaceGone reports whether a packet socket's interface is no more.
func (l *Link) interfaceGone() bool {
	gone := true
	l.raw.Control(func(fd uintptr) { gone = interfaceIndex(int(fd)) <= 0 })
	return gone
}

// revive has a link run again that frames cross, if that is no frame from before its
// interface went down.
func (l *Link) revive(fd uintptr) {
	if l.running.Load() || !l.packet {
		return
	}
	if r, ok := ask(int(fd), unix.SIOCGIFFLAGS); ok && r.Uint16()&unix.IFF_UP != 0 {
		l.setRunning(true)
	}
}

// readMTU learns the MTU of a packet socket's interface after it has refused a frame.
func (l *Link) readMTU(fd uintptr) {
	if !l.packet {
		return
	}
	if r, ok := ask(int(fd), unix.SIOCGIFMTU); ok && r.Uint32() < l.mtu.Load() {
		l.mtu.Store(r.Uint32())
		if l.config.Changed != nil {
			go l.config.Changed()
		}
	}
}

// interfaceIndex is the index of a packet socket's interface; less than 1 if that is no more.
func interfaceIndex(fd int) int {
	sa, err := unix.Getsockname(fd)
	if ll, ok := sa.(*unix.SockaddrLinklayer); err == nil && ok {
		return ll.Ifindex
	}
	return 0
}

// ask asks something about a packet socket's interface (netdevice(7)).
func ask(fd int, request uint) (*unix.Ifreq, bool) {
	r, err := unix.NewIfreq("")
	if err != nil {
		return nil, false
	}
	r.SetUint32(uint32(interfaceIndex(fd)))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r); err != nil {
		return nil, false
	}
	if r, err = unix.NewIfreq(r.Name()); err != nil {
		return nil, false
	}
	return r, unix.IoctlIfreq(fd, request, r) == nil
}
