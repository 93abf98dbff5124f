package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"
)

// guestTime is how long the sandbox may take to accept a connection to a published
// port.
const guestTime = 30 * time.Second

// acceptConnections serves a published TCP port.
func (g *gateway) acceptConnections(s *socket, port uint16) {
	for {
		var fd int
		var from netip.AddrPort
		err := s.reading(func(listening int) (err error) {
			fd, err = ignoringInterrupts(func() (int, error) {
				fd, sa, err := unix.Accept4(listening, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				from = addrPort(sa)
				return fd, err
			})
			return err
		})
		switch {
		case err == nil:
			go g.accepted(fd, from, port)
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ECONNABORTED):
		default:
			// Out of descriptors or memory: connections wait in the queue meanwhile.
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// accepted leads a connection to the sandbox, or resets it.
func (g *gateway) accepted(fd int, from netip.AddrPort, port uint16) {
	outer, err := newSocket(fd)
	if err != nil {
		return
	}
	if int(g.tcpFlows.Add(1)) > g.limits.tcp {
		g.tcpFlows.Add(-1)
		outer.reset()
		return
	}
	defer g.tcpFlows.Add(-1)
	for _, to := range guestAddresses(from.Addr()) {
		c := &connection{outer: outer, queue: new(waiter.Queue)}
		g.sending.add(c)
		defer g.sending.remove(c)
		if c.inner, err = g.dialGuest(c.queue, guestSource(from, to), netip.AddrPortFrom(to, port)); err == nil {
			c.run(g.bufferSize(), func() { g.sending.remove(c) })
			return
		}
	}
	outer.reset()
}

// guestAddresses are the sandbox's addresses to try for a client, that of its own
// family first: programs may listen on IPv4 alone.
func guestAddresses(client netip.Addr) []netip.Addr {
	if client.Is4() {
		return []netip.Addr{Guest4.Addr()}
	}
	return []netip.Addr{Guest6.Addr(), Guest4.Addr()}
}

// guestSource is who a client seems to be inside: itself if the sandbox can tell it
// from its own network, else the router.
func guestSource(client netip.AddrPort, to netip.Addr) netip.AddrPort {
	if a := client.Addr(); a.Is4() == to.Is4() && outside(a) && !a.IsLinkLocalUnicast() {
		return client
	}
	if to.Is4() {
		return netip.AddrPortFrom(Router4, 0)
	}
	return netip.AddrPortFrom(Router6, 0)
}

// dialGuest connects to the sandbox. If the client's own address and port are taken,
// another port of that address does.
func (g *gateway) dialGuest(queue *waiter.Queue, from, to netip.AddrPort) (tcpip.Endpoint, error) {
	ep, e := g.stack.NewEndpoint(header.TCPProtocolNumber, protocolOf(to.Addr()), queue)
	if e != nil {
		return nil, errorOf(e)
	}
	fail := func(e tcpip.Error) (tcpip.Endpoint, error) {
		ep.Close()
		return nil, fmt.Errorf("connecting to the sandbox's port %d: %s", to.Port(), e)
	}
	if e := ep.Bind(fullAddress(from)); e != nil {
		if e := ep.Bind(fullAddress(portless(from))); e != nil {
			return fail(e)
		}
	}
	entry, notified := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	e = ep.Connect(fullAddress(to))
	if _, started := e.(*tcpip.ErrConnectStarted); e != nil && !started {
		return fail(e)
	}
	late := time.NewTimer(guestTime)
	defer late.Stop()
	select {
	case <-notified:
		if e := ep.LastError(); e != nil {
			return fail(e)
		}
	case <-late.C:
		return fail(&tcpip.ErrTimeout{})
	}
	return ep, nil
}
