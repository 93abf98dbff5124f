package packet

import (
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// hook has the stack deliver an interface's frames to the socket, if that is what it
// is bound to, and if it does not yet.
func (s *Socket) hook(index int32) {
	s.hooksMu.Lock()
	defer s.hooksMu.Unlock()
	nic := tcpip.NICID(index)
	if _, there := s.hooks[nic]; there || s.hookProtocol == 0 || s.hookIndex != 0 && s.hookIndex != index {
		return
	}
	if s.stack.RegisterPacketEndpoint(nic, s.hookProtocol, s) == nil {
		s.hooks[nic] = struct{}{}
	}
}

// unhook ends all deliveries.
func (s *Socket) unhook() {
	s.hooksMu.Lock()
	defer s.hooksMu.Unlock()
	for nic := range s.hooks {
		s.stack.UnregisterPacketEndpoint(nic, s.hookProtocol, s)
	}
	s.hooks, s.hookProtocol = nil, 0
}

// NetworkEvent implements network.Watcher: interfaces come, and go with an error for
// who is bound to them.
func (s *Socket) NetworkEvent(e network.Event) {
	switch {
	case e.Link == nil:
		return
	case !e.Deleted:
		s.hook(e.Link.Index)
	default:
		s.hooksMu.Lock()
		delete(s.hooks, tcpip.NICID(e.Link.Index))
		s.hooksMu.Unlock()
	}
	s.hooksMu.Lock()
	bound := s.hookProtocol != 0 && s.hookIndex == e.Link.Index
	s.hooksMu.Unlock()
	if bound && (e.Deleted || e.Link.Flags&unix.IFF_UP == 0) {
		s.fail(unix.ENETDOWN)
	}
}

// fail sets the error that the next call returns.
func (s *Socket) fail(err unix.Errno) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	s.wait.Notify(waiter.Err | waiter.Readable)
}
