package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"weak"

	hostlink "coffer/internal/link"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// outside is the device of a link that leads out of the sandbox.
type outside struct {
	*hostlink.Link
	port port
	// unlook ends the looks for frames that are late.
	unlook func()
}

// statisticsOf are a device's counters.
func statisticsOf(d device) Statistics {
	o, ok := d.(*outside)
	if !ok {
		return d.base().stats.get()
	}
	s := o.Statistics()
	return Statistics{
		RxPackets: s.ReceivedFrames, RxBytes: s.ReceivedBytes, RxDropped: s.ReceivedDropped,
		TxPackets: s.SentFrames, TxBytes: s.SentBytes, TxDropped: s.SentDropped,
	}
}

func (o *outside) base() *port { return &o.port }

func (o *outside) end() {
	o.unlook()
	o.Link.Close()
}

// Close and SetOnCloseAction implement stack.LinkEndpoint: see device.
func (o *outside) Close()                  {}
func (o *outside) SetOnCloseAction(func()) {}

// configure makes what the configuration says: the interfaces, up, with their addresses, then
// the rules and routes, then the neighbours.
func (n *Namespace) configure() error {
	for i := range n.config.Interfaces {
		if err := n.attach(&n.config.Interfaces[i]); err != nil {
			return err
		}
	}
	if err := errors.Join(n.giveRules(nil, n.config.Rules), n.addGivenRoutes(n.config.Routes)); err != nil {
		return err
	}
	return n.addGivenNeighbours(n.config.Neighbours)
}

func (n *Namespace) addGivenNeighbours(list []Neighbour) error {
	var all []error
	for _, k := range list {
		info := NeighbourInfo{Address: k.Address}
		address, err := k.HardwareAddr.Parse()
		if err == nil {
			copy(info.HardwareAddr[:], address)
			err = n.giveNeighbour(k.Interface, info)
		}
		if err != nil {
			all = append(all, fmt.Errorf("the neighbour %s: %w", k.Address, err))
		}
	}
	return errors.Join(all...)
}

// indexOf is an interface's index, by its name.
func (n *Namespace) indexOf(name string) int32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[name]
}

// giveRules has the rules be some instead of others, as far as programs have not changed them.
func (n *Namespace) giveRules(old, now []RuleInfo) error {
	if old == nil {
		old = usualRules
	}
	if now == nil {
		now = usualRules
	}
	for _, r := range missing(old, now) {
		_ = n.DeleteRule(func(o *RuleInfo) bool { return *o == r }) // programs may have done it before
	}
	var all []error
	for _, r := range missing(now, old) {
		if err := n.AddRule(r, true, true); err != nil && !errors.Is(err, unix.EEXIST) {
			all = append(all, fmt.Errorf("the rule of priority %d: %w", r.Priority, err))
		}
	}
	return errors.Join(all...)
}

// addGivenRoutes adds routes of n.given, those to networks on a link before those that take a gateway.
func (n *Namespace) addGivenRoutes(list []Route) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []error
	for _, viaGateway := range []bool{false, true} {
		for _, r := range list {
			if (r.Gateway.IsValid() || len(r.Hops) > 0) != viaGateway {
				continue
			}
			info := n.routeInfo(&r)
			mode := RouteCreate
			if r.Destination.Addr().Is4() {
				if slices.ContainsFunc(n.given.Routes, func(o Route) bool { return r.inPlaceOf(o) && !r.equal(o) }) {
					mode = RouteAppend
				} else if viaGateway {
					mode = RouteReplace // of what programs have made
				}
			}
			// A route to an interface's own network is there already.
			if err := n.addRoute(info, mode); err != nil && !n.connected(&info) {
				all = append(all, fmt.Errorf("the route to %s: %w", r.Destination, err))
			}
		}
	}
	return errors.Join(all...)
}

