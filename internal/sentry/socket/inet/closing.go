package inet

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// closing is a stream whose socket has been closed with a time for SO_LINGER.
type closing struct {
	limit    time.Duration
	end      *end // nil for a connection that goes through the stack
	endpoint *endpoint
}

// Lingers tells how long close(2) may wait until the peer has received all, 0 if it is not
// to wait; done reports whether it has. It is for a socket that was released.
func (s *Socket) Lingers() (limit time.Duration, done func() bool) {
	c := s.closing.Load()
	if c == nil {
		return 0, nil
	}
	return c.limit, c.done
}

// done reports whether the peer's kernel has all that was sent, or never will.
func (c *closing) done() bool {
	if c.end != nil && c.end.awaits() {
		return false
	}
	switch c.endpoint.state() {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		return false
	}
	return true
}

// unreceived is how many of the bytes that were sent past the stack the peer's receive
// buffer has no room for: what would be with the sender still if segments carried them.
func (n *end) unreceived() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(0, n.out().data.Len()-size(&n.peer.recvBuffer)) + n.out().unheeded
}

// awaits reports whether any of them may be received yet: nothing is after a reset.
func (n *end) awaits() bool {
	n.mu.Lock()
	reset := n.reset
	n.mu.Unlock()
	return !reset && n.unreceived() > 0
}
