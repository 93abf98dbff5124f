package network

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// GroupInfo is a multicast group that an interface takes part in.
type GroupInfo struct {
	// Link and LinkName are the interface's index and name.
	Link     int32
	LinkName string
	Address  netip.Addr
	// Users counts those who want it.
	Users int
}

// HardwareAddr is the Ethernet address of the group; false if the interface is lo,
// which has none.
func (g *GroupInfo) HardwareAddr() (h [6]byte, ok bool) {
	if g.Link == LoopbackIndex {
		return h, false
	}
	if g.Address.Is4() {
		a := g.Address.As4()
		return [6]byte{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}, true
	}
	a := g.Address.As16()
	return [6]byte{0x33, 0x33, a[12], a[13], a[14], a[15]}, true
}

// maxGroups is how many groups an interface takes part in on behalf of sockets.
const maxGroups = 1024

// JoinGroup has an interface take part in a multicast group once more. ENODEV without the
// interface, ENOBUFS if there are too many groups.
func (n *Namespace) JoinGroup(index int32, group netip.Addr) error {
	n.Stack()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[index]
	switch {
	case l == nil:
		return unix.ENODEV
	case l.groups[group] == 0 && len(l.groups) >= maxGroups:
		return unix.ENOBUFS
	}
	if err := n.stack.JoinGroup(protocolOf(group), l.nic(), toStack(group)); err != nil {
		return unix.ENODEV
	}
	if l.groups == nil {
		l.groups = map[netip.Addr]int{}
	}
	l.groups[group]++
	return nil
}

// LeaveGroup undoes one JoinGroup.
func (n *Namespace) LeaveGroup(index int32, group netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[index]
	if l == nil || l.groups[group] == 0 {
		return
	}
	if l.groups[group]--; l.groups[group] == 0 {
		delete(l.groups, group)
	}
	n.stack.LeaveGroup(protocolOf(group), l.nic(), toStack(group))
}

// Groups returns the groups of all interfaces that are up: those of all hosts, those by which
// neighbours find an IPv6 address, and those that sockets joined.
func (n *Namespace) Groups() []GroupInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []GroupInfo
	for _, l := range n.sorted() {
		if !l.up {
			continue
		}
		all := map[netip.Addr]int{}
		for a, users := range l.groups {
			all[a] = users
		}
		all[netip.AddrFrom4([4]byte{224, 0, 0, 1})]++
		if !l.noIPv6 {
			all[netip.IPv6LinkLocalAllNodes()]++
		}
		for _, a := range l.addresses {
			if addr := a.Prefix.Addr(); addr.Is6() && l.device != nil {
				b, of := netip.MustParseAddr("ff02::1:ff00:0").As16(), addr.As16()
				copy(b[13:], of[13:])
				all[netip.AddrFrom16(b)]++
			}
		}
		from := len(out)
		for a, users := range all {
			out = append(out, GroupInfo{l.index, l.name, a, users})
		}
		slices.SortFunc(out[from:], func(a, b GroupInfo) int { return a.Address.Compare(b.Address) })
	}
	return out
}
