package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reader reads the namespace that its thread is in, for TakeOver.
type reader struct {
	handle *netlink.Handle
	owner  string
	again  bool
	links  []netlink.Link // those of config.Interfaces
	names  map[int]string // by which the sentry knows them, by index
	// carries are the indices of interfaces whose frames others of the namespace have.
	carries map[int]bool
	config  network.Config
}

// had is the FD of an interface that the sentry has.
const had = -1

// looks is how often a namespace is read in which meanwhile something changes.
const looks = 20

// readAll reads a namespace as it is at one time, as far as the kernel tells that it is not
// (NLM_F_DUMP_INTR).
func readAll(h *netlink.Handle, owner string, again bool) (r *reader, err error) {
	for range looks {
		r = &reader{handle: h, owner: owner, again: again, names: map[int]string{}}
		if err = r.read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return r, err
}

func (r *reader) read() error {
	list, err := r.handle.LinkList()
	if err != nil {
		return fmt.Errorf("listing its interfaces: %w", err)
	}
	r.carries = carriers(list)
	for _, l := range list {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_LOOPBACK != 0 || isPort(l, list) {
			continue
		}
		by, name, taken := parseAlias(a.Alias)
		up := a.RawFlags&unix.IFF_UP != 0
		if taken && by == r.owner && name != "" && r.again {
			// Docker takes one down and gives its old name back before it takes it away.
			if up || name == a.Name {
				err = r.readLink(l, name, had)
			}
		} else {
			// Linux puts interfaces that are down into every namespace (tunl0, sit0).
			switch {
			case !up:
				continue
			case a.EncapType != "ether" && r.again:
				continue
			case a.EncapType != "ether":
				return fmt.Errorf("the interface %s carries no Ethernet frames (%s), and the kernel wall can take over no others: take it out of the namespace, or use the process wall", a.Name, a.EncapType)
			case taken && by != r.owner:
				return fmt.Errorf("the interface %s is served by the sandbox of container %s: the kernel wall shares a namespace among containers only within one sandbox; if that container is no more, 'coffer delete --force %s' gives the interface back, or 'ip link set %s alias \"\"'", a.Name, by, by, a.Name)
			}
			err = r.readLink(l, a.Name, 0)
		}
		if err != nil {
			return fmt.Errorf("the interface %s: %w", a.Name, err)
		}
	}
	if len(r.links) == 0 {
		return nil
	}
	return r.readRoutes()
}

// isPort reports whether an interface is a port of another one in its namespace, which has what
// comes there. Ports have no part in IP, and stay the host's.
func isPort(l netlink.Link, list []netlink.Link) bool {
	return slices.ContainsFunc(list, func(m netlink.Link) bool {
		return m.Attrs().Index == l.Attrs().MasterIndex && slices.Contains([]string{"bridge", "bond", "team", "openvswitch"}, m.Type())
	})
}

// carriers are those interfaces of a namespace that are a bridge's or a bond's port, or have
// VLANs, macvlans or the like upon them.
func carriers(list []netlink.Link) map[int]bool {
	found := map[int]bool{}
	for _, l := range list {
		a := l.Attrs()
		if a.MasterIndex != 0 {
			found[a.Index] = true
		}
		// A veth's parent is its other end.
		if a.ParentIndex != 0 && a.NetNsID < 0 && l.Type() != "veth" {
			found[a.ParentIndex] = true
		}
	}
	return found
}

// readLink reads an interface, its addresses and its permanent neighbours.
func (r *reader) readLink(l netlink.Link, name string, fd int) error {
	a := l.Attrs()
	addrs, err := r.handle.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing its addresses: %w", err)
	}
	i := network.Interface{
		Name: name, HardwareAddr: network.HardwareAddr(a.HardwareAddr.String()), MTU: uint32(a.MTU),
		Link: network.LinkPacket, Offload: true, FD: fd,
	}
	for _, addr := range addrs {
		if p, ok := prefix(addr.IPNet); ok && addr.Flags&unix.IFA_F_DADFAILED == 0 {
			i.Addresses = append(i.Addresses, p)
		}
	}
	neighbours, err := r.handle.NeighList(a.Index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing its neighbours: %w", err)
	}
	for _, n := range neighbours {
		ip, ok := netip.AddrFromSlice(n.IP)
		if ok && n.State&netlink.NUD_PERMANENT != 0 && len(n.HardwareAddr) == 6 {
			r.config.Neighbours = append(r.config.Neighbours, network.Neighbour{
				Address: ip.Unmap(), HardwareAddr: network.HardwareAddr(n.HardwareAddr.String()), Interface: name,
			})
		}
	}
	r.names[a.Index] = name
	r.links = append(r.links, l)
	r.config.Interfaces = append(r.config.Interfaces, i)
	return nil
}

