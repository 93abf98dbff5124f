package inet

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/ring"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// The bytes of a connection whose ends are both in one network namespace go from socket to
// socket, past the stack: as on Linux, what has been sent over loopback is there when
// send(2) returns, and it costs neither segments nor the stack's goroutines. Most such
// connections are made past the stack too (meet.go). Where the stack has made one, it also
// ends it, and the bytes go past it from accept(2) on: what the client sent before comes
// first, through the stack, and when an end is closed the other goes on with the stack,
// which answers as for any connection.
//
// Who captures packets is to see them: a connection that begins while somebody does stays
// with the stack.

// near is a connection within a namespace.
type near struct {
	mu sync.Mutex
	// flows are what the two ends receive.
	flows [2]flow
	// reset says that an end went away with a reset.
	reset bool
	// pair is the connection itself if it was made past the stack, or nil.
	pair *pair
}

// flow is one direction of a near connection. near.mu is held.
type flow struct {
	data ring.Buffer
	// over says that no more will be sent, gone that nobody is there to receive.
	over, gone bool
	// starved says that the sender waits for room.
	starved bool
	// taken is how many bytes have been read, urgentAt which of them is urgent.
	taken, urgentAt int64
	urgency         urgency
	withheld
	// unheeded is how many bytes were sent after the receiver had gone, whose answer the sender's filter keeps back.
	unheeded int
}

// end is a socket's part in a near connection.
type end struct {
	*near
	side      int
	own, peer *Socket
	// viaStack is how many bytes are yet to come through the stack, before all others.
	viaStack atomic.Int64
	// charged is what these count for.
	charged atomic.Int64
}

// half is the socket's side of a connection that was made past the stack.
func (n *end) half() half { return half{n.pair, n.side} }

func (n *end) in() *flow  { return &n.flows[n.side] }
func (n *end) out() *flow { return &n.flows[1-n.side] }

// bytes are how many have been sent and received past the stack, which counts none.
func (n *end) bytes() (sent, received int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := func(f *flow) int64 { return f.taken + int64(f.data.Len()) }
	return all(n.out()), all(n.in())
}

// deaf reports whether the other end takes nothing any more: its socket is closed, or has been
// shut down in both directions. near.mu is held.
func (n *end) deaf() bool {
	return n.out().gone || n.in().over && n.peer.shut.Load() == bothShut
}

// cameViaStack counts bytes that came through the stack.
func (n *end) cameViaStack(count int) {
	if n.viaStack.Add(-int64(count)) == 0 {
		shmem.Buffers.Uncharge(n.charged.Swap(0))
	}
}

// nearBuffer is how much each end lets a flow hold if its SO_SNDBUF or SO_RCVBUF does not say:
// less than what Linux's buffers grow to (tcp_wmem, tcp_rmem), and so much that a sender need
// not sleep while the receiver wakes. It is scarceBuffer where all buffers together have taken
// more than half of what they may (tcp_mem).
const nearBuffer, scarceBuffer = 512 << 10, 256 << 10

// capacity is how much a flow may hold.
func capacity(from, to *Socket) int {
	return size(&from.sendBuffer) + size(&to.recvBuffer)
}

func size(set *atomic.Int32) int {
	if v := set.Load(); v != 0 {
		return int(v)
	}
	if shmem.Buffers.Room() < shmem.Buffers.Used() {
		return scarceBuffer
	}
	return nearBuffer
}

// roomy reports whether a third of a flow is free: as on Linux, that makes a sender go on.
func roomy(f *flow, limit int) bool { return f.data.Len() <= limit-limit/3 }

// route is where a connection comes from and goes to, and in which namespace.
type route struct {
	net      *network.Namespace
	from, to netip.AddrPort
}

// callers are the sockets that have connected to an address of their own namespace by the
// stack and have not been accepted. The lock is a leaf.
var callers struct {
	sync.Mutex
	m map[route]*Socket
}

// call makes a connecting socket known to whoever accepts it. s.mu is held.
func (s *Socket) call(e *endpoint, to tcpip.FullAddress) {
	if s.net.Observed() || s.FilterProgram() != nil {
		return
	}
	from, err := e.GetLocalAddress()
	if err != nil {
		return
	}
	if to.Addr.Unspecified() {
		to.Addr = from.Addr
	}
	r := route{s.net, unmapped(s.family.Load(), from), unmapped(s.family.Load(), to)}
	if s.net.Stack().CheckLocalAddress(0, networkOf(r.to.Addr()), tcpip.AddrFromSlice(r.to.Addr().AsSlice())) == 0 {
		return
	}
	s.called = r
	s.calling.Store(true)
	callers.Lock()
	defer callers.Unlock()
	if callers.m == nil {
		callers.m = map[route]*Socket{}
	}
	callers.m[r] = s
}

