package network

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// ageing is how long a bridge remembers where a station is.
	ageing = 300 * time.Second
	// maxStations is how many it remembers: frames for others go to all ports.
	maxStations = 4096
)

// bridge is an Ethernet switch (bridge(8)), which is a link itself. It has no
// spanning tree: ports forward as soon as they are up.
type bridge struct {
	port

	mu       sync.RWMutex
	ports    map[*port]device
	stations map[tcpip.LinkAddress]station
}

// station is where frames of an address were last seen to come from.
type station struct {
	at   *port
	seen time.Time
}

// StationInfo is an entry of a bridge's table.
type StationInfo struct {
	// Bridge and Port are indices of interfaces.
	Bridge, Port int32
	HardwareAddr [6]byte
	// State is NUD_PERMANENT for the port's own address, else NUD_REACHABLE.
	State uint16
}

// Stations returns which Ethernet address is at which port of a bridge.
func (n *Namespace) Stations() (list []StationInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.sorted() {
		if l.master == nil {
			continue
		}
		b, p := l.master.device.(*bridge), l.device.base()
		add := func(a tcpip.LinkAddress, state uint16) {
			e := StationInfo{Bridge: l.master.index, Port: l.index, State: state}
			copy(e.HardwareAddr[:], a)
			list = append(list, e)
		}
		add(p.LinkAddress(), unix.NUD_PERMANENT)
		for _, a := range b.stationsAt(p) {
			add(a, unix.NUD_REACHABLE)
		}
	}
	return list
}

// stationsAt are the addresses that are at a port, in an order that does not change.
func (b *bridge) stationsAt(p *port) (list []tcpip.LinkAddress) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for a, s := range b.stations {
		if s.at == p && a != p.LinkAddress() && time.Since(s.seen) < ageing {
			list = append(list, a)
		}
	}
	slices.Sort(list)
	return list
}

func newBridge(mtu uint32) *bridge {
	b := &bridge{ports: map[*port]device{}, stations: map[tcpip.LinkAddress]station{}}
	b.init(mtu, randomAddress())
	return b
}

// add and remove join a device to the bridge and take it away.
func (b *bridge) add(d device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ports[d.base()] = d
	d.base().master.Store(b)
}

func (b *bridge) remove(d device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := d.base()
	p.master.Store(nil)
	delete(b.ports, p)
	maps.DeleteFunc(b.stations, func(_ tcpip.LinkAddress, s station) bool { return s.at == p })
}

// carrier reports whether any port could carry a frame.
func (b *bridge) carrier() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for p, d := range b.ports {
		if p.up.Load() && carries(d) {
			return true
		}
	}
	return false
}

// WritePackets implements stack.LinkEndpoint: what the stack sends goes on to ports.
func (b *bridge) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		if !b.up.Load() {
			b.stats.txDropped.Add(1)
			continue
		}
		b.stats.sent(pkt.Size())
		to := header.Ethernet(pkt.LinkHeader().Slice()).DestinationAddress()
		for _, d := range b.ways(to, nil) {
			send(d, pkt)
		}
	}
	return pkts.Len(), nil
}

// forward takes a frame that came in at a port to where it is going.
func (b *bridge) forward(from *port, pkt *stack.PacketBuffer) {
	if !b.up.Load() {
		from.stats.rxDropped.Add(1)
		return
	}
	raw, ok := pkt.Data().PullUp(header.EthernetMinimumSize)
	if !ok {
		return
	}
	eth := header.Ethernet(raw)
	src, dst := eth.SourceAddress(), eth.DestinationAddress()
	if header.IsMulticastEthernetAddress(src) {
		return
	}
	b.learn(src, from)
	group := header.IsMulticastEthernetAddress(dst)
	own := dst == b.LinkAddress()
	if !own {
		for _, d := range b.ways(dst, from) {
			send(d, pkt)
		}
	}
	if own || group || b.promiscuous.Load() {
		b.stats.received(pkt.Data().Size())
		in := copyFrame(pkt)
		defer in.DecRef()
		b.deliver(in)
	}
}

func (b *bridge) learn(src tcpip.LinkAddress, from *port) {
	now := time.Now()
	b.mu.RLock()
	s, known := b.stations[src]
	b.mu.RUnlock()
	if known && s.at == from && now.Sub(s.seen) < time.Second {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ports[from] == nil {
		return
	}
	if !known && len(b.stations) >= maxStations {
		maps.DeleteFunc(b.stations, func(_ tcpip.LinkAddress, s station) bool { return now.Sub(s.seen) > ageing })
		if len(b.stations) >= maxStations {
			return
		}
	}
	b.stations[src] = station{from, now}
}

// ways are the ports that a frame to an address leaves by.
func (b *bridge) ways(to tcpip.LinkAddress, from *port) []device {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if s, ok := b.stations[to]; ok && time.Since(s.seen) < ageing {
		if s.at == from {
			return nil
		}
		return []device{b.ports[s.at]}
	}
	out := make([]device, 0, len(b.ports))
	for p, d := range b.ports {
		if p != from && p.up.Load() {
			out = append(out, d)
		}
	}
	return out
}

// send writes a whole frame to a device, which makes a copy if it keeps it.
func send(d device, pkt *stack.PacketBuffer) {
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: pkt.ToBuffer()})
	defer out.DecRef()
	if !d.ParseHeader(out) {
		return
	}
	out.PktType = tcpip.PacketOutgoing
	var list stack.PacketBufferList
	list.PushBack(out)
	d.WritePackets(list)
}

// end implements device. Its ports have been taken away.
func (*bridge) end() {}

// carries reports whether a device has something at its other end (IFF_LOWER_UP).
func carries(d device) bool {
	switch d := d.(type) {
	case *veth:
		return d.peer.up.Load()
	case *bridge:
		return d.carrier()
	case *outside:
		return d.Running()
	case *tun:
		return !d.noCarrier.Load()
	}
	return true
}
