package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"coffer/internal/link"
	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Taken is a network namespace whose interfaces a sentry serves.
type Taken struct {
	// Network is what the sentry is to have; nil if the namespace has no interface but
	// lo. Descriptors in it are places in Files.
	Network *network.Config
	Files   []*os.File
}

// Close closes the files. The sentry has its own copies of them.
func (t *Taken) Close() {
	for _, f := range t.Files {
		f.Close()
	}
}

// Held is what TakeOver has removed from a namespace.
type Held struct {
	// Owner is whose the interfaces are.
	Owner      string
	Interfaces []HeldInterface
}

// HeldInterface is an interface whose frames a sentry has.
type HeldInterface struct {
	Name      string
	Index     int
	Addresses []netip.Prefix
	Routes    []network.Route
	// IPv6 says that the host's kernel spoke IPv6 on it.
	IPv6 bool
}

// aliasPrefix begins the alias of an interface that is taken over (ip-link(8)).
const aliasPrefix = "coffer: "

// TakeOver reads the interfaces of a network namespace that are up, with addresses,
// routes and permanent neighbours, and opens packet sockets of them. From the host's
// kernel it takes the addresses away, so that no one but the sentry answers; the
// interfaces stay up. They get an alias that says whose they are: owner.
//
// keep is called before anything is changed with what Release needs to give it back;
// it may be nil for a namespace that goes with the sandbox. The caller needs
// CAP_NET_ADMIN and CAP_NET_RAW over the namespace, and CAP_SYS_ADMIN.
func TakeOver(ns *os.File, owner string, keep func(*Held) error) (*Taken, error) {
	t := new(Taken)
	for _, own := range []string{"/proc/self/ns/net", "/proc/1/ns/net"} {
		if same(ns, own) {
			return nil, fmt.Errorf("the network namespace %s is the host's own, which no sandbox may take over", ns.Name())
		}
	}
	err := within(ns, func() error { return t.take(owner, keep) })
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("taking over the network namespace %s: %w", ns.Name(), err)
	}
	return t, nil
}

