package hostnet

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
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
	// subnet has those who are answered.
	subnet netip.Prefix
	// slots bounds the questions that are answered at once; more are dropped, and asked
	// again.
	slots chan struct{}
}

// questionsMax bounds what is asked at once.
const questionsMax = 128

func newResolver(b *bridgeAttachment) (*resolver, error) {
	servers, _, err := hostResolvers()
	if err != nil {
		return nil, err
	}
	names, err := gateway.NewNames(orElse(b.options.DNS, servers), b.addresses)
	if err != nil {
		return nil, err
	}
	r := &resolver{names: names, subnet: b.network.Subnet, slots: make(chan struct{}, questionsMax)}
	// The same port of both protocols, which may take some tries.
	for range 20 {
		at := netip.AddrPortFrom(b.network.Gateway, 0)
		if r.datagrams, err = net.ListenPacket("udp4", at.String()); err != nil {
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

// serves reports whether who asks is on the network: the port is open to all that reach
// the bridge's address.
func (r *resolver) serves(from net.Addr) bool {
	a, err := netip.ParseAddrPort(from.String())
	return err == nil && r.subnet.Contains(a.Addr().Unmap())
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

// addresses are those of the sandboxes of a name on the network.
func (b *bridgeAttachment) addresses(name string) (list []netip.Addr, known bool) {
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
