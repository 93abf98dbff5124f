package gateway

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// Names answers questions for names (DNS) outside of a gateway.
type Names struct {
	known    func(name string) ([]netip.Addr, bool)
	resolver *resolver
}

// NewNames returns what answers those names by itself that are known, and has the
// servers answer the others. Names that known is asked for are in lower case, without
// a final dot. Zones of addresses are as in Config.DNS.
func NewNames(servers []netip.Addr, known func(name string) ([]netip.Addr, bool)) (*Names, error) {
	list, err := nameServers(servers)
	if err != nil {
		return nil, err
	}
	return &Names{known, newResolver(list, nil, nil)}, nil
}

// Answer returns the answer to a message, or nil if it is none that has one. stream
// says that it came over TCP. It may take a few seconds.
func (n *Names) Answer(query []byte, stream bool) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response || h.OpCode != 0 {
		return n.resolver.answer(query, stream)
	}
	q, err := p.Question()
	if err == nil && q.Class == dnsmessage.ClassINET {
		if addresses, known := n.known(canonicalName(q.Name.String())); known {
			return hostReply(h, q, addresses)
		}
	}
	return n.resolver.answer(query, stream)
}
