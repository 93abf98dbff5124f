package packet

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"

	"coffer/internal/bpf"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// defaultMembers and mostMembers are how many sockets a group has at most: if nobody says, and
	// as much as anybody may say.
	defaultMembers, mostMembers = 256, 1 << 16
)

// fanout is a group of sockets which share what comes: each frame is for one of them (PACKET_FANOUT
// in packet(7)). All receive the same protocol from the same interface.
type fanout struct {
	key         fanoutKey
	mode, flags uint16
	protocol    uint16
	index       int32
	most        int

	mu      sync.Mutex
	members []*Socket
	// turn counts frames for PACKET_FANOUT_LB, program is PACKET_FANOUT_DATA.
	turn    uint32
	program *bpf.SocketFilter
}

// fanoutKey is a group's number in a namespace.
type fanoutKey struct {
	stack *stack.Stack
	id    uint16
}

// fanouts are all groups. Its lock comes after Socket.bindMu and before fanout.mu, which comes before
// Socket.mu.
var fanouts struct {
	sync.Mutex
	m map[fanoutKey]*fanout
	// next is the number to begin with for who asks for any.
	next uint16
}

// join is PACKET_FANOUT.
func (s *Socket) join(value []byte) error {
	if len(value) != 4 && len(value) != 8 {
		return unix.EINVAL
	}
	id, flags, most := binary.LittleEndian.Uint16(value), binary.LittleEndian.Uint16(value[2:]), 0
	if len(value) == 8 { // struct fanout_args
		v := binary.LittleEndian.Uint32(value[4:])
		if v > mostMembers {
			return unix.EINVAL
		}
		most = int(v)
	}
	mode := flags & 0xff
	flags &^= 0xff
	switch {
	case mode == unix.PACKET_FANOUT_EBPF:
		return unix.EOPNOTSUPP // there is no bpf(2) to load a program by
	case mode > unix.PACKET_FANOUT_EBPF || mode == unix.PACKET_FANOUT_ROLLOVER && flags&unix.PACKET_FANOUT_FLAG_ROLLOVER != 0:
		return unix.EINVAL
	}
	s.bindMu.Lock()
	defer s.bindMu.Unlock()
	if s.group.Load() != nil {
		return unix.EALREADY
	}
	if s.protocol == 0 {
		return unix.EINVAL
	}
	fanouts.Lock()
	defer fanouts.Unlock()
	if flags&unix.PACKET_FANOUT_FLAG_UNIQUEID != 0 {
		flags &^= unix.PACKET_FANOUT_FLAG_UNIQUEID
		if id != 0 {
			return unix.EINVAL
		}
		id = fanouts.next
		for fanouts.m[fanoutKey{s.stack, id}] != nil {
			if id++; id == fanouts.next {
				return unix.ENOMEM
			}
		}
		fanouts.next = id + 1
	}
	key := fanoutKey{s.stack, id}
	g := fanouts.m[key]
	if g == nil {
		if most == 0 {
			most = defaultMembers
		}
		g = &fanout{key: key, mode: mode, flags: flags, protocol: s.protocol, index: s.index, most: most}
	} else if g.mode != mode || g.flags != flags || g.protocol != s.protocol || g.index != s.index || most != 0 && most != g.most {
		return unix.EINVAL
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) >= g.most {
		return unix.ENOSPC
	}
	g.members = append(g.members, s)
	s.rollover = 0
	s.group.Store(g)
	if fanouts.m == nil {
		fanouts.m = map[fanoutKey]*fanout{}
	}
	fanouts.m[key] = g
	return nil
}

// leave takes a socket that is closed out of its group, which ends with the last one. s.bindMu is held.
func (s *Socket) leave() {
	g := s.group.Load()
	if g == nil {
		return
	}
	defer s.group.Store(nil) // who leads does until the next one does
	fanouts.Lock()
	defer fanouts.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	i, last := slices.Index(g.members, s), len(g.members)-1
	g.members[i] = g.members[last] // as on Linux, which tells who is chosen from then on
	g.members[last] = nil
	if g.members = g.members[:last]; last == 0 {
		delete(fanouts.m, g.key)
	}
}

// fanoutOption is PACKET_FANOUT as getsockopt(2) has it.
func (s *Socket) fanoutOption() []byte {
	g := s.group.Load()
	if g == nil {
		return socket.Number(0)
	}
	return socket.Number(int32(uint32(g.key.id) | uint32(g.mode|g.flags)<<16))
}

// setProgram is PACKET_FANOUT_DATA: the program of PACKET_FANOUT_CBPF.
func (s *Socket) setProgram(c vfs.Caller, value []byte) error {
	g := s.group.Load()
	if g == nil || g.mode != unix.PACKET_FANOUT_CBPF {
		return unix.EINVAL
	}
	if s.FilterLocked() {
		return unix.EPERM
	}
	f, err := s.CopyInFilter(c, value)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.program = f
	g.mu.Unlock()
	return nil
}

