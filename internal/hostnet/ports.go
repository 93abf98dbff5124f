package hostnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ports hold the published ports of the host's, so that nobody else takes them, and
// serve those connections that rules of nftables cannot lead: of the host itself to its
// IPv6 loopback address, and of IPv6 altogether where the host does not forward it.
type ports struct {
	closers []io.Closer
	// slots bounds the connections that are served at once.
	slots chan struct{}
	mu    sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

// maxServed bounds connections that are served here.
const maxServed = 256

// reserve takes the ports that a record publishes. Nothing waits for connections of
// those that rules lead elsewhere.
func reserve(r *record) (*ports, error) {
	p := &ports{slots: make(chan struct{}, maxServed), open: map[net.Conn]bool{}}
	for _, pub := range r.Publish {
		if err := p.reserve(r, pub); err != nil {
			p.close()
			if errors.Is(err, unix.EADDRINUSE) {
				return nil, fmt.Errorf("--publish %s: the host's port %d is in use by another program: choose another one", pub, pub.HostPort)
			}
			if errors.Is(err, unix.EADDRNOTAVAIL) {
				return nil, fmt.Errorf("--publish %s: %s is no address of the host's: give one that it has, or leave it out", pub, pub.Address)
			}
			return nil, fmt.Errorf("--publish %s: %w", pub, err)
		}
	}
	return p, nil
}

func (p *ports) reserve(r *record, pub Publish) error {
	network := pub.Protocol
	switch {
	case pub.Address.Is4():
		network += "4"
	case !pub.Address.IsUnspecified():
		network += "6"
	}
	at := netip.AddrPortFrom(pub.Address, pub.HostPort).String()
	if pub.Protocol == "udp" {
		c, err := net.ListenPacket(network, at)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, c)
		return nil
	}
	l, err := net.Listen(network, at)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, l)
	go p.serve(l, netip.AddrPortFrom(r.address(true), pub.Port))
	return nil
}

// serve carries connections to the sandbox.
func (p *ports) serve(l net.Listener, to netip.AddrPort) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors, perhaps
			continue
		}
		p.slots <- struct{}{}
		go func() {
			defer func() { <-p.slots }()
			p.carry(c.(*net.TCPConn), to)
		}()
	}
}

func (p *ports) carry(c *net.TCPConn, to netip.AddrPort) {
	const patience = 10 * time.Second
	d, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		c.SetLinger(0) // a reset says that nobody listens
		c.Close()
		return
	}
	s := d.(*net.TCPConn)
	if !p.keep(c, s) {
		return
	}
	defer p.drop(c, s)
	done := make(chan struct{})
	go func() {
		io.Copy(s, c)
		s.CloseWrite()
		close(done)
	}()
	io.Copy(c, s)
	c.CloseWrite()
	<-done
}

// keep has close end connections; it reports whether they may go on.
func (p *ports) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.ended {
			c.Close()
		} else {
			p.open[c] = true
		}
	}
	return !p.ended
}

func (p *ports) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.open, c)
	}
}

func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, c := range p.closers {
		c.Close()
	}
	for c := range p.open {
		c.Close()
	}
}
