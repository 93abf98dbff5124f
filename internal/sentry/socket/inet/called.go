package inet

import (
	"sync"

	"coffer/internal/bpf"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// What is kept of how a connection has begun until somebody accepts it, since the stack's endpoint forgets it.

// calls are the connections of a listener that have begun and that nobody has accepted. After the lock comes only that of
// examined.
type calls struct {
	callMu sync.Mutex
	// answers says that the socket listens.
	answers bool
	begun   map[stack.TransportEndpointID]call
}

// call is one of them.
type call struct {
	// options are those of the first segment's header, as an answer has them: they are the connection's own from
	// then on. nil if it has none.
	options *headerOptions
	// syn is that segment, as far as the listener wants it (TCP_SAVE_SYN).
	syn []byte
	// filter is the connection's own filter.
	filter *bpf.SocketFilter
}

// leastCalls is of how many connections of a listener this is kept at least: also of those that come to nothing.
const leastCalls = 128

// keepCall keeps more of a connection that has begun.
func (l *Socket) keepCall(id stack.TransportEndpointID, keep func(c *call)) {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	if !l.answers {
		return // it has been closed, and has forgotten its calls
	}
	if l.begun == nil {
		l.begun = map[stack.TransportEndpointID]call{}
	}
	c, ok := l.begun[id]
	most := max(leastCalls, int(l.backlog.Load())+1)
	for other := range l.begun {
		if ok || len(l.begun) < most {
			break
		}
		l.forgetCall(other)
	}
	keep(&c)
	l.begun[id] = c
	keepBegun(beginning{l.net.Stack(), id}, l)
}

// filterOfCall is the filter of a connection that nobody has accepted, or nil. As on Linux it is the listener's one until who
// calls has acknowledged the answer.
func (l *Socket) filterOfCall(id stack.TransportEndpointID, state tcp.EndpointState) *bpf.SocketFilter {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	c, ok := l.begun[id]
	if ok && state == tcp.StateSynRecv {
		c.filter = l.FilterProgram()
		l.begun[id] = c
	}
	return c.filter
}

// answerCalls has calls be kept from now on.
func (l *Socket) answerCalls() {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	l.answers = true
}

// forgetCall forgets one. callMu is held.
func (l *Socket) forgetCall(id stack.TransportEndpointID) {
	delete(l.begun, id)
	forgetBegun(beginning{l.net.Stack(), id}, l)
}

// forgetCalls forgets all, and keeps no more.
func (l *Socket) forgetCalls() {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	l.answers = false
	for id := range l.begun {
		l.forgetCall(id)
	}
}

// begins reports whether a segment is the first one of a connection.
func begins(pkt *stack.PacketBuffer) bool {
	h := header.TCP(pkt.TransportHeader().Slice())
	return len(h) >= header.TCPMinimumSize && h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck) == header.TCPFlagSyn
}

// keepCalled keeps the options of a connection's first segment for who listens.
func keepCalled(t *tcp.Endpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	if pkt.NetworkProtocolNumber != header.IPv4ProtocolNumber || !begins(pkt) {
		return
	}
	listeners.RLock()
	l := listeners.m[t]
	listeners.RUnlock()
	if l == nil {
		return
	}
	options := returnedOptions(pkt.NetworkHeader().Slice()[header.IPv4MinimumSize:], l.stampsAt)
	if o, err := parseHeaderOptions(options, true, l.stampsAt); err == nil && o != nil {
		l.keepCall(id, func(c *call) { c.options = o })
	}
}

// callOptions are the options of a segment of a connection that nobody has accepted yet, or nil.
func (l *Socket) callOptions(from, to tcpip.Address, pkt *stack.PacketBuffer) *headerOptions {
	l.callMu.Lock()
	defer l.callMu.Unlock()
	t := header.TCP(pkt.TransportHeader().Slice())
	if len(l.begun) == 0 || len(t) < header.TCPMinimumSize {
		return nil
	}
	return l.begun[stack.TransportEndpointID{
		LocalAddress: from, LocalPort: t.SourcePort(), RemoteAddress: to, RemotePort: t.DestinationPort(),
	}].options
}

// takeCall gives a connection that a listener has accepted what is kept of its beginning.
func (s *Socket) takeCall(l *Socket, peer tcpip.FullAddress) {
	e := s.ep.Load()
	if !s.ownsPackets() {
		setOwner(e, nil) // so far its packets have said that they are the listener's
	}
	local, err := e.GetLocalAddress()
	if err != nil {
		return
	}
	id := stack.TransportEndpointID{
		LocalAddress: unmappedAddress(local.Addr), LocalPort: local.Port, RemoteAddress: unmappedAddress(peer.Addr), RemotePort: peer.Port,
	}
	l.callMu.Lock()
	c, ok := l.begun[id]
	l.callMu.Unlock()
	if !ok {
		return
	}
	if c.options != nil {
		s.always.Store(c.options)
		s.own(e)
	}
	if c.syn != nil {
		s.syn.Store(&c.syn)
	}
	if c.filter != nil {
		s.InheritFilter(c.filter, &l.Filter)
		s.examineSegments(e)
	}
	l.callMu.Lock()
	defer l.callMu.Unlock()
	l.forgetCall(id)
}