// readRoutes reads the rules, and the routes of all tables but the local one over the interfaces
// that were read.
func (r *reader) readRoutes() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := r.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("listing its routes: %w", err)
		}
		for i := range list {
			if err := r.readRoute(&list[i], family); err != nil {
				return err
			}
		}
	}
	return r.readRules()
}

func (r *reader) readRoute(from *netlink.Route, family int) error {
	if from.Table == unix.RT_TABLE_LOCAL {
		return nil // that follows from the addresses
	}
	to := network.Route{
		Destination: everywhere(family), Metric: uint32(from.Priority), Protocol: uint8(from.Protocol), TOS: uint8(from.Tos), MTU: uint32(from.MTU),
	}
	if from.Table != unix.RT_TABLE_MAIN {
		to.Table = uint32(from.Table)
	}
	if from.Dst != nil {
		p, ok := prefix(from.Dst)
		if !ok {
			return fmt.Errorf("the route %v: its destination is no network", from)
		}
		to.Destination = p
	}
	switch from.Type {
	case unix.RTN_UNICAST, unix.RTN_UNSPEC:
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		to.Type = uint8(from.Type)
		r.config.Routes = append(r.config.Routes, to)
		return nil
	default: // multicast, broadcast and the like: the sentry's stack knows of these itself
		return nil
	}
	encapsulated := from.Encap != nil
	for _, h := range from.MultiPath {
		encapsulated = encapsulated || h.Encap != nil
		if hop, ok := r.hop(h.LinkIndex, h.Gw, h.Via); ok {
			hop.Weight = uint16(h.Hops) + 1
			to.Hops = append(to.Hops, hop)
		}
	}
	if encapsulated {
		return r.cannot("the route to %s encapsulates packets, which the kernel wall does not", to.Destination)
	}
	switch len(to.Hops) {
	case 0:
		hop, ok := r.hop(from.LinkIndex, from.Gw, from.Via)
		if !ok {
			return nil // over lo, or what is down
		}
		to.Gateway, to.Interface = hop.Gateway, hop.Interface
	case 1: // the others are down
		to.Gateway, to.Interface, to.Hops = to.Hops[0].Gateway, to.Hops[0].Interface, nil
	}
	if from.Src != nil {
		to.Source, _ = netip.AddrFromSlice(from.Src)
		to.Source = to.Source.Unmap()
	}
	r.config.Routes = append(r.config.Routes, to)
	return nil
}

// hop is where a route leads, unless that is over no interface that was read.
func (r *reader) hop(index int, gateway net.IP, via netlink.Destination) (h network.Hop, ok bool) {
	if v, other := via.(*netlink.Via); other { // of the other family
		gateway = v.Addr
	}
	h.Interface, ok = r.names[index]
	if a, given := netip.AddrFromSlice(gateway); given {
		h.Gateway = a.Unmap()
	}
	return h, ok
}

// cannot is what to say of something that a sentry cannot have. Later that is left alone.
func (r *reader) cannot(format string, a ...any) error {
	if r.again {
		return nil
	}
	return fmt.Errorf(format+": take it out of the namespace, or use the process wall", a...)
}

func everywhere(family int) netip.Prefix {
	if family == netlink.FAMILY_V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a.Unmap(), ones), true
}
