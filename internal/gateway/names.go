package gateway

import (
	"net"
	"net/netip"
)

// Names answers questions for names (DNS) outside of a gateway.
type Names struct {
	resolver *resolver
}

// NewNames returns what answers those names by itself that are known, and has the
// servers answer the others. Names that known is asked for are in lower case, without
// a final dot. named is asked for the names of addresses: "" if one has none, and whether
// the servers are not to be asked for it. Zones of addresses are as in Config.DNS.
func NewNames(servers []netip.Addr, known func(name string) ([]netip.Addr, bool), named func(a netip.Addr) (name string, own bool)) (*Names, error) {
	list, err := nameServers(servers)
	if err != nil {
		return nil, err
	}
	r := newResolver(list, nil, nil)
	r.known, r.named = known, named
	return &Names{r}, nil
}

// Answer returns the answer to a message that came in a datagram, or nil if it is none
// that has one. It may take a few seconds.
func (n *Names) Answer(query []byte) []byte { return n.resolver.answer(query, false) }

// ServeStream answers the messages of a TCP connection until that ends or is silent.
// The caller closes it.
func (n *Names) ServeStream(c net.Conn) { n.resolver.serveStream(c) }
