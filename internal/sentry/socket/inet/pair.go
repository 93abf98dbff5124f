package inet

import (
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// pair is a connection within a namespace that is made past the stack (meet.go): what the
// stack would know of it otherwise, beside the bytes, which are a near connection's. No
// segment is ever under way, so that of TCP's states those remain in which a connection
// rests. It outlives its sockets, as TIME_WAIT for one.
type pair struct {
	tuple
	// state is the state of each side, a tcp.EndpointState. It is written with mu held.
	state [2]atomic.Uint32
	mu    sync.Mutex
	ends  [2]pairEnd
	// timer ends the side that waits for its time to be over.
	timer *time.Timer
	// waits is when a side began to wait in TIME_WAIT.
	waits time.Time
	// lingers says that the pair counts among those that lingering bounds.
	lingers bool
}

// The sides of a pair.
const (
	callee = iota
	caller
)

// tuple is what tells pairs apart: the addresses of both sides, in a namespace. It has that's
// stack, since the namespace itself goes with its last socket and task.
type tuple struct {
	stack   *stack.Stack
	address [2]tcpip.FullAddress
}

// pairEnd is one side of a pair. pair.mu is held.
type pairEnd struct {
	// port keeps the side's port, nil if the endpoint does by which it was bound.
	port *ports.Reservation
	// gone says that there is no socket any more, endpoint is what it was bound by.
	gone     bool
	endpoint tcpip.Endpoint
}

// half is a side of a pair.
type half struct {
	*pair
	side int
}

// pairs are those that have not come to their end. The lock is a leaf.
var pairs struct {
	sync.Mutex
	m map[tuple]*pair
}

// add makes a pair known, unless one of the same addresses is in its way.
func (p *pair) add() bool {
	for {
		pairs.Lock()
		old := pairs.m[p.tuple]
		if old == nil {
			if pairs.m == nil {
				pairs.m = map[tuple]*pair{}
			}
			pairs.m[p.tuple] = p
			pairs.Unlock()
			return true
		}
		pairs.Unlock()
		if !old.yield() {
			return false
		}
	}
}

// reuseAfter is how old TIME_WAIT has to be for its caller to use its addresses again
// (net.ipv4.tcp_tw_reuse).
const reuseAfter = time.Second

// yield ends a pair whose addresses can be used again, and reports whether they can.
func (p *pair) yield() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for side := range p.ends {
		switch p.current(side) {
		case tcp.StateClose:
		case tcp.StateTimeWait:
			if side == caller && time.Since(p.waits) < reuseAfter {
				return false
			}
			p.close(side)
		default:
			return false
		}
	}
	return true
}

func (p *pair) current(side int) tcp.EndpointState { return tcp.EndpointState(p.state[side].Load()) }

func (h half) current() tcp.EndpointState { return h.pair.current(h.side) }

// set changes a side's state. p.mu is held, or nobody else knows p.
func (p *pair) set(side int, to tcp.EndpointState) {
	from := p.current(side)
	p.state[side].Store(uint32(to))
	stats := p.stack.Stats().TCP
	if to == tcp.StateEstablished {
		stats.CurrentEstablished.Increment()
		stats.CurrentConnected.Increment()
		return
	}
	if from == tcp.StateEstablished {
		stats.CurrentEstablished.Decrement()
	}
	if to == tcp.StateClose && connected(from) {
		stats.CurrentConnected.Decrement()
	}
}

// close ends a side, and the pair with the second one. p.mu is held.
func (p *pair) close(side int) {
	end := &p.ends[side]
	if p.current(side) == tcp.StateClose {
		return
	}
	p.set(side, tcp.StateClose)
	if end.port != nil {
		p.stack.ReleasePort(*end.port)
		end.port = nil
	}
	if end.endpoint != nil {
		end.endpoint.Close()
		end.endpoint = nil
	}
	if p.current(1-side) != tcp.StateClose {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	pairs.Lock()
	defer pairs.Unlock()
	if pairs.m[p.tuple] == p {
		delete(pairs.m, p.tuple)
	}
}

// finish is a side's FIN.
func (h half) finish() {
	p, other := h.pair, 1-h.side
	p.mu.Lock()
	begins := false
	switch p.current(h.side) {
	case tcp.StateEstablished:
		if p.current(other) == tcp.StateClose {
			p.set(h.side, tcp.StateFinWait1) // of which nobody takes notice
			break
		}
		p.set(h.side, tcp.StateFinWait2)
		p.set(other, tcp.StateCloseWait)
	case tcp.StateCloseWait:
		if p.current(other) == tcp.StateFinWait2 {
			p.set(other, tcp.StateTimeWait)
			p.waits = time.Now()
			var limit tcpip.TCPTimeWaitTimeoutOption
			p.stack.TransportProtocolOption(tcp.ProtocolNumber, &limit)
			begins = p.endAfter(time.Duration(limit))
		}
		p.close(h.side)
	}
	p.mu.Unlock()
	if begins {
		boundLingering(weakly(p))
	}
}

// reset is a side's RST. It returns the error that the other side hears of, 0 for none.
func (h half) reset() unix.Errno {
	if h.abort() == 0 {
		return 0
	}
	return half{h.pair, 1 - h.side}.abort()
}

// abort ends a side by a reset of which the other one does not hear. It returns the error that its own socket would hear
// of, 0 for none.
func (h half) abort() unix.Errno {
	p := h.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	var err unix.Errno
	switch h.current() {
	case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2:
		err = unix.ECONNRESET
	case tcp.StateCloseWait:
		err = unix.EPIPE
	default:
		return 0
	}
	if s := h.current(); s == tcp.StateEstablished || s == tcp.StateCloseWait {
		p.stack.Stats().TCP.EstablishedResets.Increment()
	}
	p.close(h.side)
	return err
}

// leave is for a side whose socket is closed and has said so to the other one, or gives the
// connection up. endpoint is the stack's for that socket.
func (h half) leave(endpoint tcpip.Endpoint, givesUp bool) {
	p, end := h.pair, &h.ends[h.side]
	p.mu.Lock()
	end.gone = true
	if givesUp {
		p.close(h.side)
	}
	begins := false
	if h.current() != tcp.StateClose && end.port == nil {
		end.endpoint, endpoint = endpoint, nil
	}
	if h.current() == tcp.StateFinWait2 {
		var limit tcpip.TCPLingerTimeoutOption
		if endpoint != nil {
			endpoint.GetSockOpt(&limit)
		} else {
			end.endpoint.GetSockOpt(&limit)
		}
		begins = p.endAfter(time.Duration(limit))
	}
	p.mu.Unlock()
	if endpoint != nil {
		endpoint.Close()
	}
	if begins {
		boundLingering(weakly(p))
	}
}

// endAfter has the side that waits give up after a time, beginning now. It reports whether
// it is the first that waits. p.mu is held.
func (p *pair) endAfter(limit time.Duration) bool {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(limit, crash.Guard(p.Abort))
	first := !p.lingers
	p.lingers = true
	return first
}

// Abort ends the sides that wait for nothing but their time to be over.
func (p *pair) Abort() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for side := range p.ends {
		if s := p.current(side); s == tcp.StateTimeWait || s == tcp.StateFinWait2 && p.ends[side].gone {
			p.close(side)
		}
	}
}
