package inet

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"coffer/internal/bpf"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// portGroup are sockets with one name (SO_REUSEPORT), of which a program may say whose a packet is
// (SO_ATTACH_REUSEPORT_CBPF in socket(7)). Without one, or if it says what there is not, the stack chooses.
type portGroup struct {
	// name is nil as long as the only member has none.
	name *groupName
	// members are in the order in which they bound, or listened; they, program and connected change with
	// portGroups held.
	members []*Socket
	program *bpf.SocketFilter
	// connected have the name too, but receive from their peers alone.
	connected []*Socket
}

// groupName is what the sockets of a group have in common.
type groupName struct {
	stack            *stack.Stack
	protocol, family int32
	only6            bool
	device           int32
	address          tcpip.FullAddress
}

// portGroups are all groups that have a name, also by their members' endpoints. The lock is a leaf, under
// which Socket.portGroup changes.
var portGroups struct {
	sync.RWMutex
	named map[groupName]*portGroup
	of    map[stack.TransportEndpoint]*portGroup
}

// sharing is held by who gets a name that others may have too, from the look at them until it is among them. It comes
// after Socket.mu and the namespaces' locks.
var sharing sync.Mutex

var chooseByPrograms = sync.OnceFunc(func() { network.SetChooser(choose) })

// choose is who gets a packet, which the stack would give to one endpoint.
func choose(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) stack.TransportEndpoint {
	if pkt.NetworkPacketInfo.LocalAddressBroadcast || header.IsV4MulticastAddress(id.LocalAddress) || header.IsV6MulticastAddress(id.LocalAddress) {
		return to // each gets its own
	}
	portGroups.RLock()
	defer portGroups.RUnlock()
	g := portGroups.of[to]
	if g == nil || g.program == nil {
		return to
	}
	i := g.program.Run(programPacket(pkt))
	if uint64(i) >= uint64(len(g.members)) {
		return to
	}
	if e, ok := g.members[i].ep.Load().Endpoint.(stack.TransportEndpoint); ok {
		return e
	}
	return to
}

// programPacket is a packet as the program sees it: what follows the headers.
func programPacket(pkt *stack.PacketBuffer) *bpf.Packet {
	whole := append(slices.Clone(pkt.NetworkHeader().Slice()), pkt.TransportHeader().Slice()...)
	front := len(whole)
	whole = append(whole, pkt.Data().AsRange().ToSlice()...)
	return &bpf.Packet{
		Data: whole[front:], Network: whole, Protocol: uint16(pkt.NetworkProtocolNumber), Interface: uint32(pkt.NICID), Mark: pkt.Mark,
	}
}

// reusesPort reports whether SO_REUSEPORT is set.
func (s *Socket) reusesPort() bool { return s.ep.Load().SocketOptions().GetReusePort() }

// refusesPort reports whether a socket may not get a name since others have it, or one that overlaps: they are
// another user's, or it has a program of its own, of which there would be two. Of TCP only who listens counts.
func (s *Socket) refusesPort(address tcpip.FullAddress) bool {
	if address.Port == 0 || !s.reusesPort() {
		return false
	}
	own := s.portGroup.Load()
	programmed := own != nil && own.name == nil
	name := s.groupName(address)
	portGroups.RLock()
	defer portGroups.RUnlock()
	for other, g := range portGroups.named {
		if name.overlaps(&other) && (programmed || slices.ContainsFunc(g.members, s.distrusts) || slices.ContainsFunc(g.connected, s.distrusts)) {
			return true
		}
	}
	return false
}

// disturbsListener reports whether a stream may not get a name, or listen there, since another one listens at that
// or at one that overlaps: SO_REUSEADDR does not extend to those.
func (s *Socket) disturbsListener(address tcpip.FullAddress) bool {
	if address.Port == 0 || !s.ep.Load().SocketOptions().GetReuseAddress() {
		return false // the stack permits none at all
	}
	name := s.groupName(address)
	listeners.RLock()
	others := slices.Collect(maps.Values(listeners.m))
	listeners.RUnlock()
	return slices.ContainsFunc(others, func(l *Socket) bool {
		local, err := l.ep.Load().GetLocalAddress()
		if err != nil || l == s || l.reusesPort() && s.reusesPort() {
			return false
		}
		other := l.groupName(local)
		return name.overlaps(&other)
	})
}

// distrusts reports whether a socket that has a port may not share it with s: SO_REUSEPORT is for one user's
// sockets, so that nobody takes what is another's. With SO_REUSEADDR those of UDP do not care.
func (s *Socket) distrusts(other *Socket) bool {
	careless := func(s *Socket) bool { return s.sort() == ofUDP && s.ep.Load().SocketOptions().GetReuseAddress() }
	return s.cred.FSUID != other.cred.FSUID && !(careless(s) && careless(other))
}

func (s *Socket) groupName(address tcpip.FullAddress) groupName {
	o := s.ep.Load().SocketOptions()
	return groupName{s.net.Stack(), s.protocol, s.family.Load(), o.GetV6Only(), o.GetBindToDevice(), address}
}

