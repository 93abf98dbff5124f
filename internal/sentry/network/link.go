package network

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

const (
	// maxLinks, maxAddresses and maxRoutes bound what a namespace has: addresses for
	// each link, routes of both families together.
	maxLinks     = 1024
	maxAddresses = 256
	maxRoutes    = 4096

	loopbackMTU = 65536
	defaultMTU  = 1500
	minMTU      = 68
	maxMTU      = 65535
)

// LinkInfo is an interface as it was when asked for.
type LinkInfo struct {
	Index int32
	Name  string
	// Flags are IFF_* as netdevice(7) and rtnetlink(7) know them, 32 bits.
	Flags uint32
	// MTU is in bytes, without the Ethernet header.
	MTU uint32
	// Type is ARPHRD_ETHER, ARPHRD_LOOPBACK, or ARPHRD_NONE for what has no addresses of its own.
	Type uint16
	// HardwareAddr and Broadcast are of AddressLen bytes.
	HardwareAddr, Broadcast [6]byte
	// Kind is "veth", "bridge", "dummy", "tun", or empty for lo and what leads out.
	Kind string
	// Master is the index of the bridge that the link is a port of, or 0.
	Master int32
	// Peer is the index of a veth's other end in PeerNetwork, or 0.
	Peer        int32
	PeerNetwork *Namespace
	// State is the operational state of RFC 2863: IF_OPER_*.
	State uint8
	// Alias is what somebody called it beside its name.
	Alias      string
	Group      uint32
	QueueLen   uint32
	Statistics Statistics
	// Tun is for those of kind "tun".
	Tun TunInfo
}

// AddressLen is how many bytes a hardware address has.
func (l *LinkInfo) AddressLen() int {
	if l.Type == unix.ARPHRD_NONE {
		return 0
	}
	return len(l.HardwareAddr)
}

// LeadsOut reports whether the link leads out of the sandbox.
func (l *LinkInfo) LeadsOut() bool { return l.Kind == "" && l.Type != unix.ARPHRD_LOOPBACK }

// Statistics are a link's counters since it was made.
type Statistics struct {
	RxPackets, RxBytes, RxDropped uint64
	TxPackets, TxBytes, TxDropped uint64
}

// The operational states that links here have (linux/if.h).
const (
	operUnknown        = 0
	operDown           = 2
	operLowerLayerDown = 3
	operUp             = 6
)

// iffLowerUp is IFF_LOWER_UP of linux/if.h, which x/sys/unix does not have.
const iffLowerUp = 0x10000

// link is an interface. Namespace.mu protects it.
type link struct {
	index    int32
	name     string
	kind     string
	up       bool
	mtu      uint32
	device   device // nil for lo
	master   *link
	promisc  int    // how many want it promiscuous, beside the flag
	flags    uint32 // of IFF_PROMISC, IFF_ALLMULTI, IFF_NOARP: those set by hand
	alias    string
	group    uint32
	queueLen uint32
	// given is for what leads out of the sandbox, as it was configured.
	given bool
	// damaged is what the device had had before it came here.
	damaged   damage
	addresses []*AddressInfo
	groups    map[netip.Addr]int // that sockets joined, and how often
	// neighbours are those that the configuration gave it, until there is a stack to have them.
	neighbours []NeighbourInfo
	linkSettings
}

// Links returns all interfaces in the order of their indices.
func (n *Namespace) Links() []LinkInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]LinkInfo, 0, len(n.links))
	for _, l := range n.sorted() {
		out = append(out, n.info(l))
	}
	return out
}

// LoopbackUp reports whether lo is up.
func (n *Namespace) LoopbackUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[LoopbackIndex].up
}

// LinkByIndex and LinkByName look an interface up.
func (n *Namespace) LinkByIndex(index int32) (LinkInfo, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[index]; l != nil {
		return n.info(l), true
	}
	return LinkInfo{}, false
}

func (n *Namespace) LinkByName(name string) (LinkInfo, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.named(name); l != nil {
		return n.info(l), true
	}
	return LinkInfo{}, false
}

// named returns the link of that name, or nil. n.mu is held, here and below.
func (n *Namespace) named(name string) *link {
	if i, ok := n.names[name]; ok {
		return n.links[i]
	}
	return nil
}

func (n *Namespace) sorted() []*link {
	return slices.SortedFunc(maps.Values(n.links), func(a, b *link) int { return cmp.Compare(a.index, b.index) })
}

