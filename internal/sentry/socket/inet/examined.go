package inet

import (
	"sync"

	"coffer/internal/bpf"
	"coffer/internal/sentry/network"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Segments for some sockets are looked at before the stack has them: for those with a filter, and for those that
// listen and keep how connections begin.

// examined are the streams whose segments are looked at, by their endpoints, and those that listen by the connections
// of whose beginning something is kept. The lock is a leaf.
var examined struct {
	sync.RWMutex
	of    map[stack.TransportEndpoint]*Socket
	begun map[beginning]*Socket
}

// beginning is a connection that nobody has accepted.
type beginning struct {
	stack *stack.Stack
	id    stack.TransportEndpointID
}

// examineSegments has segments for an endpoint of the socket's be looked at from now on, or no longer, as it has to be.
// s.mu is held, or nobody else knows s.
func (s *Socket) examineSegments(e *endpoint) {
	if !s.stream() {
		return
	}
	if s.FilterProgram() == nil && !(s.listening && s.saveSYN.Load() != 0) {
		stopExamining(e)
		return
	}
	examined.Lock()
	defer examined.Unlock()
	if examined.of == nil {
		examined.of = map[stack.TransportEndpoint]*Socket{}
	}
	examined.of[e.Endpoint.(*tcp.Endpoint)] = s
	e.examined.Store(true)
	settleExaminer()
}

// settleExaminer has segments be looked at as long as somebody wants it. The lock is held.
func settleExaminer() {
	if len(examined.of)+len(examined.begun) > 0 {
		network.SetExaminer(examineSegment)
	} else {
		network.SetExaminer(nil)
	}
}

// stopExamining has segments for an endpoint not be looked at any more.
func stopExamining(e *endpoint) {
	if !e.examined.Swap(false) {
		return
	}
	examined.Lock()
	defer examined.Unlock()
	delete(examined.of, e.Endpoint.(*tcp.Endpoint))
	settleExaminer()
}

// keepBegun has segments of a connection be looked at that has begun at a listener.
func keepBegun(b beginning, l *Socket) {
	examined.Lock()
	defer examined.Unlock()
	if examined.begun == nil {
		examined.begun = map[beginning]*Socket{}
	}
	examined.begun[b] = l
	settleExaminer()
}

// forgetBegun has them not be looked at any more.
func forgetBegun(b beginning, l *Socket) {
	examined.Lock()
	defer examined.Unlock()
	if examined.begun[b] == l {
		delete(examined.begun, b)
	}
	settleExaminer()
}

// examineSegment hands a segment to an endpoint, if it may have it.
func examineSegment(st *stack.Stack, to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand network.Handler) {
	examined.RLock()
	s, began := examined.of[to], beginning{st, id}
	l := examined.begun[began]
	examined.RUnlock()
	var filter *bpf.SocketFilter
	state := to.(*tcp.Endpoint).EndpointState()
	if l != nil && state == tcp.StateListen && begins(pkt) {
		l.callMu.Lock()
		l.forgetCall(id) // it has come to nothing
		l.callMu.Unlock()
		l = nil
	}
	switch {
	case s != nil && state != tcp.StateTimeWait: // on Linux the socket is no part of the connection any more
		filter = s.FilterProgram()
	case l != nil:
		filter = l.filterOfCall(id, state)
	}
	if filter != nil {
		if pkt = filtered(filter, pkt); pkt == nil {
			return
		}
		defer pkt.DecRef()
	}
	if s != nil && state == tcp.StateListen && begins(pkt) {
		s.keepCall(id, func(c *call) {
			if want := s.saveSYN.Load(); want != 0 {
				c.syn = headersOf(pkt, want)
			}
			c.filter = filter
		})
	}
	hand(to, id, pkt)
}
