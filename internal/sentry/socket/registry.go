package socket

import (
	"net/netip"
	"slices"
	"sync"
)

// Registry has the sockets of one network namespace that are not of AF_UNIX
// (unixsock.Namespace has those), for /proc/net and sock_diag(7). The zero value is
// empty and ready.
//
// Its lock is a leaf: a socket may add and remove itself with its own lock held.
type Registry struct {
	mu  sync.Mutex
	all map[Listed]struct{}
	// orphans tells of connections without a socket.
	orphans func(listed []Info) []Info
}

// Listed is a socket that can be shown.
type Listed interface {
	// Info describes the socket as it is now.
	Info() Info
}

// Info is what /proc/net and sock_diag(7) show of a socket. Which fields mean
// something depends on the family.
type Info struct {
	// Family, Type and Protocol are those of socket(2), the protocol never 0 for
	// AF_INET and AF_INET6.
	Family, Type, Protocol int32
	// Inode is the number of the socket's inode, 0 for a connection without a socket, UID
	// who made it, as the sandbox's first user namespace numbers users.
	Inode uint64
	UID   uint32
	// Local and Peer are the addresses of AF_INET and AF_INET6; those of a socket
	// of AF_INET6 are IPv6 addresses, mapped ones for IPv4. Of raw and ping sockets
	// the port is the protocol or the ICMP identifier.
	Local, Peer netip.AddrPort
	// Device is the index of the interface that the socket is bound to, or 0.
	Device int32
	// State is a TCP_* state (1 is TCP_ESTABLISHED, 7 TCP_CLOSE, 10 TCP_LISTEN),
	// used for all families, as Linux does.
	State uint8
	// ReceiveQueue and SendQueue are in bytes; of a listening socket, connections
	// that wait and how many may.
	ReceiveQueue, SendQueue uint32
	// ReceiveBuffer and SendBuffer are SO_RCVBUF and SO_SNDBUF.
	ReceiveBuffer, SendBuffer uint32
	// Drops counts what was lost for want of room.
	Drops uint64
	// V6Only is IPV6_V6ONLY.
	V6Only bool
	// TCP is struct tcp_info as TCP_INFO gives it, or nil.
	TCP []byte
	// PortID and Groups are a netlink socket's.
	PortID, Groups uint32
	// EtherType is what an AF_PACKET socket receives (ETH_P_*), in host byte order.
	EtherType uint16
	// Running says that an AF_PACKET socket receives.
	Running bool
}

// Add registers a socket, Remove forgets it, if it is there.
func (r *Registry) Add(s Listed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[Listed]struct{}{}
	}
	r.all[s] = struct{}{}
}

func (r *Registry) Remove(s Listed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
}

// TellOrphans has f describe the connections that are not a socket's any more or not yet: it
// gets all sockets, and what it returns is listed with them, without inodes. Only the first f
// that is given counts.
func (r *Registry) TellOrphans(f func(listed []Info) []Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans == nil {
		r.orphans = f
	}
}

// List describes the sockets that choose accepts, in the order of their inodes,
// which is that in which they were made.
func (r *Registry) List(choose func(*Info) bool) []Info {
	r.mu.Lock()
	list := make([]Listed, 0, len(r.all))
	for s := range r.all {
		list = append(list, s)
	}
	orphans := r.orphans
	r.mu.Unlock()
	// A socket takes its own lock, which may be held by one that waits for r.mu.
	out := make([]Info, 0, len(list))
	for _, s := range list {
		out = append(out, s.Info())
	}
	if orphans != nil {
		out = append(out, orphans(out)...)
	}
	out = slices.DeleteFunc(out, func(i Info) bool { return !choose(&i) })
	slices.SortStableFunc(out, func(a, b Info) int {
		switch {
		case a.Inode < b.Inode:
			return -1
		case a.Inode > b.Inode:
			return 1
		}
		return 0
	})
	return out
}
