package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// guestInterface is what a sandbox's interface is called.
const guestInterface = "eth0"

// alias marks interfaces as Coffer's own (ip-link(8)).
const alias = "coffer"

// bridgeMTU is that of Ethernet.
const bridgeMTU = 1500

// ensureBridge makes a network's bridge, or makes sure that it is as it should be.
func ensureBridge(n *Network) (netlink.Link, error) {
	name := n.bridge()
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		if link, err = makeBridge(n); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("looking for the bridge %s: %w", name, err)
	case link.Type() != "bridge" || link.Attrs().Alias != alias:
		return nil, fmt.Errorf("the host has an interface %s that Coffer has not made: rename or remove it ('ip link'), or use another network", name)
	}
	addresses := []netip.Prefix{netip.PrefixFrom(n.Gateway, n.Subnet.Bits())}
	if n.Subnet6.IsValid() {
		addresses = append(addresses, netip.PrefixFrom(n.Gateway6, n.Subnet6.Bits()))
	}
	for _, p := range addresses {
		if err := setAddress(nil, link, p); err != nil {
			return nil, fmt.Errorf("giving the bridge %s the address %s: %w", name, p, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bringing the bridge %s up: %w", name, err)
	}
	if n.Subnet6.IsValid() {
		// No sandbox is a router.
		if err := writeSysctl("/proc/sys/net/ipv6/conf/"+name+"/accept_ra", "0"); err != nil {
			return nil, err
		}
	}
	// A connection from the host's loopback address to a published port leaves by the
	// bridge; the rules keep sandboxes from these addresses.
	return link, writeSysctl("/proc/sys/net/ipv4/conf/"+name+"/route_localnet", "1")
}

func makeBridge(n *Network) (netlink.Link, error) {
	name := n.bridge()
	routes, err := hostRoutes()
	if err != nil {
		return nil, err
	}
	if other := overlap(n.Subnet, routes); other != "" {
		return nil, fmt.Errorf("network %s cannot have %s here, which overlaps %s: make one with another --subnet ('coffer network create') and use that", n.Name, n.Subnet, other)
	}
	mac, err := net.ParseMAC(hardware(n.Gateway))
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = name, mac, bridgeMTU
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("making the bridge %s: %w: it takes root, and bridges in the host's kernel; --network user takes neither", name, err)
	}
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		return nil, errors.Join(fmt.Errorf("marking the bridge %s: %w", name, err), netlink.LinkDel(link))
	}
	return link, nil
}

// setAddress gives an interface an address that is good at once, without asking
// whether others have it. A nil handle is the caller's network namespace.
func setAddress(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	add := netlink.AddrReplace
	if h != nil {
		add = h.AddrReplace
	}
	return add(link, a)
}

// join connects a network namespace to the record's bridge: a pair of interfaces, of
// which one end is on the bridge and the other is the namespace's eth0.
func (r *record) join(n *Network, ns *os.File) error {
	bridge, err := ensureBridge(n)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(r.Hardware)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = r.Veth, bridgeMTU, bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs: attrs, PeerName: guestInterface, PeerHardwareAddr: mac, PeerMTU: bridgeMTU, PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("making a pair of interfaces on the bridge %s: %w", n.bridge(), err)
	}
	if err := writeSysctl("/proc/sys/net/ipv6/conf/"+r.Veth+"/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := netlink.LinkSetUp(pair); err != nil {
		return fmt.Errorf("bringing the interface %s up: %w", r.Veth, err)
	}
	return r.configure(n, ns)
}

// configure sets the sandbox's end up.
func (r *record) configure(n *Network, ns *os.File) error {
	h, err := handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(guestInterface)
	if err != nil {
		return fmt.Errorf("looking at the sandbox's %s: %w", guestInterface, err)
	}
	for _, p := range r.Addresses {
		if err := setAddress(h, link, p); err != nil {
			return fmt.Errorf("giving the sandbox the address %s: %w", p, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing the sandbox's %s up: %w", guestInterface, err)
	}
	gateways := []netip.Addr{n.Gateway}
	if n.Subnet6.IsValid() && forwards6() {
		gateways = append(gateways, n.Gateway6)
	}
	for _, g := range gateways {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: g.AsSlice()}); err != nil {
			return fmt.Errorf("giving the sandbox a route by %s: %w", g, err)
		}
	}
	return nil
}

// remove removes what an attachment is made of, and its record last.
func (s *state) remove(n *Networks, r *record) error {
	if r.CNI != nil && !r.CNI.done {
		// The number of its process may be another one's by now, so the path of its
		// namespace is not named: it goes, or has gone, with the sandbox.
		if err := n.detachCNI(r, ""); err != nil {
			return err
		}
	}
	// The interfaces of another namespace go with that, or with the sandbox's own.
	if r.Bridge != "" && r.Host == s.host {
		if err := deleteLink(r.Veth); err != nil {
			return err
		}
		if slices.ContainsFunc(r.Publish, func(p Publish) bool { return p.Protocol == "udp" }) {
			_ = r.forget() // else it is forgotten in three minutes
		}
	}
	if err := os.Remove(s.recordPath(r.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// forget has the host forget the connections of a sandbox's addresses. Where datagrams to
// published ports went, a client that goes on sending would be led to an address that nobody
// has, or another sandbox. And what another sandbox had begun, the next one with its address could
// go on with, past its own rules.
func (r *record) forget() error {
	var failed error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if a := r.address(family == unix.AF_INET); a.IsValid() {
			begun, answered := new(netlink.ConntrackFilter), new(netlink.ConntrackFilter)
			err := errors.Join(begun.AddIP(netlink.ConntrackOrigSrcIP, a.AsSlice()), answered.AddIP(netlink.ConntrackReplySrcIP, a.AsSlice()))
			if err == nil {
				_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, begun, answered)
			}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// settle brings the host in line with what is left attached.
func (s *state) settle() error {
	switched, err := s.forward()
	if err != nil {
		return err
	}
	records := s.here()
	err = s.writeRules(switched)
	links, lerr := whole(netlink.LinkList)
	if lerr != nil {
		return errors.Join(err, fmt.Errorf("listing the host's interfaces: %w", lerr))
	}
	for _, l := range links {
		if l.Type() == "bridge" && l.Attrs().Alias == alias && !slices.ContainsFunc(records, func(r *record) bool { return r.Bridge == l.Attrs().Name }) {
			err = errors.Join(err, deleteLink(l.Attrs().Name))
		}
	}
	return err
}

// deleteLink removes an interface, which may be gone.
func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing the interface %s: %w", name, err)
	}
	return nil
}