func (n *Namespace) info(l *link) LinkInfo {
	i := LinkInfo{
		Index: l.index, Name: l.name, MTU: l.mtu, Kind: l.kind, Alias: l.alias, Group: l.group, QueueLen: l.queueLen,
		Flags: l.flags, State: operDown,
	}
	if l.promisc > 0 {
		i.Flags |= unix.IFF_PROMISC
	}
	carrier := true
	if l.device == nil {
		i.Type = unix.ARPHRD_LOOPBACK
		i.Flags |= unix.IFF_LOOPBACK
		i.Statistics = n.loopbackStatistics()
	} else {
		i.Type = unix.ARPHRD_ETHER
		i.Flags |= unix.IFF_BROADCAST | unix.IFF_MULTICAST
		copy(i.HardwareAddr[:], l.device.LinkAddress())
		i.Broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		i.Statistics = statisticsOf(l.device)
		carrier = carries(l.device)
		i.Tun = tunInfo(l.device)
	}
	t, isTun := l.device.(*tun)
	if isTun && !t.tap {
		i.Type, i.Broadcast = unix.ARPHRD_NONE, [6]byte{}
		i.Flags = i.Flags&^unix.IFF_BROADCAST | unix.IFF_POINTOPOINT | unix.IFF_NOARP
	}
	if l.kind == kindDummy {
		i.Flags = i.Flags&^unix.IFF_MULTICAST | unix.IFF_NOARP
	}
	if l.up {
		i.Flags |= unix.IFF_UP
		if carrier {
			i.Flags |= unix.IFF_RUNNING | iffLowerUp
		}
	}
	if v, ok := l.device.(*veth); ok {
		i.PeerNetwork, i.Peer = v.peer.place()
	}
	if l.master != nil {
		i.Master = l.master.index
	}
	switch {
	case l.up && (l.device == nil || l.kind == kindDummy), l.up && carrier && isTun && !t.toggled.Load():
		i.State = operUnknown
	case l.up && carrier:
		i.State = operUp
	case l.up && l.kind == kindVeth:
		i.State = operLowerLayerDown
	}
	return i
}

// loopbackStatistics are those of lo, which the stack counts.
func (n *Namespace) loopbackStatistics() Statistics {
	if n.stack == nil {
		return Statistics{}
	}
	i, ok := n.stack.SingleNICInfo(LoopbackIndex)
	if !ok {
		return Statistics{}
	}
	return Statistics{
		RxPackets: i.Stats.Rx.Packets.Value(), RxBytes: i.Stats.Rx.Bytes.Value(),
		TxPackets: i.Stats.Tx.Packets.Value(), TxBytes: i.Stats.Tx.Bytes.Value(),
	}
}

// The kinds of links that can be made (ip-link(8)).
const (
	kindVeth   = "veth"
	kindBridge = "bridge"
	kindDummy  = "dummy"
	kindTun    = "tun"
)

// validName is whether an interface may be called that.
func validName(name string) bool {
	return name != "" && len(name) < unix.IFNAMSIZ && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r")
}

// insert gives a link its number and name, and an interface of the stack, which has been
// started. index is 0 for the next one free.
func (n *Namespace) insert(l *link, index int32) error {
	switch {
	case len(n.links) >= maxLinks || held.Load() >= maxDevices:
		return refuse(unix.ENOSPC, "There are too many interfaces already")
	case n.names[l.name] != 0:
		return unix.EEXIST
	case index != 0 && n.links[index] != nil:
		return unix.EBUSY
	}
	if index == 0 {
		for n.lastIndex++; n.lastIndex <= 0 || n.links[n.lastIndex] != nil; n.lastIndex++ {
			if n.lastIndex < 0 {
				n.lastIndex = 1
			}
		}
		index = n.lastIndex
	}
	l.index, l.linkSettings, l.damaged = index, n.linkDefault, damageOf(l.device)
	n.links[index], n.names[l.name] = l, index
	n.steer()
	l.device.base().settle(n, index)
	n.hold(l.device)
	if l.kind == kindVeth {
		n.paired.Store(true)
	}
	if n.stack != nil {
		n.mirrorLink(l)
	}
	n.tellNetconf(l, false)
	return nil
}

// nic is the stack's number of a link.
func (l *link) nic() tcpip.NICID { return tcpip.NICID(l.index) }
