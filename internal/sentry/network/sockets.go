package network

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
)

// SocketInfo is what ss(8) and the tables in /proc/net show of a socket.
type SocketInfo struct {
	// Family is AF_INET, AF_INET6 or AF_PACKET, Type SOCK_*.
	Family uint16
	Type   uint16
	// Protocol is IPPROTO_*, or for AF_PACKET the ETH_P_* in host order.
	Protocol uint16
	// State is one of TCP's states as Linux numbers them: 1 is established, 10
	// listening. A socket without connections is at 7 (closed), or 1 if connected.
	State         uint8
	Local, Remote netip.AddrPort
	// Interface is that of SO_BINDTODEVICE, or of a packet socket, or 0.
	Interface int32
	UID       uint32
	Inode     uint64
	Cookie    uint64
	// ReceiveQueue and SendQueue are in bytes; for a listener, connections that wait
	// and how many may.
	ReceiveQueue, SendQueue uint32
	Drops                   uint32
	// Only6 is IPV6_V6ONLY.
	Only6 bool
	// TCPInfo is struct tcp_info, for connections of TCP, or nil.
	TCPInfo []byte
}

// Listed is a socket that can be listed. SocketInfo is called without locks.
type Listed interface {
	SocketInfo() SocketInfo
}

// registry has the sockets of a namespace.
type registry struct {
	registryMu sync.Mutex
	sockets    map[Listed]uint64
	serial     uint64
}

// Register lists a socket from here on, until Unregister.
func (r *registry) Register(s Listed) {
	r.registryMu.Lock()
	defer r.registryMu.Unlock()
	if r.sockets == nil {
		r.sockets = map[Listed]uint64{}
	}
	r.serial++
	r.sockets[s] = r.serial
}

func (r *registry) Unregister(s Listed) {
	r.registryMu.Lock()
	defer r.registryMu.Unlock()
	delete(r.sockets, s)
}

// Sockets describes all sockets of the namespace, the oldest first.
func (r *registry) Sockets() []SocketInfo {
	r.registryMu.Lock()
	list := make([]Listed, 0, len(r.sockets))
	for s := range r.sockets {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(r.sockets[a], r.sockets[b]) })
	r.registryMu.Unlock()
	out := make([]SocketInfo, len(list))
	for i, s := range list {
		out[i] = s.SocketInfo()
	}
	return out
}
