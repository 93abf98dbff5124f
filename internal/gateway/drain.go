package gateway

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// LastBytes is how long what a sandbox has sent before it ended may take to leave.
const LastBytes = 3 * time.Second

// sending has the connections in which something of the sandbox's may still have to
// leave.
type sending struct {
	mu   sync.Mutex
	list map[*connection]struct{}
	// none, if not nil, is closed when there is none.
	none chan struct{}
}

func (s *sending) add(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = map[*connection]struct{}{}
	}
	s.list[c] = struct{}{}
}

// remove may be called again.
func (s *sending) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, c)
	if len(s.list) == 0 && s.none != nil {
		close(s.none)
		s.none = nil
	}
}

// drain waits until all has left that the sandbox has sent, which has ended: on Linux
// it does so without its programs. The link's end comes after its last frame. What has not
// left in time is lost, and its connection is reset instead of ended.
func (g *gateway) drain(linkEnded <-chan struct{}, patience time.Duration) {
	until := time.Now().Add(patience)
	select {
	case <-linkEnded:
	case <-time.After(patience):
	}
	// Other datagrams have left when their frames have been handed over.
	for _, p := range g.ports {
		p.drain()
	}
	g.sending.drain(until)
}

// drain waits until all connections have sent what has come from the sandbox.
func (s *sending) drain(until time.Time) {
	none := make(chan struct{})
	s.mu.Lock()
	if len(s.list) > 0 {
		s.none = none
	} else {
		close(none)
	}
	for c := range s.list {
		c.cutOff(until)
	}
	s.mu.Unlock()
	select {
	case <-none:
	// The deadline ends them; only one that was not there yet may take longer.
	case <-time.After(time.Until(until) + 100*time.Millisecond):
	}
}

// cutOff has the connection send what has come from the sandbox, and break off if that
// was not all.
func (c *connection) cutOff(until time.Time) {
	c.cut.Store(true)
	c.outer.file.SetWriteDeadline(until)
	c.queue.Notify(waiter.ReadableEvents)
}

// orCut is err, unless that says to wait for what will not come.
func (c *connection) orCut(err tcpip.Error) tcpip.Error {
	if _, block := err.(*tcpip.ErrWouldBlock); block && c.cut.Load() {
		return &tcpip.ErrAborted{}
	}
	return err
}
