package test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wirePatience is how long a packet may take on a busy machine.
const wirePatience = time.Minute

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

// segment is a TCP segment, without what its flow says.
type segment struct {
	flags    byte
	seq, ack uint32
	window   uint16
	urgent   uint16
	options  []byte
	data     []byte
	shut     bool // the window is 0
	spoilt   bool // has a wrong checksum

	// What the options of a received one say.
	mss           uint16
	scale         int // -1 is none
	sackPermitted bool
	stamped       bool
	stamp, echo   uint32
	blocks        [][2]uint32
	// raw is the IP packet.
	raw []byte
}

func (s segment) String() string {
	var b strings.Builder
	for i, name := range "FSRPAU" {
		if s.flags>>i&1 != 0 {
			b.WriteRune(name)
		}
	}
	fmt.Fprintf(&b, " seq %d ack %d window %d, %d bytes", s.seq, s.ack, s.window, len(s.data))
	if s.mss != 0 {
		fmt.Fprintf(&b, ", MSS %d", s.mss)
	}
	if s.stamped {
		fmt.Fprintf(&b, ", time %d echo %d", s.stamp, s.echo)
	}
	if len(s.blocks) > 0 {
		fmt.Fprintf(&b, ", SACK %d", s.blocks)
	}
	return b.String()
}

// length is what a segment takes of the sequence.
func (s segment) length() uint32 {
	n := uint32(len(s.data))
	if s.flags&syn != 0 {
		n++
	}
	if s.flags&fin != 0 {
		n++
	}
	return n
}

// checksum16 is the Internet checksum (RFC 1071) of pieces, all but the last of even length.
func checksum16(pieces ...[]byte) uint16 {
	var sum uint32
	for _, p := range pieces {
		for ; len(p) >= 2; p = p[2:] {
			sum += uint32(p[0])<<8 | uint32(p[1])
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func pseudoHeader(from, to netip.Addr, protocol byte, length int) []byte {
	b := append(from.AsSlice(), to.AsSlice()...)
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, protocol), uint32(length))[:len(b)+8]
}

// packetIP puts an IP header before a payload whose checksum is at an offset in it,
// and fills that in; -1 is none, and spoilt a wrong one.
func packetIP(from, to netip.Addr, protocol byte, payload []byte, sum int, spoilt bool) []byte {
	if sum >= 0 {
		clear(payload[sum : sum+2])
		pseudo := pseudoHeader(from, to, protocol, len(payload))
		if protocol == unix.IPPROTO_ICMP {
			pseudo = nil
		}
		c := checksum16(pseudo, payload)
		if spoilt {
			c ^= 0x1234
		}
		binary.BigEndian.PutUint16(payload[sum:], c)
	}
	if from.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0}
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
		binary.BigEndian.PutUint16(h[10:], checksum16(h))
		return append(h, payload...)
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, protocol, 64}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return append(h, payload...)
}

// packet is the IP packet of a segment.
func (s segment) packet(from, to netip.AddrPort) []byte {
	options := s.options
	for len(options)%4 != 0 {
		options = append(options[:len(options):len(options)], 1)
	}
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = append(b, byte(20+len(options))<<2, s.flags)
	b = binary.BigEndian.AppendUint16(b, s.window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, s.urgent)
	b = append(append(b, options...), s.data...)
	return packetIP(from.Addr(), to.Addr(), unix.IPPROTO_TCP, b, 16, s.spoilt)
}

// parsePacket takes an IP packet apart; payload is nil if it is malformed.
func parsePacket(b []byte) (from, to netip.Addr, protocol byte, payload []byte) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		h, n := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if h < 20 || n < h || n > len(b) || checksum16(b[:h]) != 0 {
			return
		}
		from, _ = netip.AddrFromSlice(b[12:16])
		to, _ = netip.AddrFromSlice(b[16:20])
		return from, to, b[9], b[h:n]
	case len(b) >= 40 && b[0]>>4 == 6:
		n := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if n > len(b) {
			return
		}
		from, _ = netip.AddrFromSlice(b[8:24])
		to, _ = netip.AddrFromSlice(b[24:40])
		return from, to, b[6], b[40:n]
	}
	return
}

