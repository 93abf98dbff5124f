package inet

import (
	"slices"
	"sync"
	"time"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// The stack's datagrams forget the options of their headers, and extension headers. For sockets that want to
// know them (IP_RECVOPTS, IP_RETOPTS, IPV6_RECVHOPOPTS and the like) the headers are kept beside, and found again by the
// sender of a datagram and the time at which it came. Those of raw sockets of IPv4 are in what they receive; to raw sockets
// of IPv6 the stack hands packets by the socket's own endpoint.

// keptHeaders are those of datagrams that nobody has received yet. After the lock come only that of keepers and those
// of an endpoint.
type keptHeaders struct {
	keptMu sync.Mutex
	kept   []*arrivedHeader
	// keptSize is how many bytes they have.
	keptSize int64
	// keptOf is the endpoint that they are kept of, or nil.
	keptOf tcpip.Endpoint
}

// arrivedHeader is that of a datagram that the stack was given between two times, the second of
// which is 0 until it has it.
type arrivedHeader struct {
	from       tcpip.Address
	port       uint16
	begin, end time.Time
	data       []byte
}

const (
	// maxKept is of how many datagrams of a socket headers are kept.
	maxKept = 1024
	// chargeKept is what a header counts for beside its bytes.
	chargeKept = 128
)

// keepers are the sockets that want to know headers, by their endpoints. The lock is a leaf.
var keepers struct {
	sync.RWMutex
	of map[stack.TransportEndpoint]*Socket
}

func init() { network.SetKeeper(keepHeader) }

// settleHeaders begins or ends to keep the headers of what an endpoint of the socket's gets, as its program wants it.
func (s *Socket) settleHeaders(e tcpip.Endpoint) {
	if s.stream() || s.isRaw() && s.family.Load() == unix.AF_INET {
		return
	}
	if of, ok := e.(*endpoint); ok {
		e = of.Endpoint
	}
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	if s.report.Load()&reportsHeader == 0 {
		s.dropKept(len(s.kept))
		e = nil
	}
	s.keepOf(e)
}

// forgetHeaders ends it.
func (s *Socket) forgetHeaders() {
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	s.dropKept(len(s.kept))
	s.keepOf(nil)
}

// keepOf has the headers be kept of what an endpoint gets from now on, or of none's, and no longer of the one before.
// s.keptMu is held.
func (s *Socket) keepOf(e tcpip.Endpoint) {
	if e == s.keptOf {
		return
	}
	keepers.Lock()
	defer keepers.Unlock()
	if t, ok := s.keptOf.(stack.TransportEndpoint); ok {
		delete(keepers.of, t)
	}
	s.keptOf = e
	t, ok := e.(stack.TransportEndpoint)
	if !ok { // a raw one
		return
	}
	if keepers.of == nil {
		keepers.of = map[stack.TransportEndpoint]*Socket{}
	}
	keepers.of[t] = s
}

// dropKept forgets the first n. s.keptMu is held.
func (s *Socket) dropKept(n int) {
	size := int64(0)
	for _, a := range s.kept[:n] {
		size += a.charge()
	}
	s.keptSize -= size
	clear(s.kept[:n])
	if s.kept = s.kept[n:]; len(s.kept) == 0 {
		s.kept = nil
	}
	shmem.Buffers.Uncharge(size)
}

func (a *arrivedHeader) charge() int64 { return int64(len(a.data)) + chargeKept }

// keepHeader hands a packet with options or extensions to an endpoint, which gets no datagram that there is no room for.
func keepHeader(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand network.Handler) {
	if t, ok := to.(*tcp.Endpoint); ok {
		keepCalled(t, id, pkt)
		hand(to, id, pkt)
		return
	}
	keepers.RLock()
	s := keepers.of[to]
	keepers.RUnlock()
	if s == nil {
		hand(to, id, pkt)
		return
	}
	s.keepWhile(id.RemoteAddress, id.RemotePort, pkt, func() { hand(to, id, pkt) })
}

// HandlePacket implements stack.RawTransportEndpoint for raw sockets of IPv6.
func (e *endpoint) HandlePacket(pkt *stack.PacketBuffer) {
	hand := func() { e.Endpoint.(stack.RawTransportEndpoint).HandlePacket(pkt) }
	report := e.owner.report.Load()
	if len(pkt.NetworkHeader().Slice()) == header.IPv6MinimumSize && report&reportFlow == 0 || report&reportsHeader == 0 {
		hand()
		return
	}
	e.owner.keepWhile(pkt.Network().SourceAddress(), 0, pkt, hand)
}

// takeRaw has packets for an endpoint of a raw socket of IPv6 come by HandlePacket.
func (s *Socket) takeRaw(e *endpoint) {
	if t, ok := e.Endpoint.(stack.RawTransportEndpoint); ok && s.isRaw() && s.family.Load() == unix.AF_INET6 && s.protocol != unix.IPPROTO_RAW {
		st, number := s.net.Stack(), tcpip.TransportProtocolNumber(s.protocol)
		st.UnregisterRawTransportEndpoint(header.IPv6ProtocolNumber, number, t)
		st.RegisterRawTransportEndpoint(header.IPv6ProtocolNumber, number, e)
		e.leaveRaw = func() { st.UnregisterRawTransportEndpoint(header.IPv6ProtocolNumber, number, e) }
	}
}

// keepWhile has a packet from somewhere be handed over, and its header be kept if it is.
func (s *Socket) keepWhile(from tcpip.Address, port uint16, pkt *stack.PacketBuffer, hand func()) {
	a := &arrivedHeader{from: from, port: port, begin: time.Now(), data: slices.Clone(pkt.NetworkHeader().Slice())}
	if s.keepsHeader(a) {
		hand()
		s.keptMu.Lock()
		a.end = time.Now()
		s.keptMu.Unlock()
	}
}

// keepsHeader keeps a header, if there is room.
func (s *Socket) keepsHeader(a *arrivedHeader) bool {
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	if s.keptOf == nil {
		return true // it has been closed
	}
	e := s.ep.Load()
	if len(s.kept) >= maxKept || s.keptSize > 0 && s.keptSize >= e.SocketOptions().GetReceiveBufferSize() {
		if e.Readiness(stackwaiter.ReadableEvents) != 0 {
			return false
		}
		s.dropKept(len(s.kept)) // they were of datagrams that the stack has dropped
	}
	if !shmem.Buffers.Charge(a.charge()) {
		return false
	}
	s.keptSize += a.charge()
	s.kept = append(s.kept, a)
	return true
}

// headerOf is the header of a datagram's packet, of which data is the beginning; nil if it has neither options nor
// extensions. What is kept of those that came before it is forgotten unless it is only looked at.
func (s *Socket) headerOf(res *tcpip.ReadResult, data []byte, peek bool) []byte {
	if s.isRaw() && s.family.Load() == unix.AF_INET {
		return data
	}
	at := res.ControlMessages.Timestamp
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	before := 0
	for i, a := range s.kept {
		if a.begin.After(at) {
			break
		}
		if !a.end.IsZero() && a.end.Before(at) {
			if before == i {
				before++
			}
			continue
		}
		if a.port == res.RemoteAddr.Port && a.from == res.RemoteAddr.Addr {
			if !peek {
				s.dropKept(i + 1)
			}
			return a.data
		}
	}
	if !peek {
		s.dropKept(before)
	}
	return nil
}

// unmappedAddress is an address of IPv4 as its packets have it.
func unmappedAddress(a tcpip.Address) tcpip.Address {
	if header.IsV4MappedAddress(a) {
		return tcpip.AddrFrom4Slice(a.AsSlice()[12:])
	}
	return a
}