// same reports whether an open namespace is the one at a path.
func same(ns *os.File, path string) bool {
	a, err := ns.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func (t *Taken) take(owner string, keep func(*Held) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer h.Close()
	r := reader{handle: h, names: map[int]string{}, held: Held{Owner: owner}}
	if err := r.read(); err != nil {
		return err
	}
	if len(r.links) == 0 {
		return nil
	}
	if keep != nil {
		if err := keep(&r.held); err != nil {
			return err
		}
	}
	for i, l := range r.links {
		f, err := link.OpenPacket(l.Attrs().Index)
		if err != nil {
			return fmt.Errorf("the interface %s: %w", l.Attrs().Name, err)
		}
		t.Files = append(t.Files, f)
		r.config.Interfaces[i].FD = len(t.Files) - 1
	}
	server, err := nameserver()
	if err != nil {
		return err
	}
	if server != nil {
		t.Files = append(t.Files, server)
		r.config.Nameserver = &network.Nameserver{Address: dockerNames, FD: len(t.Files) - 1}
	}
	t.Network = &r.config
	for _, l := range r.links {
		if err := silence(h, l, owner); err != nil {
			return errors.Join(err, r.held.restore(h))
		}
	}
	return nil
}

// reader reads the namespace that its thread is in.
type reader struct {
	handle *netlink.Handle
	links  []netlink.Link
	names  map[int]string // of links, by index
	config network.Config
	held   Held
}

func (r *reader) read() error {
	list, err := r.handle.LinkList()
	if err != nil {
		return fmt.Errorf("listing its interfaces: %w", err)
	}
	for _, l := range list {
		a := l.Attrs()
		// Linux puts interfaces that are down into every namespace (tunl0, sit0).
		if a.RawFlags&unix.IFF_LOOPBACK != 0 || a.RawFlags&unix.IFF_UP == 0 {
			continue
		}
		if a.EncapType != "ether" {
			return fmt.Errorf("the interface %s carries no Ethernet frames (%s), and the kernel wall can take over no others: take it out of the namespace, or use the process wall", a.Name, a.EncapType)
		}
		if by, ok := strings.CutPrefix(a.Alias, aliasPrefix); ok {
			return fmt.Errorf("the interface %s is served by the sandbox of container %s: the kernel wall shares a namespace among containers only within one sandbox; if that container is no more, 'coffer delete --force %s' gives the interface back, or 'ip link set %s alias \"\"'", a.Name, by, by, a.Name)
		}
		if err := r.readLink(l); err != nil {
			return fmt.Errorf("the interface %s: %w", a.Name, err)
		}
	}
	if len(r.links) == 0 {
		return nil
	}
	return r.readRoutes()
}

// readLink reads an interface, its addresses and its permanent neighbours.
func (r *reader) readLink(l netlink.Link) error {
	a := l.Attrs()
	addrs, err := r.handle.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing its addresses: %w", err)
	}
	i := network.Interface{
		Name: a.Name, HardwareAddr: network.HardwareAddr(a.HardwareAddr.String()), MTU: uint32(a.MTU),
		Link: network.LinkPacket, Offload: true,
	}
	held := HeldInterface{Name: a.Name, Index: a.Index, IPv6: speaksIPv6(a.Name)}
	for _, addr := range addrs {
		if p, ok := prefix(addr.IPNet); ok && addr.Flags&unix.IFA_F_DADFAILED == 0 {
			i.Addresses = append(i.Addresses, p)
			held.Addresses = append(held.Addresses, p)
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
				Address: ip.Unmap(), HardwareAddr: network.HardwareAddr(n.HardwareAddr.String()), Interface: a.Name,
			})
		}
	}
	r.names[a.Index] = a.Name
	r.links = append(r.links, l)
	r.config.Interfaces = append(r.config.Interfaces, i)
	r.held.Interfaces = append(r.held.Interfaces, held)
	return nil
}

// readRoutes reads the routes of the main table over the interfaces that were read.
func (r *reader) readRoutes() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := r.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("listing its routes: %w", err)
		}
		for i := range list {
			if err := r.readRoute(&list[i], family); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) readRoute(from *netlink.Route, family int) error {
	to := network.Route{Destination: everywhere(family), Metric: uint32(from.Priority)}
	if from.Dst != nil {
		p, ok := prefix(from.Dst)
		if !ok {
			return fmt.Errorf("the route %v: its destination is no network", from)
		}
		to.Destination = p
	}
	switch from.Type {
	case unix.RTN_UNICAST, unix.RTN_UNSPEC:
	case unix.RTN_MULTICAST, unix.RTN_BROADCAST, unix.RTN_LOCAL, unix.RTN_ANYCAST:
		return nil // the sentry's stack knows of these itself
	default:
		return fmt.Errorf("the route to %s is of a type that the kernel wall does not have (%d, as blackhole or unreachable): take it out of the namespace, or use the process wall", to.Destination, from.Type)
	}
	index, gateway := from.LinkIndex, from.Gw
	if len(from.MultiPath) > 0 {
		// One way is as good as the others, and the stack takes one.
		index, gateway = from.MultiPath[0].LinkIndex, from.MultiPath[0].Gw
	}
	name, ok := r.names[index]
	if !ok {
		return nil // over lo, or what is down
	}
	to.Interface = name
	if gateway != nil {
		to.Gateway, _ = netip.AddrFromSlice(gateway)
		to.Gateway = to.Gateway.Unmap()
	}
	if from.Src != nil {
		to.Source, _ = netip.AddrFromSlice(from.Src)
		to.Source = to.Source.Unmap()
	}
	r.config.Routes = append(r.config.Routes, to)
	i := slices.IndexFunc(r.held.Interfaces, func(h HeldInterface) bool { return h.Index == index })
	r.held.Interfaces[i].Routes = append(r.held.Interfaces[i].Routes, to)
	return nil
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

// silence has the host's kernel answer no more on an interface.
func silence(h *netlink.Handle, l netlink.Link, owner string) error {
	a := l.Attrs()
	if err := h.LinkSetAlias(l, aliasPrefix+owner); err != nil {
		return fmt.Errorf("noting whose the interface %s is: %w", a.Name, err)
	}
	// With IPv6 off its addresses go, and no new one comes by itself. Where the
	// setting cannot be written the addresses go all the same.
	_ = speakIPv6(a.Name, false)
	addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing the addresses of the interface %s: %w", a.Name, err)
	}
	for i := range addrs {
		// With an interface's first address those of its network may go, too.
		if err := h.AddrDel(l, &addrs[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("taking the address %v from the interface %s: %w", addrs[i].IPNet, a.Name, err)
		}
	}
	return nil
}

// Release gives a namespace back what was taken away from it. Of interfaces that have
// gone nothing is left to be given back.
func (held *Held) Release(ns *os.File) error {
	err := within(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("opening a netlink socket: %w", err)
		}
		defer h.Close()
		return held.restore(h)
	})
	if err != nil {
		return fmt.Errorf("giving the network namespace %s back: %w", ns.Name(), err)
	}
	return nil
}

