package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"
)

// clientsMax is how many clients of a published UDP port may have a flow at once.
const clientsMax = 1024

// publishedPort is a published UDP port with its clients.
type publishedPort struct {
	gateway *gateway
	socket  *socket
	port    uint16

	mu      sync.Mutex
	clients map[client]*publishedClient
}

// client is who has sent a datagram, and to which address of the host's.
type client struct {
	from netip.AddrPort
	to   netip.Addr
}

// publishedFlow is a client's flow as the sandbox sees it.
type publishedFlow struct {
	port uint16 // the sandbox's
	from netip.AddrPort
}

// publishedClient is a client's flow: an endpoint of the stack's that sends to the
// sandbox in its name.
type publishedClient struct {
	client   client
	flow     publishedFlow
	control  []byte // has answers come from client.to
	ep       tcpip.Endpoint
	sending  sync.Mutex // from reading an answer until it has been sent
	queue    waiter.Queue
	last     atomic.Int64
	answered atomic.Bool
}

func (p *publishedPort) serve() {
	b := make([]byte, datagramMax)
	control := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo)+unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	for {
		var n, nc int
		var from netip.AddrPort
		err := p.socket.reading(func(fd int) (err error) {
			n, err = ignoringInterrupts(func() (int, error) {
				n, c, _, sa, err := unix.Recvmsg(fd, b, control, unix.MSG_DONTWAIT)
				nc, from = c, addrPort(sa)
				return n, err
			})
			return err
		})
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || !from.IsValid() {
			time.Sleep(10 * time.Millisecond) // out of memory: datagrams are lost meanwhile
			continue
		}
		key := client{from: from, to: destination(control[:nc])}
		if c := p.find(key); c != nil {
			c.touch()
			c.ep.Write(bytes.NewReader(b[:n]), tcpip.WriteOptions{})
		}
	}
}

func (c *publishedClient) touch() { c.last.Store(time.Now().UnixNano()) }

// find returns a client's flow, a new one if there is none; nil if none can be had.
func (p *publishedPort) find(key client) *publishedClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[key]; c != nil {
		return c
	}
	if len(p.clients) >= clientsMax {
		return nil
	}
	c := &publishedClient{client: key, control: sourceControl(key.to)}
	// Datagrams get no answer by which it could be told that a program listens on
	// the other family alone: it is always IPv4 for those that can be either.
	to := guestAddresses(key.from.Addr())[0]
	var e tcpip.Error
	if c.ep, e = p.gateway.stack.NewEndpoint(header.UDPProtocolNumber, protocolOf(to), &c.queue); e != nil {
		return nil
	}
	source := guestSource(key.from, to)
	if e = c.ep.Bind(fullAddress(source)); e != nil {
		e = c.ep.Bind(fullAddress(portless(source)))
	}
	if e == nil {
		e = c.ep.Connect(fullAddress(netip.AddrPortFrom(to, p.port)))
	}
	if e != nil {
		c.ep.Close()
		return nil
	}
	local, e := c.ep.GetLocalAddress()
	if e != nil {
		c.ep.Close()
		return nil
	}
	c.touch()
	c.flow = publishedFlow{p.port, fromTCPIP(local.Addr, local.Port)}
	p.clients[key] = c
	p.gateway.clients.Store(c.flow, true)
	go p.answer(c)
	return c
}

// answer sends a client what the sandbox has for it, until the flow has been idle for
// too long.
func (p *publishedPort) answer(c *publishedClient) {
	defer func() {
		p.mu.Lock()
		delete(p.clients, c.client)
		p.gateway.clients.Delete(c.flow)
		p.mu.Unlock()
		c.ep.Close()
	}()
	entry, notified := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	c.queue.EventRegister(&entry)
	defer c.queue.EventUnregister(&entry)
	idle := time.NewTimer(idleUnanswered)
	defer idle.Stop()
	for {
		if _, closed := p.sendAnswers(c).(*tcpip.ErrClosedForReceive); closed {
			return
		}
		select {
		case <-notified:
		case <-idle.C:
			patience := idleUnanswered
			if c.answered.Load() {
				patience = idleAnswered
			}
			left := time.Until(time.Unix(0, c.last.Load()).Add(patience))
			if left <= 0 {
				return
			}
			idle.Reset(left)
		}
	}
}

// sendAnswers sends a client what is there for it. The error says why there is no more.
func (p *publishedPort) sendAnswers(c *publishedClient) tcpip.Error {
	c.sending.Lock()
	defer c.sending.Unlock()
	for {
		var answer bytes.Buffer
		if _, e := c.ep.Read(&answer, tcpip.ReadOptions{}); e != nil {
			return e
		}
		c.answered.Store(true)
		c.touch()
		p.socket.control(func(fd int) error {
			_, err := unix.SendmsgN(fd, answer.Bytes(), c.control, p.address(fd, c.client.from), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return err
		})
	}
}

// drain sends what is there for all clients.
func (p *publishedPort) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		p.sendAnswers(c)
	}
}

// address is a client's address as the port's socket names it: one for both families
// has IPv4 mapped into IPv6.
func (p *publishedPort) address(fd int, a netip.AddrPort) unix.Sockaddr {
	if domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); domain == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr())}
	}
	return sockaddr(a)
}

// destination is the address that a datagram was sent to, by its control data
// (IP_PKTINFO, ip(7), and RFC 3542, section 6.2).
func destination(control []byte) netip.Addr {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(m.Data[8:12])) // ipi_addr
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data[:16])).Unmap()
		}
	}
	return netip.Addr{}
}

// sourceControl is the control data that has a datagram come from an address.
func sourceControl(from netip.Addr) []byte {
	switch {
	case !from.IsValid() || from.IsMulticast():
		return nil
	case from.Is4():
		b := newControl(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		copy(b[unix.CmsgLen(0)+4:], from.AsSlice()) // ipi_spec_dst
		return b
	}
	b := newControl(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	copy(b[unix.CmsgLen(0):], from.AsSlice())
	return b
}

// newControl makes a control message of n bytes of data (cmsg(3)).
func newControl(level, kind uint32, n int) []byte {
	b := make([]byte, unix.CmsgSpace(n))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(n)))
	binary.NativeEndian.PutUint32(b[8:], level)
	binary.NativeEndian.PutUint32(b[12:], kind)
	return b
}
