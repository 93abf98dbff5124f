package inet

import (
	"sync/atomic"

	"coffer/internal/sentry/waiter"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// endpoint is the stack's side of a socket. Of a connection that is made past the stack it
// answers in its place, and has the stack's endpoint for its options and its name only.
type endpoint struct {
	tcpip.Endpoint
	queue *stackwaiter.Queue
	entry stackwaiter.Entry
	owner *Socket
	// reported says that the error which ended a connection has been taken.
	reported atomic.Bool
	// fitted is for how many bytes of options segments leave room; the socket's sendMu protects it.
	fitted int
	// listens says that the endpoint listens, waiting is how many connections the stack has for
	// accept(2) then: it tells of each when it comes.
	listens atomic.Bool
	waiting atomic.Int32
	// examined says that segments for the endpoint are looked at.
	examined atomic.Bool
	// leaveRaw has the stack hand it no more packets, nil unless it is one of a raw socket that is handed them.
	leaveRaw func()
	// half is the endpoint's side of a connection past the stack, or nil.
	half atomic.Pointer[half]
}

// NotifyEvent tells those who wait for the socket. The end of what the peer sends is
// to the stack but a reason to read.
func (e *endpoint) NotifyEvent(m stackwaiter.EventMask) {
	if m&stackwaiter.EventIn != 0 {
		m |= stackwaiter.EventRdHUp
		if e.listens.Load() {
			e.waiting.Add(1)
		}
		e.owner.chargeRecv(e)
		if !e.owner.stream() && !e.owner.wait.Empty() {
			awaited.Add(1)
		}
	}
	told := waiter.Mask(m)
	if told&waiter.Err != 0 {
		told |= waiter.Pri // to some an error is an exception (SO_SELECT_ERR_QUEUE)
	}
	e.owner.wait.Notify(told)
}

// state is the state of a stream's connection.
func (e *endpoint) state() tcp.EndpointState {
	if h := e.half.Load(); h != nil {
		return h.current()
	}
	return tcp.EndpointState(e.State())
}

// connected reports whether there is a connection in a state, be it about to end.
func connected(state tcp.EndpointState) bool {
	switch state {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateTimeWait:
		return true
	}
	return false
}

// GetLocalAddress implements tcpip.Endpoint.
func (e *endpoint) GetLocalAddress() (tcpip.FullAddress, tcpip.Error) {
	if h := e.half.Load(); h != nil {
		return h.address[h.side], nil
	}
	return e.Endpoint.GetLocalAddress()
}

// GetRemoteAddress implements tcpip.Endpoint.
func (e *endpoint) GetRemoteAddress() (tcpip.FullAddress, tcpip.Error) {
	h := e.half.Load()
	if h == nil {
		return e.Endpoint.GetRemoteAddress()
	}
	if !connected(h.current()) {
		return tcpip.FullAddress{}, &tcpip.ErrNotConnected{}
	}
	return h.address[1-h.side], nil
}

// Readiness implements tcpip.Endpoint. What a connection past the stack is ready for, the
// socket knows.
func (e *endpoint) Readiness(m stackwaiter.EventMask) stackwaiter.EventMask {
	if e.half.Load() != nil {
		return m & stackwaiter.WritableEvents
	}
	return e.Endpoint.Readiness(m)
}

// Close implements tcpip.Endpoint.
func (e *endpoint) Close() {
	if e.leaveRaw != nil {
		e.leaveRaw()
	}
	if h := e.half.Load(); h != nil {
		h.leave(e.Endpoint, false)
		return
	}
	e.Endpoint.Close()
}

// Abort implements tcpip.Endpoint.
func (e *endpoint) Abort() {
	if e.leaveRaw != nil {
		e.leaveRaw()
	}
	if h := e.half.Load(); h != nil {
		h.leave(e.Endpoint, true)
		return
	}
	e.Endpoint.Abort()
}

// drops is how many datagrams came that there was no room for.
func (s *Socket) drops(e *endpoint) uint64 {
	stats, ok := e.Stats().(*tcpip.TransportEndpointStats)
	if !ok {
		return 0 // a stream's
	}
	return s.droppedBefore.Load() + stats.ReceiveErrors.ReceiveBufferOverflow.Value()
}

// info is what TCP_INFO has from the stack, and how many segments there were.
func (e *endpoint) info() (info tcpip.TCPInfoOption, sent, received uint64) {
	if h := e.half.Load(); h != nil {
		info.State = tcpip.EndpointState(h.current())
		if h.side == caller {
			return info, 2, 1 // SYN and ACK
		}
		return info, 1, 2
	}
	if err := e.GetSockOpt(&info); err != nil {
		info.State = tcpip.EndpointState(tcp.StateClose)
	}
	if stats, ok := e.Stats().(*tcp.Stats); ok {
		sent, received = stats.SegmentsSent.Value(), stats.SegmentsReceived.Value()
	}
	return info, sent, received
}
