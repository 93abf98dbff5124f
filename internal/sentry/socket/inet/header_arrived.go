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
// sender of a datagram and the time at which it came. Those of raw sockets of IPv4 are in what they receive.

// keptHeaders are those of datagrams that nobody has received yet. After the lock come only that of keepers and those
// of an endpoint.
type keptHeaders struct {
	keptMu sync.Mutex
	kept   []*arrivedHeader
	// keptSize is how many bytes they have.
	keptSize int64
	// keptOf is the endpoint that they are kept of, or nil.
	keptOf stack.TransportEndpoint
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
	t, ok := e.(stack.TransportEndpoint)
	if !ok || s.stream() || s.isRaw() {
		return
	}
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	if s.report.Load()&reportsHeader == 0 {
		s.dropKept(len(s.kept))
		t = nil
	}
	s.keepOf(t)
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
func (s *Socket) keepOf(t stack.TransportEndpoint) {
	if t == s.keptOf {
		return
	}
	keepers.Lock()
	defer keepers.Unlock()
	delete(keepers.of, s.keptOf)
	if s.keptOf = t; t == nil {
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
	a := &arrivedHeader{
		from: id.RemoteAddress, port: id.RemotePort, begin: time.Now(),
		data: slices.Clone(pkt.NetworkHeader().Slice()),
	}
	if s.keepsHeader(a) {
		hand(to, id, pkt)
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
	if s.isRaw() {
		if s.family.Load() != unix.AF_INET {
			return nil
		}
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