// overlaps reports whether something may be sent to both names.
func (n *groupName) overlaps(o *groupName) bool {
	if n.address.Port != o.address.Port || n.protocol != o.protocol || n.stack != o.stack || n.device != 0 && o.device != 0 && n.device != o.device {
		return false
	}
	a, b := unmapped(n.family, n.address).Addr(), unmapped(o.family, o.address).Addr()
	if n.only6 && b.Is4() || o.only6 && a.Is4() {
		return false
	}
	covers := func(a, b netip.Addr) bool { return a == b || a.IsUnspecified() && (a.Is6() || b.Is4()) }
	return covers(a, b) || covers(b, a)
}

// joinPort has a socket that has got its name share it with those that have the same one. s.mu is held.
func (s *Socket) joinPort() {
	e := s.ep.Load()
	t, ok := e.Endpoint.(stack.TransportEndpoint)
	local, err := e.GetLocalAddress()
	if !ok || err != nil || !s.reusesPort() {
		return
	}
	name := s.groupName(local)
	portGroups.Lock()
	defer portGroups.Unlock()
	own := s.portGroup.Load()
	if own != nil && own.name != nil {
		return
	}
	g := portGroups.named[name]
	switch {
	case g != nil:
		g.members = append(g.members, s)
	case own != nil:
		g = own
	default:
		g = &portGroup{members: []*Socket{s}}
	}
	if g.name == nil {
		g.name = &name
		if portGroups.named == nil {
			portGroups.named, portGroups.of = map[groupName]*portGroup{}, map[stack.TransportEndpoint]*portGroup{}
		}
		portGroups.named[name] = g
	}
	s.portGroup.Store(g)
	portGroups.of[t] = g
}

// connectPort is for a socket that receives from its peer alone. It keeps others from its name all the same.
func (s *Socket) connectPort() {
	if s.portGroup.Load() == nil {
		return
	}
	portGroups.Lock()
	defer portGroups.Unlock()
	if g := s.portGroup.Load(); g != nil && g.name != nil && slices.Contains(g.members, s) {
		g.remove(s)
		g.connected = append(g.connected, s)
	}
}

// rejoinPort is for a socket that receives from all again.
func (s *Socket) rejoinPort() {
	portGroups.Lock()
	defer portGroups.Unlock()
	g := s.portGroup.Load()
	if g == nil {
		return
	}
	if i := slices.Index(g.connected, s); i >= 0 {
		g.connected = slices.Delete(g.connected, i, i+1)
		g.members = append(g.members, s)
		portGroups.of[s.ep.Load().Endpoint.(stack.TransportEndpoint)] = g
	}
}

// remove takes a socket from those that a program chooses among. portGroups is held.
func (g *portGroup) remove(s *Socket) {
	delete(portGroups.of, s.ep.Load().Endpoint.(stack.TransportEndpoint))
	i, last := slices.Index(g.members, s), len(g.members)-1
	g.members[i] = g.members[last] // as on Linux, which tells whose number is which from then on
	g.members[last] = nil
	g.members = g.members[:last]
}

// leavePort is for a socket that gives up its name.
func (s *Socket) leavePort() {
	if s.portGroup.Load() == nil {
		return
	}
	portGroups.Lock()
	defer portGroups.Unlock()
	g := s.portGroup.Swap(nil)
	if g == nil || g.name == nil {
		return
	}
	if i := slices.Index(g.connected, s); i >= 0 {
		g.connected = slices.Delete(g.connected, i, i+1)
	} else {
		g.remove(s)
	}
	if len(g.members)+len(g.connected) == 0 {
		delete(portGroups.named, *g.name)
	}
}

// attachChooser is SO_ATTACH_REUSEPORT_CBPF: EINVAL without SO_REUSEPORT, which must have been set before
// the socket got its name.
func (s *Socket) attachChooser(c vfs.Caller, value []byte) error {
	f, err := s.CopyInFilter(c, value)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	named := s.listening || s.sort() == ofOthers
	if local, err := s.ep.Load().GetLocalAddress(); err == nil && local.Port != 0 && !s.stream() {
		named = true
	}
	portGroups.Lock()
	defer portGroups.Unlock()
	g := s.portGroup.Load()
	if g == nil {
		if named || !s.reusesPort() {
			return unix.EINVAL
		}
		g = &portGroup{members: []*Socket{s}}
		s.portGroup.Store(g)
	}
	chooseByPrograms()
	g.program = f
	return nil
}

// detachChooser is SO_DETACH_REUSEPORT_BPF.
func (s *Socket) detachChooser() error {
	portGroups.Lock()
	defer portGroups.Unlock()
	switch g := s.portGroup.Load(); {
	case g != nil && g.program != nil:
		g.program = nil
		return nil
	case g == nil && !s.reusesPort():
		return unix.EINVAL
	}
	return unix.ENOENT
}

// programChooses reports whether a program says whose a connection is.
func (s *Socket) programChooses() bool {
	g := s.portGroup.Load()
	if g == nil {
		return false
	}
	portGroups.RLock()
	defer portGroups.RUnlock()
	return g.program != nil
}
