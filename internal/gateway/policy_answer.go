package gateway

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxChain is how many aliases (CNAME) an answer may lead through, maxAddresses how many
	// addresses it may have: each takes a place in the policy's table.
	maxChain     = 16
	maxAddresses = 256
	// plainSize is the datagram's size that a question without the sandbox's own options offers
	// (RFC 6891, 6.2.5; DNS Flag Day 2020).
	plainSize = 1232
)

// answeredAddresses returns the addresses that an answer has for a name, directly or
// through aliases, and for how long all of that holds. An address of another name makes
// the answer an error: the sandbox would be told of it, and the policy not.
func answeredAddresses(name string, answer []byte) (addresses []netip.Addr, ttl time.Duration, err error) {
	var p dnsmessage.Parser
	if _, err := p.Start(answer); err != nil {
		return nil, 0, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, 0, err
	}
	type owned struct {
		owner string
		addr  netip.Addr
	}
	var all []owned
	aliases := map[string]string{}
	least := uint32(1<<31 - 1) // RFC 2181, 8
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		least = min(least, h.TTL)
		owner := canonicalName(h.Name.String())
		switch {
		case h.Class != dnsmessage.ClassINET:
			return nil, 0, errors.New("a record of another class")
		case h.Type == dnsmessage.TypeA:
			a, err := p.AResource()
			if err != nil {
				return nil, 0, err
			}
			all = append(all, owned{owner, netip.AddrFrom4(a.A)})
		case h.Type == dnsmessage.TypeAAAA:
			a, err := p.AAAAResource()
			if err != nil {
				return nil, 0, err
			}
			all = append(all, owned{owner, netip.AddrFrom16(a.AAAA)})
		case h.Type == dnsmessage.TypeCNAME:
			c, err := p.CNAMEResource()
			if err != nil {
				return nil, 0, err
			}
			target := canonicalName(c.CNAME.String())
			if known, has := aliases[owner]; has && known != target {
				return nil, 0, errors.New("a name is an alias of two others")
			}
			aliases[owner] = target
		default:
			if err := p.SkipAnswer(); err != nil {
				return nil, 0, err
			}
		}
	}
	if len(all) > maxAddresses {
		return nil, 0, errors.New("too many addresses")
	}
	chain := map[string]bool{name: true}
	for at := name; ; {
		next, has := aliases[at]
		if !has || chain[next] {
			break
		}
		if len(chain) > maxChain {
			return nil, 0, errors.New("too many aliases")
		}
		chain[next] = true
		at = next
	}
	for _, a := range all {
		if !chain[a.owner] {
			return nil, 0, errors.New("an address of another name")
		}
		addresses = append(addresses, a.addr)
	}
	return addresses, time.Duration(least) * time.Second, nil
}

// plainQuery is a query with the question of another, and nothing else that a sandbox could
// tell the world by it: no options (such as a client's subnet, RFC 7871), no flags but
// that recursion is desired, and that long datagrams can be taken.
func plainQuery(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	if !hasOptions(&p) {
		return m.Pack()
	}
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(plainSize, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	return m.Pack()
}

// hasOptions reports whether there is an OPT record, whatever it has (RFC 6891). The parser is
// behind the first question.
func hasOptions(p *dnsmessage.Parser) bool {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return false
		}
		if h.Type == dnsmessage.TypeOPT {
			return true
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}
