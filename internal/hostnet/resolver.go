package hostnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"coffer/internal/gateway"
)

// resolver answers a sandbox on a bridge for names: those of the other sandboxes on
// its network by itself, and all others as the host's name servers do. It lives in the
// process that owns the attachment, and listens on the bridge's address at a port to
// which rules of nftables lead what this sandbox sends to port 53: so each is asked
// by one sandbox only, whose flood is its own.
type resolver struct {
	datagrams net.PacketConn
	streams   net.Listener
	names     *gateway.Names
	// sandbox is the address of the one that is answered.
	sandbox netip.Addr
	// slots bounds the questions that are answered at once; more are dropped, and asked
	// again.
	slots chan struct{}
}

// questionsMax bounds what is asked at once.
const questionsMax = 128

// homePort is the port at which a sandbox's questions are answered unless somebody else has
// it. It follows from the sandbox's address: the host's conntrack knows for half a minute
// where datagrams were led, and the next sandbox that has the address and happens to ask
// from the same port as the one before would be led to where nobody listens any more. The
// host chooses no such port for others by itself (ip_local_port_range, ip(7)).
func homePort(sandbox netip.Addr) uint16 {
	const first, count = 61000, 4500
	a := sandbox.As4()
	return first + binary.BigEndian.Uint16(a[2:])%count
}

func newResolver(b *bridgeAttachment) (*resolver, error) {
	servers, _, err := hostResolvers()
	if err != nil {
		return nil, err
	}
	names, err := gateway.NewNames(orElse(b.options.DNS, servers), b.addresses, b.named)
	if err != nil {
		return nil, err
	}
	r := &resolver{names: names, sandbox: b.record.address(true), slots: make(chan struct{}, questionsMax)}
	// The same port of both protocols, which may take some tries.
	port := homePort(r.sandbox)
	for range 20 {
		at := netip.AddrPortFrom(b.network.Gateway, port)
		port = 0
		if r.datagrams, err = net.ListenPacket("udp4", at.String()); err != nil {
			if at.Port() != 0 {
				continue
			}
			break
		}
		if r.streams, err = net.Listen("tcp4", r.datagrams.LocalAddr().String()); err == nil {
			break
		}
		r.datagrams.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("listening for the sandbox's questions for names: %w", err)
	}
	go r.serveDatagrams()
	go r.serveStreams()
	return r, nil
}

// serves reports whether who asks is the sandbox: the port is open to all that reach the
// bridge's address.
func (r *resolver) serves(from net.Addr) bool {
	a, err := netip.ParseAddrPort(from.String())
	return err == nil && a.Addr().Unmap() == r.sandbox
}

func (r *resolver) port() uint16 { return uint16(r.datagrams.LocalAddr().(*net.UDPAddr).Port) }

func (r *resolver) close() {
	r.datagrams.Close()
	r.streams.Close()
}

func (r *resolver) serveDatagrams() {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := r.datagrams.ReadFrom(buffer)
		if err != nil {
			return
		}
		if !r.serves(from) {
			continue
		}
		select {
		case r.slots <- struct{}{}:
		default:
			continue
		}
		query := bytes.Clone(buffer[:n])
		go func() {
			defer func() { <-r.slots }()
			if answer := r.names.Answer(query); answer != nil {
				r.datagrams.WriteTo(answer, from)
			}
		}()
	}
}

func (r *resolver) serveStreams() {
	for {
		c, err := r.streams.Accept()
		if err != nil {
			return
		}
		if !r.serves(c.RemoteAddr()) {
			c.Close()
			continue
		}
		select {
		case r.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		go func() {
			defer func() { <-r.slots }()
			defer c.Close()
			r.names.ServeStream(c)
		}()
	}
}

// addresses are those that the user has given to a name, or else those of the sandboxes of
// that name on the network.
func (b *bridgeAttachment) addresses(name string) (list []netip.Addr, known bool) {
	for _, h := range b.options.Hosts {
		if strings.EqualFold(h.Name, name) {
			list, known = append(list, h.Address), true
		}
	}
	if known {
		return list, known
	}
	for _, r := range liveRecords(b.networks.Dir) {
		if r.Network != b.network.Name || !strings.EqualFold(r.Container, name) {
			continue
		}
		for _, p := range r.Addresses {
			list = append(list, p.Addr())
		}
		known = true
	}
	return list, known
}

// named is the name of the sandbox that has an address. Addresses of the network are nobody
// else's to name.
func (b *bridgeAttachment) named(a netip.Addr) (name string, own bool) {
	if !b.network.Subnet.Contains(a) && !b.network.Subnet6.Contains(a) {
		return "", false
	}
	for _, r := range liveRecords(b.networks.Dir) {
		if r.Network == b.network.Name && slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return r.Container, true
		}
	}
	return "", true
}
