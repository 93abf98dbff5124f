package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridge attaches to a network that has a bridge on the host.
func (a *Attachment) bridge(n *Networks, o *Options, w Wall) error {
	net, err := n.Find(o.Name)
	if err != nil {
		return fmt.Errorf("--network: %w", err)
	}
	if net.Driver == DriverCNI {
		changed := *o
		changed.Mode, changed.Name = ModeCNI, net.CNI
		return a.cni(n, &changed, w)
	}
	if !mayConfigure() {
		return fmt.Errorf("--network %s makes interfaces on the host, which only root may: run coffer as root, or choose --network user", o.Network())
	}
	if w == Namespace {
		if err := checkEgress(o.Egress); err != nil {
			return fmt.Errorf("--egress: %w", err)
		}
		if f := (filter{Egress: o.Egress}); len(o.DNS) > 0 && !f.names() {
			return errors.New("--dns: on a bridge with isolation process there is no name server where rules of --egress by address alone let no name be asked for: leave --dns out, or choose --network user or isolation kernel")
		}
		if o.EgressLog != "" {
			return errors.New("--egress-log: on a bridge with isolation process the host's nftables refuse, and log nothing: leave it out, or choose --network user or isolation kernel")
		}
	}
	if !speaksIPv6("default") {
		net.Subnet6, net.Gateway6 = netip.Prefix{}, netip.Addr{} // the host has none
	}
	b := &bridgeAttachment{networks: n, network: net, options: o}
	if err := b.claim(w); err != nil {
		return fmt.Errorf("--network %s: %w", o.Network(), err)
	}
	a.onClose(b.close)
	a.names(b)
	if w == Namespace {
		a.Furnish = b.furnish
		return nil
	}
	if err := a.takeOver(b); err != nil {
		return fmt.Errorf("--network %s: %w", o.Network(), err)
	}
	return nil
}

// mayConfigure reports whether this process may change the network namespace that it
// is in.
func mayConfigure() bool {
	if os.Geteuid() != 0 {
		return false
	}
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return false
	}
	// lo stays as it is; only who may change it is told so.
	return !errors.Is(netlink.LinkSetMTU(link, link.Attrs().MTU), unix.EPERM)
}

// bridgeAttachment is an attachment to a bridge, by its living owner.
type bridgeAttachment struct {
	networks *Networks
	network  *Network
	options  *Options
	record   *record
	file     *os.File // holds the claim
	ports    *ports
	resolver *resolver
}

// claim puts the attachment on record, with addresses, ports and who answers names.
func (b *bridgeAttachment) claim(w Wall) (err error) {
	s, err := b.networks.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	if b.network.Name != defaultName {
		// It may have been removed since it was read.
		if _, err := b.networks.Find(b.network.Name); err != nil {
			return err
		}
	}
	r := &record{
		Network: b.network.Name, Container: b.options.Container, Bridge: b.network.bridge(), Publish: b.options.Publish,
	}
	if w == Namespace {
		r.Filter = filter{Rate: b.options.Rate, Egress: b.options.Egress}
	}
	if err := s.choose(b.network, r); err != nil {
		return err
	}
	if r.Filter.Egress != nil {
		if err := r.forget(); err != nil {
			return fmt.Errorf("having the host forget connections of a sandbox that had the same address before, which --egress could not refuse: %w: the kernel must have nf_conntrack_netlink", err)
		}
	}
	if b.ports, err = reserve(r); err != nil {
		return err
	}
	if b.file, err = s.claim(r); err != nil {
		b.ports.close()
		return err
	}
	b.record = r
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(b.networks, r), b.stop())
		}
	}()
	// The bridge is there before anything is led over it or listens on it.
	if _, err := ensureBridge(b.network); err != nil {
		return err
	}
	if r.Filter.names() {
		if b.resolver, err = newResolver(b); err != nil {
			return err
		}
		r.Resolver = b.resolver.port()
	}
	if err := s.save(r, b.file); err != nil {
		return err
	}
	return s.settle()
}

