package network

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"weak"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// device is what stands behind a link other than lo. The stack writes frames to
// it, and its port delivers those that come in. A device outlives its link when that
// moves to another namespace, so Close, which the stack calls when a link leaves it,
// does nothing.
type device interface {
	stack.LinkEndpoint
	base() *port
	// end is for the device of a link that has been deleted. It may wait for a
	// delivery under way, so that no lock is held.
	end()
}

// port is what the devices have in common: where they belong, and what becomes of
// the frames that come in.
type port struct {
	stats statistics

	// up is IFF_UP, promiscuous IFF_PROMISC.
	up, promiscuous atomic.Bool
	// master is the bridge that takes all frames, or nil.
	master atomic.Pointer[bridge]
	// dispatcher is the stack's interface, or nil.
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	address    atomic.Pointer[tcpip.LinkAddress]
	mtu        atomic.Uint32

	// home is the namespace that the link is in, and index its number there, as its
	// peer wants to know. The device must not keep the namespace alive.
	mu    sync.Mutex
	home  weak.Pointer[Namespace]
	index int32
}

// statistics are a link's counters.
type statistics struct {
	rxPackets, rxBytes, rxDropped atomic.Uint64
	txPackets, txBytes, txDropped atomic.Uint64
}

func (s *statistics) get() Statistics {
	return Statistics{
		RxPackets: s.rxPackets.Load(), RxBytes: s.rxBytes.Load(), RxDropped: s.rxDropped.Load(),
		TxPackets: s.txPackets.Load(), TxBytes: s.txBytes.Load(), TxDropped: s.txDropped.Load(),
	}
}

// received counts a frame that came in, sent one that went out.
func (s *statistics) received(n int) {
	s.rxPackets.Add(1)
	s.rxBytes.Add(uint64(n))
}

func (s *statistics) sent(n int) {
	s.txPackets.Add(1)
	s.txBytes.Add(uint64(n))
}

func (p *port) init(mtu uint32, address tcpip.LinkAddress) {
	p.mtu.Store(mtu)
	p.address.Store(&address)
}

func (p *port) base() *port { return p }

// settle notes where the link is; nil is nowhere.
func (p *port) settle(n *Namespace, index int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.home, p.index = weak.Pointer[Namespace]{}, index
	if n != nil {
		p.home = weak.Make(n)
	}
}

// place is where the link is: nil if nowhere.
func (p *port) place() (*Namespace, int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.home.Value(), p.index
}

// receive takes a frame, which begins with its Ethernet header, to the bridge or the
// stack. The caller keeps its reference to pkt.
func (p *port) receive(pkt *stack.PacketBuffer) {
	size := pkt.Data().Size()
	if !p.up.Load() || size < header.EthernetMinimumSize {
		p.stats.rxDropped.Add(1)
		return
	}
	p.stats.received(size)
	if b := p.master.Load(); b != nil {
		b.forward(p, pkt)
		return
	}
	p.deliver(pkt)
}

// deliver hands a frame to the stack, if it is for this link.
func (p *port) deliver(pkt *stack.PacketBuffer) {
	d := p.dispatcher.Load()
	if d == nil || *d == nil {
		return
	}
	raw, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	if !ok {
		return
	}
	eth := header.Ethernet(raw)
	switch to := eth.DestinationAddress(); {
	case to == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		pkt.PktType = tcpip.PacketMulticast
	case to == *p.address.Load():
		pkt.PktType = tcpip.PacketHost
	default:
		pkt.PktType = tcpip.PacketOtherHost
		if p.promiscuous.Load() {
			(*d).DeliverLinkPacket(eth.Type(), pkt)
		}
		return
	}
	if eth.Type() == header.IPv4ProtocolNumber {
		p.expire(pkt)
	}
	everyProtocol{*d}.DeliverNetworkPacket(eth.Type(), pkt)
}

// copyFrame returns a frame of its own with what pkt has: stacks write into headers.
func copyFrame(pkt *stack.PacketBuffer) *stack.PacketBuffer {
	b := pkt.ToBuffer()
	defer b.Release()
	return stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: b.DeepClone()})
}

// The part of stack.LinkEndpoint that is the same for all devices of Ethernet.

func (p *port) MTU() uint32                             { return p.mtu.Load() }
func (p *port) SetMTU(mtu uint32)                       { p.mtu.Store(mtu) }
func (p *port) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (p *port) LinkAddress() tcpip.LinkAddress          { return *p.address.Load() }
func (p *port) SetLinkAddress(a tcpip.LinkAddress)      { p.address.Store(&a) }
func (p *port) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (p *port) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}
func (p *port) Attach(d stack.NetworkDispatcher) { p.dispatcher.Store(&d) }
func (p *port) IsAttached() bool {
	d := p.dispatcher.Load()
	return d != nil && *d != nil
}
func (p *port) Wait()                   {}
func (p *port) Close()                  {}
func (p *port) SetOnCloseAction(func()) {}

func (p *port) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress, DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

func (p *port) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// randomAddress is an Ethernet address of nobody's: unicast, locally administered.
func randomAddress() tcpip.LinkAddress {
	var b [6]byte
	rand.Read(b[:])
	b[0] = b[0]&^1 | 2
	return tcpip.LinkAddress(b[:])
}
