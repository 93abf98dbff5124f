package hostnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Network is a network of the host's that sandboxes share.
type Network struct {
	Name string `json:"name"`
	// Driver is DriverBridge or DriverCNI.
	Driver string `json:"driver"`
	// CNI is the network configuration list of DriverCNI.
	CNI string `json:"cni,omitempty"`
	// Subnet and Gateway are those of DriverBridge; the IPv6 ones are unique local
	// addresses (RFC 4193).
	Subnet   netip.Prefix `json:"subnet,omitzero"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	Subnet6  netip.Prefix `json:"subnet6,omitzero"`
	Gateway6 netip.Addr   `json:"gateway6,omitzero"`
}

// The drivers of named networks.
const (
	DriverBridge = "bridge"
	DriverCNI    = "cni"
)

// defaultName is what the network of --network bridge is called on record; as a named
// network's it means the mode.
const defaultName = string(ModeBridge)

// pool is where the subnets of networks lie that are not given one.
var pool = netip.MustParsePrefix("10.209.0.0/16")

// defaultNetwork is that of --network bridge.
func defaultNetwork() *Network {
	n := &Network{Name: defaultName, Driver: DriverBridge, Subnet: netip.MustParsePrefix("10.209.0.0/20")}
	n.complete()
	return n
}

// complete fills in what follows from the rest.
func (n *Network) complete() {
	if !n.Gateway.IsValid() {
		n.Gateway = n.Subnet.Addr().Next()
	}
	if !n.Subnet6.IsValid() {
		sum := sha256.Sum256([]byte("coffer network " + n.Name + " " + n.Subnet.String()))
		var a [16]byte
		a[0] = 0xfd
		copy(a[1:8], sum[:])
		n.Subnet6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	}
	if !n.Gateway6.IsValid() {
		n.Gateway6 = n.Subnet6.Addr().Next()
	}
}

// bridge is the name of the network's bridge.
func (n *Network) bridge() string {
	if n.Name == defaultName {
		return "coffer0"
	}
	sum := sha256.Sum256([]byte(n.Name))
	return fmt.Sprintf("coffer-%x", sum[:4])
}

// Names lists the named networks.
func (n *Networks) Names() ([]string, error) {
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the networks: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if ok && e.Name() != forwardingFile && checkName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Find returns a named network, or the default one for an empty name.
func (n *Networks) Find(name string) (*Network, error) {
	if name == "" {
		return defaultNetwork(), nil
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	net := new(Network)
	err := readJSON(n.networkPath(name), net)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no network %s: 'coffer network ls' lists those that there are, and 'coffer network create %s' makes one", name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", name, rootOnly(err))
	}
	return net, nil
}

func (n *Networks) networkPath(name string) string { return n.Dir + "/" + name + ".json" }

// Create makes a named network. A bridge's subnet is chosen if it has none, and so is
// the gateway.
func (n *Networks) Create(net *Network) error {
	if err := checkName(net.Name); err != nil {
		return err
	}
	if Mode(net.Name) == ModeCNI || slices.Contains(Modes, Mode(net.Name)) || net.Name+".json" == forwardingFile {
		return fmt.Errorf("a network cannot be called %s, which means something else: choose another name", net.Name)
	}
	s, err := n.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	if _, err := os.Lstat(n.networkPath(net.Name)); err == nil {
		return fmt.Errorf("there is a network %s: choose another name, or remove that one with 'coffer network rm %s'", net.Name, net.Name)
	}
	if net.Driver == DriverBridge {
		if err := n.chooseSubnet(net); err != nil {
			return err
		}
		net.complete()
	}
	return writeJSON(n.networkPath(net.Name), net)
}

// chooseSubnet checks the subnet that was asked for, or finds one.
func (n *Networks) chooseSubnet(net *Network) error {
	taken, err := n.subnets()
	if err != nil {
		return err
	}
	routes, err := hostRoutes()
	if err != nil {
		return err
	}
	if !net.Subnet.IsValid() {
		// The first /20 of the pool is the default network's.
		for i := 16; i < 256; i++ {
			a := pool.Addr().As4()
			a[2] = byte(i)
			p := netip.PrefixFrom(netip.AddrFrom4(a), 24)
			if overlap(p, taken) == "" && overlap(p, routes) == "" {
				net.Subnet = p
				return nil
			}
		}
		return fmt.Errorf("all of %s, where networks without a subnet of their own lie, is in use: give one with --subnet", pool)
	}
	p := net.Subnet
	switch {
	case !p.Addr().Is4():
		return fmt.Errorf("--subnet %s is no IPv4 network; a network's IPv6 addresses are chosen by Coffer", p)
	case p != p.Masked():
		return fmt.Errorf("--subnet %s has bits beyond its prefix: %s is the network", p, p.Masked())
	case p.Bits() > 29 || p.Bits() < 8:
		return fmt.Errorf("--subnet %s: the length of the prefix is 8 to 29", p)
	case p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsUnspecified():
		return fmt.Errorf("--subnet %s is no network that hosts can have addresses of", p)
	}
	if other := overlap(p, taken); other != "" {
		return fmt.Errorf("--subnet %s overlaps %s: choose another one", p, other)
	}
	if other := overlap(p, routes); other != "" {
		return fmt.Errorf("--subnet %s overlaps %s: choose another one", p, other)
	}
	if net.Gateway.IsValid() && (!p.Contains(net.Gateway) || net.Gateway == p.Addr() || net.Gateway == last(p)) {
		return fmt.Errorf("--gateway %s is no address of a host in %s", net.Gateway, p)
	}
	return nil
}

// used is a range of addresses, and whose it is.
type used struct {
	prefix netip.Prefix
	who    string
}

func overlap(p netip.Prefix, list []used) string {
	for _, u := range list {
		if u.prefix.Overlaps(p) {
			return fmt.Sprintf("%s, which is %s", u.prefix, u.who)
		}
	}
	return ""
}

// subnets are those of the networks that there are.
func (n *Networks) subnets() ([]used, error) {
	list := []used{{defaultNetwork().Subnet, "the default network's"}}
	names, err := n.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		net, err := n.Find(name)
		if err != nil {
			return nil, err
		}
		if net.Subnet.IsValid() {
			list = append(list, used{net.Subnet, "network " + name + "'s"})
		}
	}
	return list, nil
}

// hostRoutes are the networks that the host knows a way to, but for the default route.
func hostRoutes() ([]used, error) {
	routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("reading the host's routes: %w", err)
	}
	var list []used
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		a, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 {
			list = append(list, used{netip.PrefixFrom(a, ones), "a route of the host's"})
		}
	}
	return list, nil
}

// whole asks the kernel for a list until nothing has changed while it answered, as when
// many sandboxes start and end at once.
func whole[T any](list func() (T, error)) (got T, err error) {
	for range 100 {
		if got, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return got, err
}

// last is the last address of a network, the broadcast address for IPv4.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Collect removes what dead owners have left on the host.
func (n *Networks) Collect() error {
	if _, err := os.Stat(n.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever attached
	}
	s, err := n.lockState()
	if err != nil {
		return err
	}
	s.unlock()
	return nil
}

// Attached is a sandbox on a network.
type Attached struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	Publish   []string       `json:"publish,omitempty"`
}

// Inspect returns a network with what is attached to it.
func (n *Networks) Inspect(name string) (*Network, []Attached, error) {
	if name == defaultName {
		name = ""
	}
	net, err := n.Find(name)
	if err != nil {
		return nil, nil, err
	}
	s, err := n.lockState()
	if err != nil {
		return nil, nil, err
	}
	defer s.unlock()
	list := []Attached{}
	for _, r := range s.live {
		if r.Network != net.Name {
			continue
		}
		a := Attached{Name: r.Container, Addresses: r.Addresses}
		for _, p := range r.Publish {
			a.Publish = append(a.Publish, p.String())
		}
		list = append(list, a)
	}
	return net, list, nil
}

// Remove removes a named network that nothing is attached to.
func (n *Networks) Remove(name string) error {
	if name == defaultName {
		return fmt.Errorf("network %s is always there: its bridge goes with the last sandbox on it", name)
	}
	net, err := n.Find(name)
	if err != nil {
		return err
	}
	s, err := n.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	for _, r := range s.live {
		if r.Network == net.Name {
			return fmt.Errorf("network %s is in use by the sandbox %s: end it first", name, r.Container)
		}
	}
	return os.Remove(n.networkPath(name))
}