// parseSegment reads a segment whose checksum is right.
func parseSegment(b []byte) (s segment, from, to uint16, err error) {
	if len(b) < 20 || int(b[12]>>4)*4 < 20 || int(b[12]>>4)*4 > len(b) {
		return s, 0, 0, fmt.Errorf("a malformed segment: % x", b)
	}
	n := int(b[12]>>4) * 4
	s = segment{
		seq: binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]), flags: b[13], window: binary.BigEndian.Uint16(b[14:]),
		urgent: binary.BigEndian.Uint16(b[18:]), options: b[20:n], data: b[n:], scale: -1,
	}
	for o := s.options; len(o) > 0 && o[0] != 0; {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return s, 0, 0, fmt.Errorf("malformed options: % x", s.options)
		}
		v := o[2:o[1]]
		switch {
		case o[0] == 2 && len(v) == 2:
			s.mss = binary.BigEndian.Uint16(v)
		case o[0] == 3 && len(v) == 1:
			s.scale = int(v[0])
		case o[0] == 4:
			s.sackPermitted = true
		case o[0] == 5:
			for ; len(v) >= 8; v = v[8:] {
				s.blocks = append(s.blocks, [2]uint32{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])})
			}
		case o[0] == 8 && len(v) == 8:
			s.stamped, s.stamp, s.echo = true, binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
		}
		o = o[o[1]:]
	}
	return s, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), nil
}

// The options of TCP that cases send.

func optionMSS(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }

func optionScale(n byte) []byte { return []byte{3, 3, n} }

func optionStamp(value, echo uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{8, 10}, value), echo)
}

var optionSACKPermitted = []byte{4, 2}

func optionSACK(from, to uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{5, 10}, from), to)
}

// wire is the far end of a link, without a kernel: it speaks by hand for every address
// that the near end asks for.
type wire struct {
	fd        int
	own, near net.HardwareAddr

	mu    sync.Mutex
	flows map[[2]netip.AddrPort]*flow // by the far and the near address
	// wrong are the packets that should not have been sent.
	wrong []string
}

// newWire listens on an interface of a namespace.
func newWire(t *testing.T, s *space, name string, near net.HardwareAddr) *wire {
	t.Helper()
	w := &wire{near: near, flows: make(map[[2]netip.AddrPort]*flow)}
	s.do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		w.own = l.Attrs().HardwareAddr
		all := int(uint16(unix.ETH_P_ALL)>>8 | uint16(unix.ETH_P_ALL&0xff)<<8)
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: l.Attrs().Index})
	})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		b := make([]byte, 64<<10)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(w.fd, b, 0)
			if err != nil {
				continue // nothing has come for a while
			}
			if sa, ok := from.(*unix.SockaddrLinklayer); ok && sa.Pkttype == unix.PACKET_OUTGOING || n < 14 {
				continue
			}
			w.frame(append([]byte(nil), b[:n]...))
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		unix.Close(w.fd)
		for _, text := range w.wrong {
			t.Error(text)
		}
	})
	return w
}

// sendFrame sends an Ethernet frame; one that the interface does not take is dropped.
func (w *wire) sendFrame(kind uint16, payload []byte) {
	f := append(append([]byte(nil), w.near...), w.own...)
	f = append(binary.BigEndian.AppendUint16(f, kind), payload...)
	if _, err := unix.Write(w.fd, f); err != nil && len(f) < 1500 {
		w.say("sending a frame: %v", err)
	}
}

func (w *wire) sendPacket(b []byte) {
	if b[0]>>4 == 4 {
		w.sendFrame(unix.ETH_P_IP, b)
	} else {
		w.sendFrame(unix.ETH_P_IPV6, b)
	}
}

