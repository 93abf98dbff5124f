package egress

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Decision is what becomes of a flow or of a question for a name.
type Decision uint8

const (
	// Refuse is the zero value: what is not decided is refused.
	Refuse Decision = iota
	// Permit lets it pass.
	Permit
	// Inspect permits a flow if its first bytes, to be shown to First, agree.
	Inspect
	// Pass is Inspect of a flow of which the bytes that First has seen may leave already.
	Pass
	// NoData answers a question with no records: the name has none of this kind.
	NoData
)

// Verdict is a decision and what it rests on.
type Verdict struct {
	Decision Decision
	// Rule permits it, if one does. Of what is refused it is the rule that comes nearest, since it
	// permits the name or the address; "" if none does.
	Rule string
	// Name is what the address stands for, as far as is known, or what was asked for.
	Name string
	// Reason says in words why it is refused.
	Reason string
}

func permit(r *Rule, name string) Verdict {
	return Verdict{Decision: Permit, Rule: r.String(), Name: name}
}

func refuse(name, format string, args ...any) Verdict {
	return Verdict{Name: name, Reason: fmt.Sprintf(format, args...)}
}

// beside says which rule comes nearest to what is refused; nil is none.
func (v Verdict) beside(r *Rule) Verdict {
	if r != nil {
		v.Rule = r.String()
	}
	return v
}

// Types of resource records (RFC 1035, 3.2.2; RFC 3596; RFC 9460).
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeSVCB  = 64
	typeHTTPS = 65
)

// ClassINET is the class of the Internet's records (RFC 1035, 3.2.4).
const ClassINET = 1

// dnsPort is that of a resolver of Config.
const dnsPort = 53

// Config is what an Engine works with.
type Config struct {
	Policy *Policy
	// Resolvers are the addresses of our own resolver, which each sandbox reaches at
	// port 53 and which asks Name. Other name servers are destinations as any.
	Resolvers []netip.Addr
	// Hosts are names whose addresses are configured (--add-host), and so hold
	// forever. Rules and guarded ranges apply to them as to others.
	Hosts []Host
	// Now is the clock.
	Now func() time.Time
}

// Host is a name with an address.
type Host struct {
	Name    string
	Address netip.Addr
}

// Engine decides for one sandbox. Make one with New. It may be used by many goroutines.
type Engine struct {
	config Config

	mu sync.Mutex
	// host has what SetHost was told.
	host   []guard
	names  nameTable
	static map[string]bool
}

// New returns an engine that has seen no answers yet. Addresses of the host's own are
// guarded from SetHost on.
func New(c Config) *Engine {
	e := &Engine{config: c, static: map[string]bool{}}
	for _, h := range c.Hosts {
		name, err := canonicalName(h.Name)
		if err != nil {
			continue // no rule can have such a name
		}
		e.static[name] = true
		e.names.add(h.Address.Unmap(), name, 0, true, c.Now())
	}
	return e
}

// SetHost says which addresses the host has now, with the lengths of their networks, and which others
// lead to itself (its table of local routes).
func (e *Engine) SetHost(addresses, local []netip.Prefix) {
	host := hostGuards(addresses, local)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.host = host
}

// Name decides on a question to our resolver. It is Permit, Refuse or NoData. A name's
// addresses can be asked for if any rule permits the name, at whatever port; other
// kinds of records, which can carry much into and out of the sandbox and lead
// to names of their own, and other classes only where there is a rule "*".
//
// Questions of browsers for HTTPS records are answered with NoData: what these
// say would be refused in the end (HTTP/3), or hides the server's name (ECH).
func (e *Engine) Name(name string, kind, class uint16) Verdict {
	canonical, err := canonicalName(name)
	if err != nil {
		return refuse(name, "this is no host's name: %v", err)
	}
	var by *Rule
	for i := range e.config.Policy.rules {
		r := &e.config.Policy.rules[i]
		if !r.matchesName(canonical) {
			continue
		}
		if !r.byName() {
			return permit(r, canonical)
		}
		by = r
	}
	switch static := e.static[canonical]; {
	case by == nil && !static:
		return refuse(canonical, "no rule permits this name")
	case class != ClassINET:
		return refuse(canonical, "by name, only records of the Internet's class can be asked for, not of class %d", class).beside(by)
	case kind == typeHTTPS, kind == typeSVCB:
		return Verdict{Decision: NoData, Name: canonical}
	case kind != typeA && kind != typeAAAA && kind != typeCNAME:
		return refuse(canonical, "by name, only records of types A, AAAA and CNAME can be asked for, not type %d", kind).beside(by)
	case by == nil:
		return Verdict{Decision: Permit, Name: canonical}
	}
	return permit(by, canonical)
}

