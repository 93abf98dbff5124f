package network

import (
	"sync"

	"coffer/internal/sentry/shmem"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxQueued is how many frames wait for one end of a pair (net.core.netdev_max_backlog).
const maxQueued = 1000

// veth is one end of a pair (veth(4)): what is written to it comes in at the other.
type veth struct {
	port
	peer *veth

	// The frames that are coming in, and whether somebody is delivering them.
	mu      sync.Mutex
	queue   []*stack.PacketBuffer
	serving bool
	ended   bool
}

func newPair(mtu uint32) (a, b *veth) {
	a, b = new(veth), new(veth)
	a.init(mtu, randomAddress())
	b.init(mtu, randomAddress())
	a.peer, b.peer = b, a
	return a, b
}

// WritePackets implements stack.LinkEndpoint.
func (v *veth) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		size := pkt.Size()
		if !v.up.Load() || !v.peer.up.Load() || !v.peer.enqueue(pkt) {
			v.stats.txDropped.Add(1)
			continue
		}
		v.stats.sent(size)
		n++
	}
	if n == 0 && pkts.Len() > 0 {
		return 0, &tcpip.ErrNoBufferSpace{}
	}
	return n, nil
}

// enqueue has a copy of a frame delivered; false if there are too many, or too much
// memory is held already.
func (v *veth) enqueue(pkt *stack.PacketBuffer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended || len(v.queue) >= maxQueued || !shmem.Buffers.Charge(charge(pkt)) {
		return false
	}
	v.queue = append(v.queue, copyFrame(pkt))
	if !v.serving {
		// Whoever writes may hold locks that delivering wants.
		v.serving = true
		go v.serve()
	}
	return true
}

// charge is what a queued frame counts as: its bytes, and what describes it.
func charge(pkt *stack.PacketBuffer) int64 { return int64(pkt.Size()) + 512 }

// serve delivers what is queued, until nothing is.
func (v *veth) serve() {
	for {
		v.mu.Lock()
		batch := v.queue
		v.queue = nil
		if len(batch) == 0 {
			v.serving = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		for _, pkt := range batch {
			n := charge(pkt)
			v.receive(pkt)
			pkt.DecRef()
			shmem.Buffers.Uncharge(n)
		}
	}
}

// end implements device: neither end carries anything from here on.
func (v *veth) end() {
	for _, e := range []*veth{v, v.peer} {
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
	}
}

// GSOMaxSize and SupportedGSO implement stack.GSOEndpoint: segments are cut in the
// stack, many in one go.
func (*veth) GSOMaxSize() uint32               { return stack.GVisorGSOMaxSize }
func (*veth) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// dummy is a link that loses what is sent to it.
type dummy struct{ port }

func newDummy(mtu uint32) *dummy {
	d := new(dummy)
	d.init(mtu, randomAddress())
	return d
}

// WritePackets implements stack.LinkEndpoint.
func (d *dummy) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		d.stats.sent(pkt.Size())
	}
	return pkts.Len(), nil
}

// end implements device.
func (*dummy) end() {}
