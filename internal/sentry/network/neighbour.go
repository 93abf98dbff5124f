package network

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// NeighbourInfo is an entry of the tables of ARP and neighbour discovery.
type NeighbourInfo struct {
	// Link is the interface's index.
	Link    int32
	Address netip.Addr
	// HardwareAddr is meaningful if State is no NUD_INCOMPLETE or NUD_FAILED.
	HardwareAddr [6]byte
	// State is NUD_*.
	State uint16
}

// nudStates are the states of the stack as Linux numbers them.
var nudStates = [...]uint16{
	stack.Unknown: unix.NUD_NONE, stack.Incomplete: unix.NUD_INCOMPLETE, stack.Reachable: unix.NUD_REACHABLE,
	stack.Stale: unix.NUD_STALE, stack.Delay: unix.NUD_DELAY, stack.Probe: unix.NUD_PROBE,
	stack.Static: unix.NUD_PERMANENT, stack.Unreachable: unix.NUD_FAILED,
}

var protocols = [...]tcpip.NetworkProtocolNumber{header.IPv4ProtocolNumber, header.IPv6ProtocolNumber}

// Neighbours returns what is known of the neighbours on all interfaces.
func (n *Namespace) Neighbours() []NeighbourInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []NeighbourInfo
	for _, l := range n.sorted() {
		if n.stack == nil {
			out = append(out, l.neighbours...)
			continue
		}
		if l.device == nil {
			continue
		}
		for _, p := range protocols {
			list, _ := n.stack.Neighbors(l.nic(), p)
			slices.SortFunc(list, func(a, b stack.NeighborEntry) int {
				return cmp.Compare(string(a.Addr.AsSlice()), string(b.Addr.AsSlice()))
			})
			for _, e := range list {
				out = append(out, neighbourInfo(l.index, e))
			}
		}
	}
	return out
}

func neighbourInfo(index int32, e stack.NeighborEntry) NeighbourInfo {
	i := NeighbourInfo{Link: index, Address: fromStack(e.Addr), State: nudStates[e.State]}
	copy(i.HardwareAddr[:], e.LinkAddr)
	return i
}

// AddNeighbour enters a neighbour for good. ENODEV without the interface, EINVAL if
// that has no neighbours.
func (n *Namespace) AddNeighbour(i NeighbourInfo) error {
	n.Stack()
	return n.changeNeighbour(i.Link, func(l *link) error { return n.addNeighbour(l, i) })
}

// giveNeighbour enters one of the configuration's, which waits for the stack if there is none yet.
func (n *Namespace) giveNeighbour(name string, i NeighbourInfo) error {
	i.Link = n.indexOf(name)
	return n.changeNeighbour(i.Link, func(l *link) error {
		if n.stack != nil {
			return n.addNeighbour(l, i)
		}
		i.State = unix.NUD_PERMANENT
		l.neighbours = append(l.neighbours, i)
		return nil
	})
}

func (n *Namespace) addNeighbour(l *link, i NeighbourInfo) error {
	if n.mirrorNeighbour(l, i) != nil {
		return unix.EINVAL
	}
	i.State = unix.NUD_PERMANENT
	n.tell(Event{Neighbour: &i})
	return nil
}

// DeleteNeighbour forgets a neighbour. ENOENT if it is not known.
func (n *Namespace) DeleteNeighbour(index int32, a netip.Addr) error {
	n.Stack()
	return n.changeNeighbour(index, func(l *link) error {
		if n.stack.RemoveNeighbor(l.nic(), protocolOf(a), toStack(a)) != nil {
			return unix.ENOENT
		}
		n.tell(Event{Deleted: true, Neighbour: &NeighbourInfo{Link: index, Address: a}})
		return nil
	})
}

func (n *Namespace) changeNeighbour(index int32, change func(*link) error) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[index]
	switch {
	case l == nil:
		return unix.ENODEV
	case l.device == nil:
		return unix.EINVAL
	case !l.up:
		return unix.ENETDOWN
	}
	return change(l)
}