// routeInfo is a route of the configuration as a namespace has it. n.mu is held.
func (n *Namespace) routeInfo(r *Route) RouteInfo {
	info := RouteInfo{
		Destination: r.Destination.Masked(), Source: r.Source, Metric: r.Metric, Table: cmp.Or(r.Table, unix.RT_TABLE_MAIN),
		Protocol: cmp.Or(r.Protocol, unix.RTPROT_BOOT), Type: cmp.Or(r.Type, unix.RTN_UNICAST), TOS: r.TOS, MTU: r.MTU,
	}
	if refusal(r.Type) != 0 {
		return info
	}
	onLink := func(h Hop) (flags uint32) {
		if h.Gateway.IsValid() && h.Interface != "" && n.onLink(h.Gateway, info.Table) == 0 {
			return unix.RTNH_F_ONLINK
		}
		return 0
	}
	for _, h := range r.Hops {
		info.Hops = append(info.Hops, NextHop{Gateway: h.Gateway, Link: n.names[h.Interface], Weight: h.Weight, Flags: onLink(h)})
	}
	if len(r.Hops) == 0 {
		h := r.hops()[0]
		info.Gateway, info.Link, info.Flags = h.Gateway, n.names[h.Interface], onLink(h)
		if !h.Gateway.IsValid() && r.Destination.Addr().Is4() {
			info.Scope = unix.RT_SCOPE_LINK
		}
	}
	return info
}

// connected reports whether there is a route to the same network on the same link.
func (n *Namespace) connected(r *RouteInfo) bool {
	for _, o := range n.routes {
		if o.Table == r.Table && o.Type == r.Type && o.Link == r.Link && o.Destination == r.Destination && !o.Gateway.IsValid() && !r.Gateway.IsValid() {
			return true
		}
	}
	return false
}

// attach makes an interface that leads out, and takes it up.
func (n *Namespace) attach(i *Interface) error {
	address, err := i.HardwareAddr.Parse()
	if err != nil {
		return err
	}
	o := new(outside)
	var guard []netip.Addr
	if i.Guard {
		guard = []netip.Addr{}
		for _, p := range i.Addresses {
			guard = append(guard, p.Addr())
		}
	}
	home := weak.Make(n)
	o.Link, err = hostlink.New(hostlink.Config{
		FD: i.FD, Ready: i.Ready, Name: i.Name, Address: address, MTU: i.MTU, Offload: i.Offload, Rate: i.Rate, Capture: i.Capture, Guard: guard, Hold: n.held,
		Inflow: &waiter.FromHost, Outflow: &waiter.ToHost,
		Changed: func() {
			if n := home.Value(); n != nil {
				n.carrierChanged(o)
				if i.Link == LinkGateway && !o.Running() {
					severed(o, i.Addresses)
				}
			}
		},
		Log: func(s string) { fmt.Fprintln(os.Stderr, "coffer: "+s) },
	})
	if err != nil {
		return err
	}
	o.unlook = waiter.LookAfter(o.Link)
	if i.Link == LinkPacket {
		// Neighbours ask for addresses before anything listens.
		n.Stack()
	}
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &link{name: i.Name, mtu: i.MTU, device: o, queueLen: 1000, given: true}
	if err := n.insert(l, 0); err != nil {
		o.end()
		return fmt.Errorf("network interface %s: %w", i.Name, err)
	}
	n.outsides[i.Name] = o
	n.setUp(l, true)
	for _, p := range i.Addresses {
		if err := n.addAddress(l, n.given.address(i, p)); err != nil {
			return fmt.Errorf("network interface %s: the address %s: %w", i.Name, p, err)
		}
	}
	// From a gateway only published ports bring a frame before there is a socket.
	o.Expect(func() {
		if home, _ := o.base().place(); home != nil {
			home.Stack()
		}
	})
	return nil
}

// address is one that the configuration gives an interface. One that has been taken over has all
// its routes in the configuration: where that to the address's network is not there, it comes with none.
func (c *Config) address(i *Interface, p netip.Prefix) AddressInfo {
	a := AddressInfo{Prefix: p, Broadcast: BroadcastOf(p), Scope: scopeOf(p.Addr())}
	own := Route{Destination: p.Masked()}
	if p.Addr().Is6() {
		own.Metric = prefixMetric
	}
	alone := p.Addr().Is4() && p.IsSingleIP() // Linux makes no route for it
	if i.Link == LinkPacket && !alone && !slices.ContainsFunc(c.Routes, func(r Route) bool {
		return r.inPlaceOf(own) && r.Interface == i.Name && !r.Gateway.IsValid()
	}) {
		a.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	return a
}

// BroadcastOf is the last address of an IPv4 network, or invalid if it has none.
func BroadcastOf(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for i := range b {
		b[i] |= byte(0xff >> min(max(p.Bits()-8*i, 0), 8))
	}
	return netip.AddrFrom4(b)
}

// scopeOf is the scope that an address has by itself.
func scopeOf(a netip.Addr) uint8 {
	switch {
	case a.IsLoopback():
		return unix.RT_SCOPE_HOST
	case a.Is6() && header.IsV6LinkLocalUnicastAddress(toStack(a)):
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}
