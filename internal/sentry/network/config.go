package network

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"
)

// Config is what a network starts with.
type Config struct {
	// LoopbackUp starts lo with its addresses, as container runtimes do; a network
	// namespace that a program makes has it down.
	LoopbackUp bool
	Interfaces []Interface
	Routes     []Route
	// Rules, if not nil, are all that say which table the way is looked up in, in the place
	// of those that a namespace begins with (DefaultRules).
	Rules      []RuleInfo
	Neighbours []Neighbour
	// Nameserver, if not nil, is asked for what programs send to its address.
	Nameserver *Nameserver
	// Host makes sockets the host's own: then there are no interfaces and routes, and
	// the sentry stays in its starter's network namespace.
	Host bool
	// Policy, if not nil, has a say in what leaves. It is no part of a description:
	// it is made of Questions (NewAsker), if that is not 0: a SOCK_SEQPACKET socket to
	// whoever carries the frames.
	Policy    Policy `json:"-"`
	Questions int
}

// Interface is one that leads out of the sandbox.
type Interface struct {
	Name         string
	HardwareAddr HardwareAddr
	// MTU is in bytes, without the Ethernet header.
	MTU       uint32
	Addresses []netip.Prefix
	// Link says what FD is; both carry one Ethernet frame in each message.
	Link Link
	FD   int
	// Ready are epoll instances of the link's (link.OpenReady), or 0: then it makes them,
	// which only a sentry can that is not behind its filter yet.
	Ready [2]int
	// Offload says that frames have a virtio-net header before them, so that
	// segmentation and checksums can be left to the host (PACKET_VNET_HDR).
	Offload bool
	// Rate limits what leaves and what comes in, in bytes a second each; 0 is no limit.
	Rate uint64
	// Guard has frames dropped that leave with an Ethernet or IP address that is not the
	// interface's: of a container that is not to pose as another one on its network.
	Guard bool
	// Capture takes what crosses the interface, as a pcap file, if it is not 0.
	Capture int
}

// Link is a kind of host descriptor that carries frames.
type Link string

const (
	// LinkPacket is an AF_PACKET socket, bound to an interface of the host's.
	LinkPacket Link = "packet"
	// LinkGateway is a SOCK_SEQPACKET Unix socket whose other end is a gateway.
	LinkGateway Link = "gateway"
)

// Route is one route.
type Route struct {
	// Destination is a network; 0.0.0.0/0 and ::/0 are the default routes.
	Destination netip.Prefix
	// Gateway is invalid for a network on the link itself.
	Gateway   netip.Addr
	Interface string
	// Source is the preferred source address, or invalid.
	Source netip.Addr
	Metric uint32
	// Hops are what takes the place of Gateway and Interface if there are several.
	Hops []Hop
	// Type is RTN_*, and Protocol RTPROT_*; 0 is RTN_UNICAST, and RTPROT_BOOT. A route that
	// refuses (RTN_BLACKHOLE and so on) leads nowhere.
	Type, Protocol uint8
	// Table is a number as RT_TABLE_*; 0 is the main one.
	Table uint32
	TOS   uint8
	// MTU is for this route alone, or 0.
	MTU uint32
}

// Hop is one of several ways to a destination (NextHop).
type Hop struct {
	Gateway   netip.Addr
	Interface string
	Weight    uint16
}

// equal reports whether two routes are the same in all.
func (r Route) equal(o Route) bool { return r.inPlaceOf(o) && reflect.DeepEqual(r, o) }

// inPlaceOf reports whether one of two routes takes the other's place in a table.
func (r Route) inPlaceOf(o Route) bool {
	return r.Destination == o.Destination && r.Metric == o.Metric && r.Table == o.Table && r.TOS == o.TOS
}

// hops are all ways of a route that does not refuse.
func (r Route) hops() []Hop {
	if len(r.Hops) > 0 {
		return r.Hops
	}
	return []Hop{{Gateway: r.Gateway, Interface: r.Interface}}
}

// Neighbour is a permanent entry of the tables of ARP and neighbour discovery.
type Neighbour struct {
	Address      netip.Addr
	HardwareAddr HardwareAddr
	Interface    string
}

// check says what is wrong with a configuration, by name.
func (c *Config) check() error {
	if c.Host && (len(c.Interfaces) > 0 || len(c.Routes) > 0) {
		return fmt.Errorf("a network that is the host's has no interfaces and routes of its own")
	}
	names := map[string]bool{"lo": true}
	for _, i := range c.Interfaces {
		switch {
		case i.Name == "" || len(i.Name) >= unix.IFNAMSIZ || strings.ContainsAny(i.Name, "/ \t\n:"):
			return fmt.Errorf("network interface %q: a name has 1 to %d bytes, without spaces, colons and slashes", i.Name, unix.IFNAMSIZ-1)
		case names[i.Name]:
			return fmt.Errorf("network interface %s: there are two of that name", i.Name)
		case i.MTU < 68 || i.MTU > 65535:
			return fmt.Errorf("network interface %s: an MTU of %d bytes: 68 to 65535 are possible", i.Name, i.MTU)
		case i.Link != LinkPacket && i.Link != LinkGateway:
			return fmt.Errorf("network interface %s: %q is no kind of link", i.Name, i.Link)
		}
		if _, err := i.HardwareAddr.Parse(); err != nil {
			return fmt.Errorf("network interface %s: %w", i.Name, err)
		}
		names[i.Name] = true
	}
	if s := c.Nameserver; s != nil && (!s.Address.Addr().Is4() || !s.Address.Addr().IsLoopback() || s.Address.Port() == 0) {
		return fmt.Errorf("the name server %s: it has no IPv4 address of a loopback interface and a port", s.Address)
	}
	for _, n := range c.Neighbours {
		if !n.Address.IsValid() || !names[n.Interface] || n.Interface == "lo" {
			return fmt.Errorf("the neighbour %s: there is no network interface %s that has neighbours", n.Address, n.Interface)
		}
		if _, err := n.HardwareAddr.Parse(); err != nil {
			return fmt.Errorf("the neighbour %s: %w", n.Address, err)
		}
	}
	for _, r := range c.Routes {
		if !r.Destination.IsValid() {
			return fmt.Errorf("a route without a destination: 0.0.0.0/0 is the default route's")
		}
		if refusal(r.Type) != 0 {
			continue
		}
		for _, h := range r.hops() {
			switch {
			case h.Interface != "" && !names[h.Interface]:
				return fmt.Errorf("the route to %s: there is no network interface %s", r.Destination, h.Interface)
			case h.Interface == "" && !h.Gateway.IsValid():
				return fmt.Errorf("the route to %s: neither an interface nor a gateway is given", r.Destination)
			case h.Gateway.IsValid() && h.Gateway.Is4() && !r.Destination.Addr().Is4():
				return fmt.Errorf("the route to %s: gateway %s is of the other family", r.Destination, h.Gateway)
			}
		}
	}
	return nil
}
