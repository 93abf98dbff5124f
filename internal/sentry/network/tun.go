package network

import (
	"crypto/rand"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// tunQueueLen and tapQueueLen are how many frames wait for who reads a device, unless it is told otherwise
	// (ip-link(8), txqueuelen), maxTunQueueLen is the most.
	tunQueueLen    = 500
	tapQueueLen    = 1000
	maxTunQueueLen = 10000
	// maxTunQueues is MAX_TAP_QUEUES of Linux's driver.
	maxTunQueues = 256
	// TunFeatures are what a device can be opened with beside its kind (linux/if_tun.h).
	TunFeatures = unix.IFF_NO_PI | unix.IFF_ONE_QUEUE | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE
	// tunKinds are IFF_TUN and IFF_TAP.
	tunKinds = unix.IFF_TUN | unix.IFF_TAP
)

// tun is a TUN or TAP device: what is sent into it is read from an open /dev/net/tun, and what
// is written there comes in. A TAP carries Ethernet frames, a TUN IP packets without a header.
type tun struct {
	port
	tap bool
	// identifier is the part of a TUN's own IPv6 address that an Ethernet address would give.
	identifier [8]byte
	// noCarrier says that nobody is at the other end, toggled that this has been so once.
	noCarrier, toggled atomic.Bool

	mu   sync.Mutex
	info TunInfo
	// queues are those of the open files, disabled those that take part no more (TUNSETQUEUE).
	queues, disabled []*TunQueue
	queueLen         int
	// vnetSize is the length of the virtio-net header, offload what who reads can be left to do (TUN_F_*).
	vnetSize int
	offload  uint32
	// vnetLE is TUNSETVNETLE.
	vnetLE bool
}

// TunInfo is what a link of kind "tun" is and has beside what all have.
type TunInfo struct {
	// Flags are IFF_TUN or IFF_TAP with those of TunFeatures and IFF_PERSIST.
	Flags uint16
	// Owner and Group may open the device, others must have CAP_NET_ADMIN; auth.NoID is none.
	Owner, Group uint32
	// Queues and Disabled count the open files.
	Queues, Disabled uint32
}

func newTun(tap bool) *tun {
	t := &tun{tap: tap, queueLen: tunQueueLen, vnetSize: vnetHeaderSize}
	t.info = TunInfo{Flags: unix.IFF_TUN, Owner: auth.NoID, Group: auth.NoID}
	address := tcpip.LinkAddress("")
	if tap {
		t.info.Flags, t.queueLen, address = unix.IFF_TAP, tapQueueLen, randomAddress()
	}
	t.init(defaultMTU, address)
	rand.Read(t.identifier[:])
	return t
}

// ownAddress is the IPv6 address that a TUN gets of itself.
func (t *tun) ownAddress() netip.Addr {
	b := [16]byte{0xfe, 0x80}
	copy(b[8:], t.identifier[:])
	return netip.AddrFrom16(b)
}

