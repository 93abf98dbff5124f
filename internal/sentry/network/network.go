// Package network is what a network namespace has beside the names of AF_UNIX
// (network_namespaces(7)): interfaces with their addresses, routes, and the TCP/IP
// stack that all sockets of the namespace share.
//
// It is the only package that configures the stack; sockets take endpoints from
// Stack, and everything that shows or changes the configuration (netlink, ioctls,
// /proc/net, /proc/sys/net) goes through Namespace.
//
// It must not know sockets, tasks or guest memory.
//
// Lock order: Namespace.mu, then the stack's own locks.
package network

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// loopbackIndex is the index of lo in every namespace.
const loopbackIndex = 1

// Namespace is one network. Make one with New. Its stack is started when it is
// first asked for, so that a program that uses no network pays for none.
type Namespace struct {
	config Config

	once    sync.Once
	started atomic.Bool
	stack   *stack.Stack
	mu      sync.Mutex
}

// New returns a network with lo and what the configuration has. Interfaces whose
// frames come from a host's network are served from here on.
func New(c Config) (*Namespace, error) {
	n := &Namespace{config: c}
	if err := c.check(); err != nil {
		return nil, err
	}
	for _, i := range c.Interfaces {
		if i.Link == LinkPacket {
			n.Stack() // neighbours ask for addresses before anything listens
			break
		}
	}
	return n, nil
}

// Loopback returns a network that has only lo, with its addresses; Empty one whose
// lo is down, as Linux makes them.
func Loopback() *Namespace { return &Namespace{config: Config{LoopbackUp: true}} }
func Empty() *Namespace    { return new(Namespace) }

// Stack returns the namespace's TCP/IP stack.
func (n *Namespace) Stack() *stack.Stack {
	n.once.Do(func() {
		n.stack = stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{
				tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
			},
			HandleLocal:              true,
			RawFactory:               raw.EndpointFactory{},
			AllowPacketEndpointWrite: true,
		})
		must(n.stack.CreateNICWithOptions(loopbackIndex, loopback.New(), stack.NICOptions{Name: "lo", DeliverLinkPackets: true, Disabled: !n.config.LoopbackUp}))
		if n.config.LoopbackUp {
			n.addLoopbackAddresses()
		}
		// The stack's goroutines hold the stack, not the namespace: with the last
		// socket and task of the namespace they end.
		runtime.AddCleanup(n, func(s *stack.Stack) { s.Destroy() }, n.stack)
		n.started.Store(true)
	})
	return n.stack
}

// Started reports whether there is a stack: before that, no socket has been made
// that could be listed, and nothing has been counted.
func (n *Namespace) Started() bool { return n.started.Load() }

func (n *Namespace) addLoopbackAddresses() {
	for _, p := range []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")} {
		must(n.stack.AddProtocolAddress(loopbackIndex, ProtocolAddress(p), stack.AddressProperties{}))
	}
	n.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4LoopbackSubnet, NIC: loopbackIndex},
		{Destination: header.IPv6Loopback.WithPrefix().Subnet(), NIC: loopbackIndex},
	})
}

// ProtocolAddress is an address with its prefix as the stack wants it.
func ProtocolAddress(p netip.Prefix) tcpip.ProtocolAddress {
	protocol := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
	if p.Addr().Is6() {
		protocol = header.IPv6ProtocolNumber
	}
	return tcpip.ProtocolAddress{
		Protocol:          protocol,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(p.Addr().AsSlice()), PrefixLen: p.Bits()},
	}
}

// must is for what the stack refuses only if this package is wrong.
func must(err tcpip.Error) {
	if err != nil {
		panic(fmt.Sprintf("configuring the network: %v", err))
	}
}

// Permit asks the policy whether a process may send to an address. EACCES if not.
// A network without a policy permits everything.
func (n *Namespace) Permit(f Flow) error {
	if n.config.Policy == nil {
		return nil
	}
	return n.config.Policy.Permit(f)
}

// Policy decides where the programs of a network may connect and send to. What it
// says is advice to the program, at once; whoever carries the frames enforces it.
type Policy interface {
	// Permit returns EACCES for what is not permitted. It may wait for an answer,
	// a few seconds at most, and then refuses.
	Permit(Flow) error
}

// Flow is a connection or datagram that is about to leave.
type Flow struct {
	// Protocol is IPPROTO_TCP, IPPROTO_UDP and so on.
	Protocol uint8
	From, To netip.AddrPort
	// PID and Command are the process, as the sandbox's first namespace numbers it.
	PID     int32
	Command string
}

// HardwareAddr is an Ethernet address in JSON: "02:42:ac:11:00:02".
type HardwareAddr string

// Parse returns the address's six bytes.
func (h HardwareAddr) Parse() (tcpip.LinkAddress, error) {
	a, err := net.ParseMAC(string(h))
	if err != nil || len(a) != 6 {
		return "", fmt.Errorf("%q is not an Ethernet address such as 02:42:ac:11:00:02", string(h))
	}
	return tcpip.LinkAddress(a), nil
}