func (held *Held) restore(h *netlink.Handle) error {
	var all []error
	for i := range held.Interfaces {
		k := &held.Interfaces[i]
		l, err := h.LinkByIndex(k.Index)
		if err != nil || l.Attrs().Alias != aliasPrefix+held.Owner {
			continue // gone, or another one that got its number
		}
		if err := k.restore(h, l); err != nil {
			all = append(all, fmt.Errorf("the interface %s: %w", k.Name, err))
		}
	}
	return errors.Join(all...)
}

func (k *HeldInterface) restore(h *netlink.Handle, l netlink.Link) error {
	if k.IPv6 {
		_ = speakIPv6(l.Attrs().Name, true)
	}
	for _, p := range k.Addresses {
		if p.Addr().Is6() && !k.IPv6 {
			continue
		}
		if err := h.AddrReplace(l, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("the address %s: %w", p, err)
		}
	}
	// Routes on the link first: gateways are reached by them.
	for _, viaGateway := range []bool{false, true} {
		for _, r := range k.Routes {
			if r.Gateway.IsValid() != viaGateway || r.Destination.Addr().Is6() && !k.IPv6 {
				continue
			}
			if err := addRoute(h, k.Index, &r); err != nil {
				return fmt.Errorf("the route to %s: %w", r.Destination, err)
			}
		}
	}
	return h.LinkSetAlias(l, "")
}

// addRoute adds a route, unless an address has brought it along.
func addRoute(h *netlink.Handle, index int, r *network.Route) error {
	route := &netlink.Route{LinkIndex: index, Dst: ipNet(r.Destination), Priority: int(r.Metric), Table: unix.RT_TABLE_MAIN}
	if r.Gateway.IsValid() {
		route.Gw = r.Gateway.AsSlice()
	} else if r.Destination.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	err := h.RouteAdd(route)
	if route.Gw != nil && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)) {
		route.Flags = int(netlink.FLAG_ONLINK) // as it must have been
		err = h.RouteAdd(route)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// speaksIPv6 reports whether the host's kernel speaks IPv6 on an interface of the
// thread's namespace.
func speaksIPv6(name string) bool {
	b, err := os.ReadFile(ipv6Switch(name))
	return err == nil && len(b) > 0 && b[0] == '0'
}

func speakIPv6(name string, is bool) error {
	value := "1"
	if is {
		value = "0"
	}
	return os.WriteFile(ipv6Switch(name), []byte(value), 0)
}

// ipv6Switch is a file of the thread's network namespace, whichever was the one when
// /proc was mounted.
func ipv6Switch(name string) string { return "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6" }