// tunInfo is a device's TunInfo, nothing for one of another kind.
func tunInfo(d device) TunInfo {
	t, ok := d.(*tun)
	if !ok {
		return TunInfo{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.info
	i.Queues, i.Disabled = uint32(len(t.queues)), uint32(len(t.disabled))
	return i
}

// Of a TUN what is different from Ethernet.

// MaxHeaderLength implements stack.LinkEndpoint.
func (t *tun) MaxHeaderLength() uint16 {
	if !t.tap {
		return 0
	}
	return t.port.MaxHeaderLength()
}

// ARPHardwareType implements stack.LinkEndpoint.
func (t *tun) ARPHardwareType() header.ARPHardwareType {
	if !t.tap {
		return header.ARPHardwareNone
	}
	return t.port.ARPHardwareType()
}

// Capabilities implements stack.LinkEndpoint.
func (t *tun) Capabilities() stack.LinkEndpointCapabilities {
	if !t.tap {
		return 0
	}
	return t.port.Capabilities()
}

// AddHeader implements stack.LinkEndpoint.
func (t *tun) AddHeader(pkt *stack.PacketBuffer) {
	if t.tap {
		t.port.AddHeader(pkt)
	}
}

// ParseHeader implements stack.LinkEndpoint.
func (t *tun) ParseHeader(pkt *stack.PacketBuffer) bool { return !t.tap || t.port.ParseHeader(pkt) }

// GSOMaxSize implements stack.GSOEndpoint. It leaves room for headers in what an IP packet can be.
func (t *tun) GSOMaxSize() uint32 {
	return 65535 - header.IPv4MaximumHeaderSize - header.TCPHeaderMaximumSize
}

// SupportedGSO implements stack.GSOEndpoint: large segments are who reads' to cut, if he says that he can
// when the connection begins, and otherwise the stack's, many in one go.
func (t *tun) SupportedGSO() stack.SupportedGSO {
	const all = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	if t.cuts()&all == all {
		return stack.HostGSOSupported
	}
	return stack.GVisorGSOSupported
}

// cuts is what who reads can be left to do (TUN_F_*).
func (t *tun) cuts() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.info.Flags&unix.IFF_VNET_HDR == 0 {
		return 0
	}
	return t.offload
}

// WritePackets implements stack.LinkEndpoint. As on Linux, who sends is not told that a frame was dropped.
func (t *tun) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		if !t.up.Load() || !t.enqueue(pkt) {
			t.stats.txDropped.Add(1)
		}
	}
	return pkts.Len(), nil
}

// enqueue has a copy of a frame wait to be read; false if nobody reads, there are too many, or too
// much memory is held already.
func (t *tun) enqueue(pkt *stack.PacketBuffer) bool {
	t.mu.Lock()
	var q *TunQueue
	switch n := uint32(len(t.queues)); n {
	case 0:
	case 1:
		q = t.queues[0]
	default:
		q = t.queues[t.flow(pkt)%n]
	}
	most := t.queueLen
	t.mu.Unlock()
	return q != nil && !t.noCarrier.Load() && q.put(t, pkt, most)
}

// flow is a number that the packets of one flow have in common.
func (t *tun) flow(pkt *stack.PacketBuffer) uint32 {
	if pkt.Hash != 0 {
		return pkt.Hash
	}
	b := pkt.ToBuffer()
	defer b.Release()
	v, ok := b.PullUp(0, int(min(b.Size(), headersMax)))
	if !ok {
		return 0
	}
	h := fnv.New32a()
	p, err := parseIP(v.AsSlice(), t.headerSize())
	if err != nil {
		return 0
	}
	h.Write(p.addresses())
	if !p.fragment && len(p.packet) >= p.headerLen+4 {
		h.Write(p.packet[p.headerLen : p.headerLen+4]) // the ports
	}
	return h.Sum32()
}

// headerSize is how long the header before a packet is.
func (t *tun) headerSize() int { return int(t.MaxHeaderLength()) }

// end implements device: the files have no device from here on.
func (t *tun) end() {
	t.mu.Lock()
	all := append(slices.Clone(t.queues), t.disabled...)
	t.queues, t.disabled = nil, nil
	t.mu.Unlock()
	for _, q := range all {
		q.leave()
	}
}

// setQueueLen sets how many frames wait.
func (t *tun) setQueueLen(n uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queueLen = int(min(n, maxTunQueueLen))
}

// changedUp tells who writes that it can, or cannot.
func (t *tun) changedUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queues {
		q.Wait.Notify(waiter.Writable)
	}
}

// inject takes a frame in that has been checked, and belongs to the caller still.
func (t *tun) inject(protocol tcpip.NetworkProtocolNumber, frame []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	if t.tap {
		t.receive(pkt)
		return
	}
	t.stats.received(len(frame))
	d := t.dispatcher.Load()
	if d == nil || *d == nil {
		return
	}
	pkt.PktType, pkt.NetworkProtocolNumber = tcpip.PacketHost, protocol
	switch protocol {
	case header.IPv4ProtocolNumber:
		t.expire(pkt)
		(*d).DeliverNetworkPacket(protocol, pkt)
	case header.IPv6ProtocolNumber:
		(*d).DeliverNetworkPacket(protocol, pkt)
	default: // there is no ARP here
		(*d).DeliverLinkPacket(protocol, pkt)
	}
}
