package packet

import (
	"bytes"
	"encoding/binary"
	"time"

	"coffer/internal/bpf"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// frame is one that was received.
type frame struct {
	from address
	// data is what the socket's owner gets, of size bytes that there were.
	data []byte
	size int
	// net is the length of the link's header.
	net int
	at  time.Time
}

// overhead is what a frame is charged beside its bytes.
const overhead = 256

func (f *frame) charge() int { return len(f.data) + overhead }

// HandlePacket implements stack.PacketEndpoint. The stack's caller may hold locks
// of sockets, so nothing here waits.
func (s *Socket) HandlePacket(nic tcpip.NICID, protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	typ := packetTypes[pkt.PktType]
	g, ignores := s.group.Load(), s.ignoreOutgoing.Load()
	if g != nil {
		if !g.leads(s) {
			return
		}
		ignores = g.flags&unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING != 0
	}
	if typ == unix.PACKET_OUTGOING && ignores {
		return
	}
	header, raw := pkt.LinkHeader().Slice(), pkt.ToBuffer()
	whole := raw.Flatten()
	raw.Release()
	f := frame{from: address{protocol: uint16(protocol), index: int32(nic), packetType: typ}, net: len(header), at: time.Now()}
	f.from.hardwareType = unix.ARPHRD_ETHER
	switch {
	case len(header) >= etherHeader:
	case nic != network.LoopbackIndex:
		f.from.hardwareType = unix.ARPHRD_NONE
	default:
		// lo has no header of its own: Linux shows one of zeros.
		f.from.hardwareType = unix.ARPHRD_LOOPBACK
		with := make([]byte, etherHeader, etherHeader+len(whole))
		binary.BigEndian.PutUint16(with[12:], uint16(protocol))
		whole, f.net = append(with, whole...), etherHeader
	}
	if f.net == etherHeader {
		f.from.addr = whole[6:12]
	}
	if g != nil {
		if s = g.choose(&f, whole); s == nil {
			return
		}
	}
	s.take(&f, whole)
}

// take lets a frame through the filter, and in. whole is all of it.
func (s *Socket) take(f *frame, whole []byte) {
	f.data = whole
	if s.typ == unix.SOCK_DGRAM {
		f.data = whole[f.net:]
	}
	f.size = len(f.data)
	if filter := s.FilterProgram(); filter != nil {
		keep := filter.Run(&bpf.Packet{
			Data: f.data, Link: whole, Network: whole[f.net:], Protocol: f.from.protocol, Type: f.from.packetType,
			Interface: uint32(f.from.index), HardwareType: f.from.hardwareType,
		})
		if keep == 0 {
			return
		}
		f.data = f.data[:min(uint64(keep), uint64(len(f.data)))]
	}
	s.mu.Lock()
	kept := s.keep(f, whole)
	s.mu.Unlock()
	if kept {
		s.wait.Notify(waiter.Readable)
	}
}

// keep takes a frame in, or counts it as lost; s.mu is held.
func (s *Socket) keep(f *frame, whole []byte) bool {
	if f.from.packetType == unix.PACKET_OUTGOING && s.sending != nil && bytes.Equal(s.sending, f.sent(s.typ, whole)) {
		return false
	}
	s.packets++
	if s.ring != nil {
		if !s.ring.put(f, s.drops > 0) {
			s.drops++
			s.lost++
			return false
		}
		return true
	}
	n := f.charge()
	if s.used+n > int(s.ReceiveBuffer()) || !shmem.Buffers.Charge(int64(n)) {
		s.drops++
		s.lost++
		return false
	}
	s.queue, s.used = append(s.queue, *f), s.used+n
	return true
}

// sent is the part of a whole frame that a socket of a type sends.
func (f *frame) sent(typ int32, whole []byte) []byte {
	if typ == unix.SOCK_DGRAM {
		return whole[f.net:]
	}
	return whole
}

// recvFlags are those that a receive may have; what others ask for is EINVAL.
const recvFlags = unix.MSG_PEEK | unix.MSG_DONTWAIT | unix.MSG_TRUNC | unix.MSG_ERRQUEUE

// Recv implements socket.Socket.
func (s *Socket) Recv(p []byte, m *socket.Message) (int, error) {
	if m.Flags&^recvFlags != 0 {
		return 0, unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != 0 {
		err := s.err
		s.err = 0
		return 0, err
	}
	if len(s.queue) == 0 {
		return 0, unix.EAGAIN
	}
	f := s.queue[0]
	n := copy(p, f.data)
	m.Flags &^= unix.MSG_TRUNC
	if n < len(f.data) {
		m.Flags |= unix.MSG_TRUNC
	}
	m.Addr = f.from.bytes()
	s.describe(&f, m)
	s.stamp = f.at.UnixNano()
	if m.Flags&unix.MSG_PEEK == 0 {
		s.used -= f.charge()
		shmem.Buffers.Uncharge(int64(f.charge()))
		s.queue[0] = frame{}
		if s.queue = s.queue[1:]; len(s.queue) == 0 {
			s.queue = nil
		}
	}
	return len(f.data), nil
}

// describe adds the control messages that the socket's owner asked for.
func (s *Socket) describe(f *frame, m *socket.Message) {
	m.Control = s.AppendReceived(m.Control, f.at)
	if s.auxdata.Load() {
		// struct tpacket_auxdata
		b := binary.LittleEndian.AppendUint32(nil, unix.TP_STATUS_USER)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.size))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.data)))
		net := f.net
		if s.typ == unix.SOCK_DGRAM {
			net = 0
		}
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(net))
		m.Control = append(m.Control, socket.ControlMessage{Level: unix.SOL_PACKET, Type: unix.PACKET_AUXDATA, Data: append(b, 0, 0, 0, 0)})
	}
}

// Read implements vfs.File.
func (s *Socket) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	var m socket.Message
	n, err := s.Recv(p, &m)
	return min(n, len(p)), err
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	s.mu.Lock()
	var out []byte
	switch cmd {
	case unix.TIOCINQ:
		n := 0
		if len(s.queue) > 0 {
			n = len(s.queue[0].data)
		}
		out = binary.LittleEndian.AppendUint32(nil, uint32(n))
	case unix.TIOCOUTQ:
		out = make([]byte, 4)
	case siocgstamp, siocgstampns:
		if s.stamp == 0 {
			s.mu.Unlock()
			return 0, unix.ENOENT
		}
		frac := s.stamp % 1e9
		if cmd == siocgstamp {
			frac /= 1e3
		}
		out = binary.LittleEndian.AppendUint64(nil, uint64(s.stamp/1e9))
		out = binary.LittleEndian.AppendUint64(out, uint64(frac))
	default:
		s.mu.Unlock()
		return 0, unix.ENOTTY
	}
	s.mu.Unlock()
	_, err := c.CopyOut(arg, out)
	return 0, err
}

// SIOCGSTAMP and SIOCGSTAMPNS of socket(7).
const (
	siocgstamp   = 0x8906
	siocgstampns = 0x8907
)
