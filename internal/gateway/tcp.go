package gateway

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// pendingMax is how many connections may wait for their other side at once. The
	// SYN of a further one is not answered, so that the sandbox sends it again.
	pendingMax = 1024
	// dialTime bounds that wait, as Linux itself does by default (tcp_syn_retries).
	dialTime = 130 * time.Second
	// guestKeepAlive is after which silence the sandbox is asked whether its end of a
	// connection is still there: it may have forgotten one that it has closed.
	guestKeepAlive = 75 * time.Second
)

// synTable remembers the sequence numbers of SYNs until they are answered, since
// an ICMP error must name one.
type synTable struct {
	mu  sync.Mutex
	seq map[stack.TransportEndpointID]uint32
}

func (t *synTable) take(id stack.TransportEndpointID) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	seq := t.seq[id]
	delete(t.seq, id)
	return seq
}

// synHandler hands SYNs to the forwarder, which has each of them run through
// connect on a goroutine of its own.
func (g *gateway) synHandler(f *tcp.Forwarder) func(stack.TransportEndpointID, *stack.PacketBuffer) bool {
	g.tcpSyns.seq = map[stack.TransportEndpointID]uint32{}
	return func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		h := header.TCP(pkt.TransportHeader().Slice())
		if h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) == header.TCPFlagSyn {
			g.tcpSyns.mu.Lock()
			if len(g.tcpSyns.seq) >= 2*pendingMax {
				clear(g.tcpSyns.seq) // left by SYNs that were not answered
			}
			g.tcpSyns.seq[id] = h.SequenceNumber()
			g.tcpSyns.mu.Unlock()
		}
		return f.HandlePacket(id, pkt)
	}
}

// connect makes a connection that the sandbox asks for: first to the outside, and
// only if that comes about to the sandbox, which so learns what it would learn
// without a gateway between.
func (g *gateway) connect(r *tcp.ForwarderRequest) {
	id := r.ID()
	flow := newFlow(unix.IPPROTO_TCP, id)
	decision := g.decide(flow)
	var outer *socket
	err := errForbidden
	switch {
	case decision != Permit && decision != Inspect:
	case int(g.tcpFlows.Add(1)) > g.limits.tcp:
		g.tcpFlows.Add(-1)
		err = unix.ECONNREFUSED
	default:
		defer g.tcpFlows.Add(-1)
		outer, err = dial(flow.To, unix.SOCK_STREAM, 0, dialTime)
	}
	seq := g.tcpSyns.take(id)
	if err != nil {
		g.refuse(r, flow, seq, err)
		return
	}
	c := &connection{outer: outer, queue: new(waiter.Queue)}
	// From now on the sandbox may send all that it has, and end.
	g.sending.add(c)
	defer g.sending.remove(c)
	ep, e := r.CreateEndpoint(c.queue)
	r.Complete(false)
	if e != nil {
		outer.reset() // the sandbox has given up meanwhile
		return
	}
	c.inner = ep
	if decision == Inspect {
		c.inspect = func(first []byte, last bool) Decision { return g.policy.Data(flow, first, last) }
		c.rest = func(first []byte) Rest { return g.policy.Rest(flow, first) }
	}
	c.run(g.bufferSize(), func() { g.sending.remove(c) })
}

// refuse tells the sandbox why there is no connection.
func (g *gateway) refuse(r *tcp.ForwarderRequest, flow Flow, seq uint32, err error) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, errForbidden) && !outside(flow.To.Addr()):
		r.Complete(true)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		r.Complete(false) // nobody answers, and so do we
	default:
		syn := make(header.TCP, header.TCPMinimumSize)
		syn.Encode(&header.TCPFields{
			SrcPort: flow.From.Port(), DstPort: flow.To.Port(), SeqNum: seq,
			DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn,
		})
		r.Complete(false)
		g.tellUnreachable(flow, syn, refusal(err))
	}
}

// Buffers toward the sandbox: bufferTotal for each direction is divided among the
// connections, but none gets more or less than these.
const (
	bufferMin, bufferMax = 32 << 10, 1 << 20
	bufferTotal          = 64 << 20
)

func (g *gateway) bufferSize() int {
	return min(max(bufferTotal/max(int(g.tcpFlows.Load()), 1), bufferMin), bufferMax)
}

// prepare sets the options of both ends of a connection.
func (c *connection) prepare(bufferSize int) {
	o := c.inner.SocketOptions()
	o.SetReceiveBufferSize(int64(bufferSize), true)
	o.SetSendBufferSize(int64(bufferSize), true)
	// Who delays small segments (Nagle) is whoever sends them, not we.
	o.SetDelayOption(false)
	idle := tcpip.KeepaliveIdleOption(guestKeepAlive)
	c.inner.SetSockOpt(&idle)
	o.SetKeepAlive(true)
	c.outer.control(func(fd int) error {
		// Keepalives find other sides that are no more, with the host's own times. Urgent
		// data stays in its place: inwardReader counts on what it has been told of.
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	})
}