// furnish joins a process's network namespace to the bridge.
func (b *bridgeAttachment) furnish(pid int) error {
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return fmt.Errorf("opening the sandbox's network namespace: %w", err)
	}
	defer ns.Close()
	return b.join(ns)
}

func (b *bridgeAttachment) join(ns *os.File) error {
	s, err := b.networks.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	if err := b.record.join(b.network, ns); err != nil {
		return err
	}
	return s.settle()
}

// close removes the attachment from the host.
func (b *bridgeAttachment) close() error {
	if b.resolver != nil {
		b.resolver.close() // the next one of the address listens at the same port
	}
	s, err := b.networks.lockState()
	if err == nil {
		err = s.release(b.networks, b.record)
		s.unlock()
	}
	return errors.Join(err, b.stop())
}

// stop ends what the owner does for the attachment.
func (b *bridgeAttachment) stop() error {
	b.ports.close()
	if b.resolver != nil {
		b.resolver.close()
	}
	return b.file.Close()
}

// names are the files by which the sandbox's programs find names.
func (a *Attachment) names(b *bridgeAttachment) {
	o := b.options
	_, search, err := hostResolvers()
	if err != nil {
		search = nil // a sandbox needs no search list
	}
	var servers []netip.Addr
	if b.resolver != nil {
		servers = append(servers, b.network.Gateway)
	}
	a.Resolv = append(resolvConf(servers, orElse(o.Search, search)), neighboursFirst...)
	a.Hosts = hostsFile(own(o.Container, b.record.Addresses...), o.Hosts)
}

// takeOver makes a network namespace on the bridge, and takes its interface over for a
// sentry's own TCP/IP stack. With egress rules a gateway in the namespace ends the
// sandbox's flows instead, and enforces them.
func (a *Attachment) takeOver(b *bridgeAttachment) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	a.onClose(ns.Close) // a gateway's helper is started in it only when it is needed
	if err := b.join(ns); err != nil {
		return err
	}
	if b.options.Egress != nil {
		if err := a.gatewayOn(b.options, ns, []netip.Addr{b.network.Gateway}); err != nil {
			return err
		}
		a.Resolv = append(a.Resolv, neighboursFirst...)
		return nil
	}
	return a.take(ns, b.options)
}

// take takes the interfaces of a namespace over that goes with the sandbox.
func (a *Attachment) take(ns *os.File, o *Options) error {
	t, err := TakeOver(ns, "", false)
	if err != nil {
		return err
	}
	a.onClose(func() error {
		t.Close()
		return nil
	})
	if len(t.Network.Interfaces) == 0 {
		return errors.New("the namespace has no interface to take over")
	}
	if n := len(t.Network.Interfaces); n > 1 && o.Capture != "" {
		return fmt.Errorf("--pcap writes what crosses one interface, and here are %d: leave it out, and have tcpdump capture on the host", n)
	}
	a.Network, a.Files = t.Network, t.Files
	for i := range a.Network.Interfaces {
		a.Network.Interfaces[i].Rate = o.Rate
		if err := a.capture(o, &a.Network.Interfaces[i]); err != nil {
			return err
		}
	}
	return nil
}

// gatewayOn attaches to a gateway whose sockets live in a namespace that has its
// interfaces. The host leads published ports there, and each goes on to the same one
// of the sandbox's.
func (a *Attachment) gatewayOn(o *Options, ns *os.File, servers []netip.Addr) error {
	h, err := handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bringing the namespace's lo up: %w", err)
	}
	inside := *o
	inside.DNS, inside.Publish = servers, nil
	for _, p := range o.Publish {
		inside.Publish = append(inside.Publish, Publish{Protocol: p.Protocol, Address: netip.IPv6Unspecified(), HostPort: p.Port, Port: p.Port})
	}
	_, err = a.gateway(&inside, ns)
	return err
}

// speaksIPv6 reports whether the host's kernel speaks IPv6 on an interface of the
// thread's namespace.
func speaksIPv6(name string) bool {
	// A file of the thread's network namespace, whichever was the one when /proc was mounted.
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6")
	return err == nil && len(b) > 0 && b[0] == '0'
}
