package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers names: some by itself, all others as the host's name servers do.
// It passes their answers on as they are, but for what the policy forbids.
type resolver struct {
	// servers are asked in this order.
	servers []netip.AddrPort
	// known are the addresses of a name that it answers by itself. The name is in lower
	// case, without a final dot.
	known func(name string) ([]netip.Addr, bool)
	// named, if it is not nil, is the name of an address, or "" for one that has none. own
	// says that nobody else is to be asked for it.
	named  func(a netip.Addr) (name string, own bool)
	policy Policy
	// slots bounds the questions that are being asked at once.
	slots chan struct{}
	// silent says that the last question has got no answer in time.
	silent atomic.Bool
}

const (
	// questionsMax bounds the questions under way; a further one is told to fail.
	questionsMax = 256
	// hostTTL is how long an answer of our own holds, in seconds.
	hostTTL = 60
	// dnsMax is the largest DNS message (RFC 1035, section 4.2.2).
	dnsMax = 65535
)

func newResolver(servers []netip.AddrPort, hosts []Host, p Policy) *resolver {
	known := map[string][]netip.Addr{}
	for _, h := range hosts {
		name := canonicalName(h.Name)
		known[name] = append(known[name], h.Address)
	}
	return &resolver{
		servers: servers, policy: p, slots: make(chan struct{}, questionsMax),
		known: func(name string) ([]netip.Addr, bool) {
			addresses, ok := known[name]
			return addresses, ok
		},
	}
}

// canonicalName is how names are compared: in lower case, without the last dot.
func canonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// answer returns the answer to a question, or nil if there is none to be given: what
// came is no question, or the host's resolver said nothing that could be passed on
// and is asked again soon enough. stream says that it came over TCP.
func (r *resolver) answer(query []byte, stream bool) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	if h.OpCode != 0 {
		return reply(h, nil, dnsmessage.RCodeNotImplemented)
	}
	q, err := p.Question()
	if err != nil {
		return reply(h, nil, dnsmessage.RCodeFormatError)
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return reply(h, nil, dnsmessage.RCodeFormatError)
	}
	name := canonicalName(q.Name.String())
	if r.policy != nil {
		switch r.policy.Name(name, uint16(q.Type), uint16(q.Class)) {
		case Permit:
		case NoData:
			return reply(h, &q, dnsmessage.RCodeSuccess)
		default:
			return reply(h, &q, dnsmessage.RCodeRefused)
		}
	}
	if q.Class == dnsmessage.ClassINET {
		if addresses, known := r.known(name); known {
			if r.policy != nil && r.policy.Answer(name, addresses, hostTTL*time.Second) != Permit {
				return reply(h, &q, dnsmessage.RCodeRefused)
			}
			return hostReply(h, q, addresses)
		}
		if a, ok := reversed(name); ok && r.named != nil && q.Type == dnsmessage.TypePTR {
			if name, own := r.named(a); own {
				return pointerReply(h, q, name)
			}
		}
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return reply(h, &q, dnsmessage.RCodeServerFailure)
	}
	outward := query
	if r.policy != nil {
		if outward, err = plainQuery(query); err != nil {
			return reply(h, nil, dnsmessage.RCodeFormatError)
		}
	}
	found := r.ask(outward, q, stream)
	if found == nil {
		return reply(h, &q, dnsmessage.RCodeServerFailure)
	}
	if r.policy != nil && !r.told(name, found) {
		return reply(h, &q, dnsmessage.RCodeRefused)
	}
	found[0], found[1] = query[0], query[1]
	return found
}

// told puts the addresses of an answer to the policy, and reports whether the sandbox
// may be told them.
func (r *resolver) told(name string, answer []byte) bool {
	addresses, ttl, err := answeredAddresses(name, answer)
	if err != nil {
		r.policy.Withheld(name, err)
		return false
	}
	return len(addresses) == 0 || r.policy.Answer(name, addresses, ttl) == Permit
}

// reply is an answer without addresses.
func reply(h dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode) []byte {
	m := dnsmessage.Message{Header: replyTo(h)}
	m.RCode = code
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func replyTo(h dnsmessage.Header) dnsmessage.Header {
	return dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
}

// hostReply answers with those of the addresses that are asked for. There may be
// none: the name is there all the same.
func hostReply(h dnsmessage.Header, q dnsmessage.Question, addresses []netip.Addr) []byte {
	m := dnsmessage.Message{Header: replyTo(h), Questions: []dnsmessage.Question{q}}
	// As many as fit into a datagram of the size that every client takes.
	const most = 12
	for _, a := range addresses {
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: hostTTL}
		var body dnsmessage.ResourceBody
		switch {
		case len(m.Answers) == most:
		case a.Is4() && q.Type == dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: a.As4()}
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		}
		if body != nil {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: body})
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// pointerReply answers with the name of an address; there is none if that is empty.
func pointerReply(h dnsmessage.Header, q dnsmessage.Question, name string) []byte {
	pointer, err := dnsmessage.NewName(name + ".")
	if err != nil || name == "" {
		return reply(h, &q, dnsmessage.RCodeNameError)
	}
	m := dnsmessage.Message{Header: replyTo(h), Questions: []dnsmessage.Question{q}, Answers: []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: hostTTL},
		Body:   &dnsmessage.PTRResource{PTR: pointer},
	}}}
	b, err := m.Pack()
	if err != nil {
		return reply(h, &q, dnsmessage.RCodeNameError) // it is no name of DNS
	}
	return b
}

// reversed returns the address whose name is asked for by another name: its bytes from the last
// to the first below in-addr.arpa (RFC 1035, section 3.5), or its half bytes below ip6.arpa
// (RFC 3596, section 2.5).
func reversed(name string) (netip.Addr, bool) {
	var text string
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		text = strings.Join(labels, ".")
	} else if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok && len(rest) == 63 {
		for i := 31; i >= 0; i-- {
			text += rest[2*i : 2*i+1]
			if i%4 == 0 && i > 0 {
				text += ":"
			}
		}
	}
	a, err := netip.ParseAddr(text)
	return a, err == nil
}
