package network

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Close ends the links that lead out of the sandbox, once what its programs have sent
// before they ended has left: on Linux it does so without them. It waits for that as
// long as patience is. It is for the end of a sandbox.
func (n *Namespace) Close(patience time.Duration) {
	n.mu.Lock()
	out := map[tcpip.NICID]*outside{}
	for _, l := range n.links {
		if o, ok := l.device.(*outside); ok {
			out[l.nic()] = o
		}
	}
	started := n.stack != nil
	n.mu.Unlock()
	for until := time.Now().Add(patience); started && n.sending(out) && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	for _, o := range out {
		o.end()
	}
}

// sending reports whether something is still to be sent over a link that runs: data of
// a TCP connection whose program has closed it and whose peer has not confirmed all, a
// packet whose neighbour is being asked for, a frame in a queue.
func (n *Namespace) sending(out map[tcpip.NICID]*outside) bool {
	running := false
	for _, o := range out {
		running = running || o.Running()
		if o.Pending() {
			return true
		}
	}
	if !running {
		return false
	}
	for _, e := range n.stack.RegisteredEndpoints() {
		if t, ok := e.(*tcp.Endpoint); ok {
			switch t.EndpointState() {
			case tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
				return true
			}
		}
	}
	for nic := range out {
		for _, p := range protocols {
			list, _ := n.stack.Neighbors(nic, p)
			for _, e := range list {
				if e.State == stack.Incomplete {
					return true
				}
			}
		}
	}
	return false
}
