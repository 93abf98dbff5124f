package hostnet

import (
	"fmt"
	"net/netip"
	"os"

	"coffer/internal/gateway"
	"coffer/internal/namedfile"
	"coffer/internal/sentry/network"
)

// user attaches to a gateway, whose helper starts with the sandbox's first frame.
func (a *Attachment) user(o *Options, w Wall) error {
	if w == Namespace {
		return a.tap(o)
	}
	_, err := a.gateway(o, nil)
	return err
}

// gateway attaches to a gateway whose sockets live in a network namespace; nil is
// the present one.
func (a *Attachment) gateway(o *Options, ns *os.File) (*gateway.Gateway, error) {
	servers, search, err := hostResolvers()
	if err != nil {
		return nil, err
	}
	servers, search = orElse(o.DNS, servers), orElse(o.Search, search)
	c := gateway.Config{Namespace: ns, DNS: servers, Egress: o.Egress, Log: os.Stderr}
	if o.EgressLog != "" {
		f, err := namedfile.Open(o.EgressLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("--egress-log %w", err)
		}
		defer f.Close()
		c.EgressLog = f
	}
	for _, p := range o.Publish {
		c.Publish = append(c.Publish, gateway.Publish(p))
	}
	for _, h := range o.Hosts {
		c.Hosts = append(c.Hosts, gateway.Host(h))
	}
	g, err := gateway.Start(c)
	if err != nil {
		cure := "; --network none does without"
		if len(o.Publish) > 0 {
			cure = "" // it cannot have them
		}
		return nil, fmt.Errorf("--network %s: %w%s", o.Mode, err, cure)
	}
	a.onClose(g.Close)
	a.Files = append(a.Files, g.Link)
	i := network.Interface{
		Name: "eth0", HardwareAddr: gateway.GuestHardware, MTU: gateway.MTU,
		Addresses: []netip.Prefix{gateway.Guest4, gateway.Guest6},
		Link:      network.LinkGateway, Offload: gateway.Offload, Rate: o.Rate, Guard: true,
	}
	routes := []network.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway.Router4, Interface: i.Name}}
	if g.IPv6 {
		routes = append(routes, network.Route{Destination: netip.MustParsePrefix("::/0"), Gateway: gateway.Router6, Interface: i.Name})
	}
	a.Network = &network.Config{Routes: routes}
	// So that no packet waits for its neighbour's address, be it a program's last one.
	for _, n := range []netip.Addr{gateway.Router4, gateway.Resolver4, gateway.Router6, gateway.Resolver6} {
		a.Network.Neighbours = append(a.Network.Neighbours, network.Neighbour{Address: n, HardwareAddr: gateway.RouterHardware, Interface: i.Name})
	}
	if g.Questions != nil {
		a.Network.Questions = len(a.Files)
		a.Files = append(a.Files, g.Questions)
	}
	if err := a.capture(o, &i); err != nil {
		return nil, err
	}
	a.Network.Interfaces = []network.Interface{i}
	a.Resolv = resolvConf([]netip.Addr{gateway.Resolver4}, search)
	a.Hosts = hostsFile(own(o.Container, gateway.Guest4, gateway.Guest6), o.Hosts)
	return g, nil
}

// capture opens the file that takes what crosses an interface.
func (a *Attachment) capture(o *Options, i *network.Interface) error {
	if o.Capture == "" {
		return nil
	}
	f, err := openCapture(o.Capture)
	if err != nil {
		return err
	}
	a.onClose(f.Close)
	i.Capture = len(a.Files)
	a.Files = append(a.Files, f)
	return nil
}

// openCapture opens a file for a capture.
func openCapture(name string) (*os.File, error) {
	f, err := namedfile.Open(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--pcap %w", err)
	}
	return f, nil
}