// frame takes what the near end sends.
func (w *wire) frame(f []byte) {
	b := f[14:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_ARP:
		if len(b) >= 28 && b[7] == 1 && b[24] == 10 { // a request for 10.x.x.x
			reply := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, w.own...)
			reply = append(append(reply, b[24:28]...), b[8:18]...)
			w.sendFrame(unix.ETH_P_ARP, reply)
		}
	case unix.ETH_P_IP, unix.ETH_P_IPV6:
		from, to, protocol, payload := parsePacket(b)
		switch {
		case payload == nil:
			w.say("a malformed packet: % x", b)
		case protocol == unix.IPPROTO_ICMPV6 && len(payload) >= 24 && payload[0] == 135 && payload[8] == 0xfd: // a solicitation
			w.advertise(from, netip.AddrFrom16([16]byte(payload[8:24])))
		case protocol == unix.IPPROTO_TCP:
			if checksum16(pseudoHeader(from, to, protocol, len(payload)), payload) != 0 {
				w.say("a wrong checksum: % x", b)
			}
			s, own, far, err := parseSegment(payload)
			if err != nil {
				w.say("%v", err)
				return
			}
			s.raw = b
			w.mu.Lock()
			defer w.mu.Unlock()
			key := [2]netip.AddrPort{netip.AddrPortFrom(to, far), netip.AddrPortFrom(from, own)}
			if fl := w.flows[key]; fl != nil {
				select {
				case fl.in <- s:
				default: // lost, as packets are
				}
			}
		}
	}
}

// advertise answers who asks for a neighbour (RFC 4861, 4.4).
func (w *wire) advertise(to, target netip.Addr) {
	if to.IsUnspecified() {
		return // it asks whether its own address is taken
	}
	b := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, target.AsSlice()...)
	b = append(append(b, 2, 1), w.own...)
	p := packetIP(target, to, unix.IPPROTO_ICMPV6, b, 2, false)
	p[7] = 255
	w.sendPacket(p)
}

func (w *wire) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) < 10 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// flow is what two addresses say to each other.
type flow struct {
	t         *testing.T
	w         *wire
	far, near netip.AddrPort
	in        chan segment
	seen      []string
}

func (w *wire) flow(t *testing.T, far, near netip.AddrPort) *flow {
	f := &flow{t: t, w: w, far: far, near: near, in: make(chan segment, 4096)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flows[[2]netip.AddrPort{far, near}] = f
	return f
}

// send sends a segment as it is.
func (f *flow) send(s segment) {
	f.seen = append(f.seen, "> "+s.String())
	f.w.sendPacket(s.packet(f.far, f.near))
}

// expect waits for a segment that is as it should be, and passes others over.
func (f *flow) expect(what string, is func(segment) bool) segment {
	f.t.Helper()
	return f.expectWithout(what, is, func(segment) bool { return false })
}

// expectWithout does too, and fails at one that must not come.
func (f *flow) expectWithout(what string, is, not func(segment) bool) segment {
	f.t.Helper()
	limit := time.After(wirePatience)
	for {
		select {
		case s := <-f.in:
			f.seen = append(f.seen, "< "+s.String())
			if not(s) {
				f.t.Fatalf("while %s was awaited, this came: %v\n%s", what, s, f.history())
			}
			if is(s) {
				return s
			}
		case <-limit:
			f.t.Fatalf("%s does not come:\n%s", what, f.history())
		}
	}
}

func (f *flow) history() string {
	return strings.Join(f.seen[max(0, len(f.seen)-40):], "\n")
}

// noOffload has an interface send whole packets with checksums (ethtool(8) -K).
func noOffload(t *testing.T, s *space, name string) {
	t.Helper()
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, command := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
			value := [2]uint32{command, 0}
			var request struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}
			copy(request.name[:], name)
			request.data = unsafe.Pointer(&value)
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); e != 0 {
				return os.NewSyscallError("SIOCETHTOOL", e)
			}
		}
		return nil
	})
}