// hangUp makes a socket unknown again. s.mu is held.
func (s *Socket) hangUp() {
	if s.called == (route{}) {
		return
	}
	callers.Lock()
	defer callers.Unlock()
	if callers.m[s.called] == s {
		delete(callers.m, s.called)
	}
	s.called = route{}
	s.calling.Store(false)
}

func networkOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return networkProtocol(unix.AF_INET)
	}
	return networkProtocol(unix.AF_INET6)
}

// answer joins a connection that was just accepted, and that nobody has seen yet, to the
// socket that called, if that is one of the namespace.
func (s *Socket) answer(e tcpip.Endpoint, peer tcpip.FullAddress) {
	local, err := e.GetLocalAddress()
	if err != nil {
		return
	}
	r := route{s.net, unmapped(s.family.Load(), peer), unmapped(s.family.Load(), local)}
	callers.Lock()
	c := callers.m[r]
	delete(callers.m, r)
	callers.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.called != r {
		return // it has been closed, or connects elsewhere
	}
	c.called = route{}
	c.calling.Store(false)
	if s.FilterProgram() != nil || c.FilterProgram() != nil {
		return
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	n := new(near)
	mine, theirs := &end{near: n, side: 0, own: s, peer: c}, &end{near: n, side: 1, own: c, peer: s}
	mine.viaStack.Store(c.sentBefore)
	mine.charged.Store(c.charges.send) // what goes through the stack is ours to receive
	c.charges.send = 0
	mine.in().over = c.shut.Load()&sendShut != 0
	s.end.Store(mine)
	c.end.Store(theirs)
}

// sendNear sends to the other end. ok is false if that has gone, and the stack is to
// be asked. With urgent the last byte of p is to be urgent. s.sendMu is held.
func (s *Socket) sendNear(n *end, p []byte, urgent bool) (done int, ok bool, err error) {
	n.mu.Lock()
	out := n.out()
	switch room := capacity(s, n.peer) - out.data.Len(); {
	case n.reset:
		err = unix.EPIPE
	case out.over:
		err = unix.EPIPE
	case n.deaf() && n.pair == nil:
		n.mu.Unlock()
		return 0, false, nil
	case len(p) == 0:
	case n.deaf():
		// What is sent to nobody is answered with a reset, which comes afterwards.
		if n.meetNobody(false) {
			done = len(p)
		} else if done = min(len(p), capacity(s, n.peer)-out.unheeded); done <= 0 {
			done, err = 0, unix.EAGAIN
		}
		out.unheeded += done
		n.mu.Unlock()
		n.tellBoth()
		return done, true, err
	case room <= 0:
		out.starved = true
		err = unix.EAGAIN
	default:
		if done = min(len(p), room); done < len(p) {
			out.starved = true
		}
		if !out.data.Reserve(done) {
			done, err = 0, unix.ENOBUFS
			break
		}
		if urgent = urgent && done == len(p); urgent {
			out.passMark(n.peer.oobInline.Load())
		}
		out.data.Write(p[:done])
		if urgent {
			out.mark()
		}
		n.pass(done)
	}
	n.mu.Unlock()
	if done > 0 {
		events := waiter.Readable
		if urgent {
			events |= waiter.Pri
			if d := n.peer.desc.Load(); d != nil {
				d.Urge()
			}
		}
		n.peer.wait.Notify(events)
	}
	if err == unix.EPIPE {
		if pending := s.takeError(s.ep.Load()); pending != nil {
			err = pending
		}
	}
	return done, true, err
}

// recvNear takes what the other end has sent. s.recvMu is held.
func (s *Socket) recvNear(n *end, p []byte, peek bool) (int, error) {
	n.mu.Lock()
	in := n.in()
	done := in.take(p, peek, s.oobInline.Load())
	there := done > 0 || len(p) == 0 && in.shown() > 0
	over, kept, wake := in.ended() || n.reset, in.keeps(), false
	if done > 0 && !peek && in.starved && roomy(in, capacity(n.peer, s)) {
		in.starved, wake = false, true
	}
	n.mu.Unlock()
	if wake {
		n.peer.wait.Notify(waiter.Writable)
	}
	if there {
		return done, nil
	}
	return 0, s.nothing(over, kept)
}

// nothing says what a receive that finds nothing ends with; nil is the end of what is sent,
// as over says. kept says that a filter keeps something back, also if the connection has ended.
func (s *Socket) nothing(over, kept bool) error {
	e := s.ep.Load()
	if over && unix.Errno(s.err.Load()) == unix.EPIPE {
		return nil // the reset came after the end
	}
	if err := s.takeError(e); err != nil {
		return err
	}
	if over || s.shut.Load()&recvShut != 0 || !kept && ended(e.state()) {
		return nil
	}
	return unix.EAGAIN
}

// ended reports whether a connection is no more.
func ended(state tcp.EndpointState) bool { return state == tcp.StateError || state == tcp.StateClose }

// nearReadiness is what poll(2) says of an end.
func (s *Socket) nearReadiness(n *end, e *endpoint) waiter.Mask {
	const all = waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup
	shut := s.shut.Load()
	n.mu.Lock()
	in, out := n.in(), n.out()
	there, pri := in.shown(), in.urgency == urgentThere && in.urgentAt-in.taken < int64(in.shown())
	if there > 0 && in.atMark() && !s.oobInline.Load() {
		there--
	}
	there += s.unread.Len()
	if in.ended() {
		shut |= recvShut
	}
	limit := capacity(s, n.peer)
	writable, deaf, over := roomy(out, limit), n.deaf(), n.reset || !in.keeps() && ended(e.state())
	if !writable {
		out.starved = true
	}
	if out.unheeded > 0 { // the sender does not know that nobody hears
		writable, deaf = out.unheeded <= limit-limit/3, false
	}
	n.mu.Unlock()
	if over {
		return all
	}
	var m waiter.Mask
	if n.viaStack.Load() > 0 {
		m |= waiter.Mask(e.Readiness(stackwaiter.ReadableEvents)) & waiter.Readable
	}
	if there > 0 && there >= int(s.lowat.Load()) {
		m |= waiter.Readable
	}
	if pri {
		m |= waiter.Pri
	}
	if deaf {
		m |= waiter.Mask(e.Readiness(stackwaiter.WritableEvents)) & waiter.Writable
	} else if writable {
		m |= waiter.Writable
	}
	if shut&recvShut != 0 {
		m |= waiter.Readable | waiter.RdHup
	}
	if shut&sendShut != 0 {
		m |= waiter.Writable
	}
	if shut == bothShut {
		m |= waiter.Hup
	}
	return m
}

// finish ends what the socket sends: its shutdown(2).
func (n *end) finish() {
	n.mu.Lock()
	n.stop()
	n.mu.Unlock()
	n.peer.wait.Notify(waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup)
}

// stop says that no more will be sent. near.mu is held.
func (n *end) stop() {
	if out := n.out(); !out.over {
		out.over = true
		n.passEnd()
		if n.pair != nil {
			n.half().finish()
			if n.in().lost {
				n.meetNobody(false)
			}
		}
	}
}

// depart takes a socket out of its connection. With bytes that nobody has read, or if
// reset says so, the other end is reset; the result says whether. The endpoint is not
// closed yet.
func (s *Socket) depart(e *endpoint, reset bool) bool {
	reset = s.unread.Drop() || reset
	n := s.end.Swap(nil)
	if n == nil {
		return reset
	}
	reset = reset || s.queuedInStack(e) > 0
	shmem.Buffers.Uncharge(n.charged.Swap(0))
	n.mu.Lock()
	in := n.in()
	reset = reset || in.data.Len() > 0
	told := in.over && n.out().over && !reset
	in.gone, in.urgency = true, notUrgent
	in.data.Release()
	lost := in.lost
	if in.unheeded == 0 { // otherwise the peer sends it again until it hears that nobody is there
		in.forget()
	}
	switch out := n.out(); {
	case n.pair != nil && (lost || out.unheeded > 0):
		n.half().abort()
		out.forget()
	case reset && !out.gone && n.peer.keepsBack(n, header.TCPFlagRst|header.TCPFlagAck):
		if n.pair == nil || n.half().abort() != 0 {
			out.lose()
		}
	case reset:
		err := unix.ECONNRESET
		if n.pair != nil {
			err = n.half().reset()
		}
		if !out.gone && err != 0 {
			// The error is there before the end of what was sent can be seen.
			n.reset = true
			n.peer.resetBy(err)
		}
		out.over = true
	default:
		n.stop()
	}
	n.mu.Unlock()
	if !told {
		n.peer.wait.Notify(waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup | waiter.Err)
	}
	return reset
}

// tellBoth tells both ends that something of the connection has ended.
func (n *end) tellBoth() {
	const over = waiter.Readable | waiter.Writable | waiter.RdHup | waiter.Hup | waiter.Err
	n.own.wait.Notify(over)
	n.peer.wait.Notify(over)
}

// resetBy tells a socket that its peer has reset the connection, before the stack does.
func (s *Socket) resetBy(err unix.Errno) {
	s.ep.Load().reported.Store(true)
	s.err.CompareAndSwap(0, uint32(err))
}

// nearQueued is how many bytes have come past the stack.
func (s *Socket) nearQueued() int {
	n := s.end.Load()
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.in().readable(s.oobInline.Load())
}