// Answer takes note that our resolver is about to answer with these addresses of a name,
// for as long as they hold. Refuse is for a sandbox that has asked for more names than
// are kept: the answer must not be passed on.
func (e *Engine) Answer(name string, addresses []netip.Addr, ttl time.Duration) Verdict {
	v := e.Name(name, typeA, ClassINET)
	if v.Decision != Permit {
		return v
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range addresses {
		if !e.names.add(a.Unmap(), v.Name, ttl, false, e.config.Now()) {
			full := refuse(v.Name, "the sandbox has asked for too many names: %d addresses and names are kept, %d names of one address, until their TTL has passed", maxAnswers, maxNames)
			full.Rule = v.Rule
			return full
		}
	}
	return v
}

// Flow decides on a connection or datagram to an address. It is Permit, Refuse, or for
// TCP Inspect. Once a flow is permitted, it may go on for as long as it lasts.
func (e *Engine) Flow(proto Protocol, to netip.AddrPort) Verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	v, candidates := e.flow(proto, to, 0)
	if len(candidates) > 0 && proto == TCP {
		v.Decision = Inspect
	}
	return v
}

// First decides on a TCP flow by the first bytes that the sandbox has sent in it. Inspect
// asks for more of them, which there must not be if last is true.
func (e *Engine) First(to netip.AddrPort, first []byte, last bool) Verdict {
	e.mu.Lock()
	v, candidates := e.flow(TCP, to, lateData)
	e.mu.Unlock()
	if len(candidates) == 0 {
		return v
	}
	return firstVerdict(to.Port(), candidates, first, last)
}

// candidate is a name that an address stands for, and the rule that permits it.
type candidate struct {
	name string
	rule *Rule
}

// flow decides by addresses, and returns the names that permit a flow if no address
// does. Answers count until late after their time. e.mu must be held.
func (e *Engine) flow(proto Protocol, to netip.AddrPort, late time.Duration) (Verdict, []candidate) {
	a, port := to.Addr().Unmap().WithZone(""), to.Port()
	if !a.IsValid() || proto < TCP || proto > ICMP {
		return refuse("", "only TCP, UDP and ping can be permitted"), nil
	}
	if port == dnsPort && proto != ICMP {
		for _, r := range e.config.Resolvers {
			if r == a {
				return Verdict{Decision: Permit}, nil
			}
		}
	}
	now := e.config.Now().Add(-late)
	known := e.names.byAddr[a]
	rules := e.config.Policy.rules
	guard, guarded := guardOf(a, e.host)
	for i := range rules {
		r := &rules[i]
		if r.byName() || !r.isAbout(a, nil) || !r.permitsPort(proto, port) {
			continue
		}
		if !guarded || r.opens(guard) {
			return permit(r, lastName(known)), nil
		}
	}
	near := func() *Rule { return nearest(rules, a, known, proto, port) }
	if guarded {
		return refuse(lastName(known), "%s is %s, which only a rule for that address permits", a, guard.what).beside(near()), nil
	}
	var candidates []candidate
	for _, k := range known {
		for i := range rules {
			r := &rules[i]
			if k.holds(now) && r.byName() && r.matchesName(k.name) && r.permitsPort(proto, port) {
				candidates = append(candidates, candidate{k.name, r})
				break
			}
		}
	}
	switch {
	case len(candidates) > 0 && proto == UDP && webPorts[port]:
		c := candidates[0]
		return refuse(c.name, "QUIC (UDP port %d) is not permitted by name, since the name in it is not checked", port).beside(c.rule), nil
	case len(candidates) > 0:
		return permit(candidates[0].rule, candidates[0].name), candidates
	}
	r, name := near(), lastName(known)
	switch {
	case r == nil:
		return refuse(name, "no rule permits this address, and no permitted name has resolved to it"), nil
	case len(known) == 0:
		return refuse("", "no rule permits %s of this address", portText(proto, port)).beside(r), nil
	case slices.ContainsFunc(known, func(k answer) bool { return k.holds(now) }):
		return refuse(name, "no rule permits %s of %s", portText(proto, port), name).beside(r), nil
	}
	return refuse(name, "the name resolved to this address too long ago; it must be looked up again").beside(r), nil
}

// nearest returns the rule that comes nearest to what is refused: one that is about the address,
// and has the port as well if there is such a one.
func nearest(rules []Rule, a netip.Addr, known []answer, proto Protocol, port uint16) (near *Rule) {
	for i := range rules {
		r := &rules[i]
		if !r.isAbout(a, known) {
			continue
		}
		if r.permitsPort(proto, port) {
			return r
		}
		near = cmp.Or(near, r)
	}
	return near
}

func portText(proto Protocol, port uint16) string {
	if proto == ICMP {
		return "icmp"
	}
	return fmt.Sprintf("%s port %d", proto, port)
}

// lastName is the name that an address was last known to be new for.
func lastName(known []answer) string {
	if len(known) == 0 {
		return ""
	}
	return known[len(known)-1].name
}