// leads reports whether a member hands out the frames: the stack gives each to all.
func (g *fanout) leads(s *Socket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members) > 0 && g.members[0] == s
}

// choose returns the member that a frame is for, or nil.
func (g *fanout) choose(f *frame, whole []byte) *Socket {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := uint32(len(g.members))
	if n == 0 || f.from.packetType == unix.PACKET_OUTGOING && g.sends(f, whole) {
		return nil
	}
	at := uint32(0) // all comes in a single queue, on the first processor
	switch g.mode {
	case unix.PACKET_FANOUT_HASH:
		at = uint32(uint64(flowHash(whole, f.net, f.from.protocol)) * uint64(n) >> 32)
	case unix.PACKET_FANOUT_LB:
		g.turn++
		at = g.turn % n
	case unix.PACKET_FANOUT_RND:
		at = rand.Uint32N(n)
	case unix.PACKET_FANOUT_CBPF:
		if g.program != nil {
			at = g.program.Run(g.packet(f, whole)) % n
		}
	case unix.PACKET_FANOUT_ROLLOVER:
		at = g.roll(0, false, len(whole))
	}
	if g.flags&unix.PACKET_FANOUT_FLAG_ROLLOVER != 0 {
		at = g.roll(at, true, len(whole))
	}
	return g.members[at]
}

// packet is what a group's program sees of a frame: what has come from its network's header on, as
// Linux has it at that time.
func (g *fanout) packet(f *frame, whole []byte) *bpf.Packet {
	p := &bpf.Packet{
		Data: whole, Link: whole, Network: whole[f.net:], Protocol: f.from.protocol, Type: f.from.packetType,
		Interface: uint32(f.from.index), HardwareType: f.from.hardwareType,
	}
	if p.Type != unix.PACKET_OUTGOING {
		p.Data = p.Network
	}
	return p
}

// sends reports whether a member is sending the frame, which none is to hear then. g.mu is held.
func (g *fanout) sends(f *frame, whole []byte) bool {
	for _, s := range g.members {
		s.mu.Lock()
		own := s.sending != nil && bytes.Equal(s.sending, f.sent(s.typ, whole))
		s.mu.Unlock()
		if own {
			return true
		}
	}
	return false
}

// roll goes on from a member to the next that has room to spare; with trySelf only if that one has no
// room at all. g.mu is held.
func (g *fanout) roll(at uint32, trySelf bool, size int) uint32 {
	s := g.members[at]
	if trySelf && s.room(size) > 0 {
		return at
	}
	first := min(s.rollover, len(g.members)-1)
	for k := range g.members {
		i := (first + k) % len(g.members)
		next := g.members[i]
		if trySelf && next == s || next.room(size) <= int(next.ReceiveBuffer())/4 {
			continue
		}
		s.rollover = i
		return uint32(i)
	}
	return at
}

// room is how many bytes the socket takes beside a frame of a size; of a ring, all or nothing.
func (s *Socket) room(size int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := int(s.ReceiveBuffer())
	if s.ring != nil {
		if s.ring.free() {
			return limit
		}
		return 0
	}
	return limit - s.used - size - overhead
}

// flowSeed makes what flowHash says unforeseeable.
var flowSeed = maphash.MakeSeed()

// flowHash is the same for all packets of a flow, in both directions. Fragments have no ports but
// in the first one, so that these do not count.
func flowHash(whole []byte, net int, protocol uint16) uint32 {
	const ports = 4
	packet := whole[min(net, len(whole)):]
	var from, to, payload []byte
	var transport uint8
	switch {
	case protocol == unix.ETH_P_IP && len(packet) >= header.IPv4MinimumSize:
		h := header.IPv4(packet)
		from, to, transport = packet[12:16], packet[16:20], packet[9]
		if length := int(h.HeaderLength()); !h.More() && h.FragmentOffset() == 0 && length <= len(packet) {
			payload = packet[length:]
		}
	case protocol == unix.ETH_P_IPV6 && len(packet) >= header.IPv6MinimumSize:
		from, to, transport, payload = packet[8:24], packet[24:40], packet[6], packet[header.IPv6MinimumSize:]
	default:
		return 0
	}
	var key [2*16 + ports + 1]byte
	var fromPort, toPort []byte
	switch transport {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE, unix.IPPROTO_DCCP:
		if len(payload) >= ports {
			fromPort, toPort = payload[:2], payload[2:4]
		}
	}
	if order := bytes.Compare(from, to); order > 0 || order == 0 && bytes.Compare(fromPort, toPort) > 0 {
		from, to, fromPort, toPort = to, from, toPort, fromPort
	}
	b := key[:0]
	for _, part := range [...][]byte{from, to, fromPort, toPort, {transport}} {
		b = append(b, part...)
	}
	return uint32(maphash.Bytes(flowSeed, b))
}
