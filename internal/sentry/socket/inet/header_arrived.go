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

// The stack's datagrams forget the options of their headers. For sockets that want to know them
// (IP_RECVOPTS, IP_RETOPTS) they are kept beside, and found again by the sender of a datagram
// and the time at which it came. Those of raw sockets are in what they receive.

// keptOptions are those of datagrams that nobody has received yet. The lock is a leaf.
type keptOptions struct {
	keptMu sync.Mutex
	kept   []*arrivedOptions
	// keptOf is the endpoint that they are kept of, or nil.
	keptOf stack.TransportEndpoint
}

// arrivedOptions came with a datagram that the stack was given between two times, the second of
// which is 0 until it has it.
type arrivedOptions struct {
	from       tcpip.Address
	port       uint16
	begin, end time.Time
	data       []byte
}

const (
	// maxKept is of how many datagrams of a socket options are kept.
	maxKept = 1024
	// chargeKept is what options count for.
	chargeKept = 256
)

// keepers are the sockets that want to know options, by their endpoints. The lock is a leaf.
var keepers struct {
	sync.RWMutex
	of map[stack.TransportEndpoint]*Socket
}

func init() { network.SetKeeper(keepOptions) }

// wantsOptions reports whether the socket wants to know the options of what it receives.
func (s *Socket) wantsOptions() bool {
	return s.report.Load()&(reportOptions|reportReturned) != 0
}

// settleOptions begins or ends to keep the options of what an endpoint of the socket's gets, as its program wants it.
func (s *Socket) settleOptions(e tcpip.Endpoint) {
	t, ok := e.(stack.TransportEndpoint)
	if !ok || s.stream() || s.isRaw() {
		return
	}
	if !s.wantsOptions() {
		s.forgetOptions()
		return
	}
	s.keptMu.Lock()
	s.keptOf = t
	s.keptMu.Unlock()
	keepers.Lock()
	if keepers.of == nil {
		keepers.of = map[stack.TransportEndpoint]*Socket{}
	}
	keepers.of[t] = s
	keepers.Unlock()
}

// forgetOptions ends it.
func (s *Socket) forgetOptions() {
	s.keptMu.Lock()
	t := s.keptOf
	s.keptOf = nil
	s.dropKept(len(s.kept))
	s.keptMu.Unlock()
	if t != nil {
		keepers.Lock()
		delete(keepers.of, t)
		keepers.Unlock()
	}
}

// dropKept forgets the first n. s.keptMu is held.
func (s *Socket) dropKept(n int) {
	clear(s.kept[:n])
	if s.kept = s.kept[n:]; len(s.kept) == 0 {
		s.kept = nil
	}
	shmem.Buffers.Uncharge(int64(n) * chargeKept)
}

// keepOptions hands a packet with options to an endpoint, which gets no datagram that there is no room for.
func keepOptions(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand network.Handler) {
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
	a := &arrivedOptions{
		from: id.RemoteAddress, port: id.RemotePort, begin: time.Now(),
		data: slices.Clone(pkt.NetworkHeader().Slice()[header.IPv4MinimumSize:]),
	}
	if s.keepsOptions(a) {
		hand(to, id, pkt)
		s.keptMu.Lock()
		a.end = time.Now()
		s.keptMu.Unlock()
	}
}

// keepsOptions keeps options, if there is room.
func (s *Socket) keepsOptions(a *arrivedOptions) bool {
	s.keptMu.Lock()
	defer s.keptMu.Unlock()
	if s.keptOf == nil {
		return true // it has been closed
	}
	if len(s.kept) >= maxKept {
		if s.ep.Load().Readiness(stackwaiter.ReadableEvents) != 0 {
			return false
		}
		s.dropKept(len(s.kept)) // they were of datagrams that the stack has dropped
	}
	if !shmem.Buffers.Charge(chargeKept) {
		return false
	}
	s.kept = append(s.kept, a)
	return true
}

// optionsOf are the options that a datagram came with, of which data is the beginning; none are nil. What is kept of
// those that came before it is forgotten unless it is only looked at.
func (s *Socket) optionsOf(res *tcpip.ReadResult, data []byte, peek bool) []byte {
	if s.isRaw() {
		if s.family.Load() != unix.AF_INET {
			return nil
		}
		return headerOptionsOf(data)
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

// calledWith are the options that connections which nobody has accepted have begun with, as an answer has them: those
// are a connection's own from then on. The lock is a leaf.
type calledWith struct {
	calledMu sync.Mutex
	calls    map[stack.TransportEndpointID][]byte
}

// maxCalls is of how many connections of a listener they are kept.
const maxCalls = 128

// keepCalled keeps the options of a connection's first segment for who listens.
func keepCalled(t *tcp.Endpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	h := header.TCP(pkt.TransportHeader().Slice())
	if len(h) < header.TCPMinimumSize || h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return
	}
	listeners.RLock()
	l := listeners.m[t]
	listeners.RUnlock()
	if l == nil {
		return
	}
	options := returnedOptions(pkt.NetworkHeader().Slice()[header.IPv4MinimumSize:], l.hasAddress)
	if len(options) == 0 {
		return
	}
	l.calledMu.Lock()
	defer l.calledMu.Unlock()
	if l.calls == nil {
		l.calls = map[stack.TransportEndpointID][]byte{}
	}
	for other := range l.calls {
		if len(l.calls) < maxCalls {
			break
		}
		delete(l.calls, other)
	}
	l.calls[id] = options
}

// takeCalled gives a connection that a listener has accepted the options that it has begun with.
func (s *Socket) takeCalled(l *Socket, peer tcpip.FullAddress) {
	e := s.ep.Load()
	if l.always.Load() != nil {
		s.own(e) // the endpoint's packets would say that they are the listener's
	}
	l.calledMu.Lock()
	defer l.calledMu.Unlock()
	local, err := e.GetLocalAddress()
	if err != nil || len(l.calls) == 0 {
		return
	}
	id := stack.TransportEndpointID{
		LocalAddress: unmappedAddress(local.Addr), LocalPort: local.Port, RemoteAddress: unmappedAddress(peer.Addr), RemotePort: peer.Port,
	}
	options, ok := l.calls[id]
	if delete(l.calls, id); !ok {
		return
	}
	if o, err := parseHeaderOptions(options, true, s.hasAddress); err == nil {
		s.always.Store(o)
		s.own(e)
	}
}

// unmappedAddress is an address of IPv4 as its packets have it.
func unmappedAddress(a tcpip.Address) tcpip.Address {
	if header.IsV4MappedAddress(a) {
		return tcpip.AddrFrom4Slice(a.AsSlice()[12:])
	}
	return a
}
