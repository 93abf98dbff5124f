package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"coffer/internal/egress"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const (
	// hostRefresh is for how long the host's own addresses are taken to stay the same.
	hostRefresh = 3 * time.Second
	// logQueue bounds the refusals that wait to be written; further ones are counted.
	logQueue = 128
	// logPatience is how long the last lines may take when the helper ends.
	logPatience = time.Second
	// recentQuestions bounds the questions that are remembered, to name the process in
	// the log, and recentTime is for how long one is.
	recentQuestions = 64
	recentTime      = 30 * time.Second
)

// egressPolicy is a Policy by rules. It logs what it refuses.
type egressPolicy struct {
	engine *egress.Engine
	log    *egress.Log
	// hostAddresses lists the host's own addresses, as Engine.SetHost takes them.
	hostAddresses func() (own, local []netip.Prefix, err error)
	// isOpen, if not nil, reports whether a datagram belongs to an exchange that has begun:
	// that no longer needs a rule.
	isOpen func(port uint16, to netip.AddrPort) bool
	now    func() time.Time

	refusals chan egress.Refusal
	logged   chan struct{}

	mu sync.Mutex
	// closed says that refusals is closed.
	closed  bool
	checked time.Time // when hostAddresses was called last
	hostErr error
	recent  []recentQuestion
	next    int // in recent, once that is full
}

type recentQuestion struct {
	egress.Question
	at time.Time
}

// newEgressPolicy enforces rules, once hostAddresses is set. Configured hosts are names
// whose addresses hold forever.
func newEgressPolicy(rules *egress.Policy, hosts []Host, log *egress.Log, now func() time.Time) *egressPolicy {
	c := egress.Config{Policy: rules, Resolvers: []netip.Addr{Resolver4, Resolver6}, Now: now}
	for _, h := range hosts {
		c.Hosts = append(c.Hosts, egress.Host(h))
	}
	p := &egressPolicy{
		engine: egress.New(c), log: log, now: now,
		refusals: make(chan egress.Refusal, logQueue), logged: make(chan struct{}),
	}
	go func() {
		defer close(p.logged)
		for r := range p.refusals {
			p.log.Refused(r)
		}
		p.log.Close()
	}()
	return p
}

// close writes what is left for the log.
func (p *egressPolicy) close() {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	if !closed {
		close(p.refusals)
	}
	p.mu.Unlock()
	select {
	case <-p.logged:
	case <-time.After(logPatience):
	}
}

// refused logs a refusal; whoever reads the log, if anybody does, holds up no flow.
func (p *egressPolicy) refused(r egress.Refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	select {
	case p.refusals <- r:
	default:
		p.log.Skip()
	}
}

// Name implements Policy.
func (p *egressPolicy) Name(name string, kind, class uint16) Decision {
	v := p.engine.Name(name, kind, class)
	return p.decideName(v)
}

// Answer implements Policy.
func (p *egressPolicy) Answer(name string, addresses []netip.Addr, ttl time.Duration) Decision {
	return p.decideName(p.engine.Answer(name, addresses, ttl))
}

// Withheld implements Policy.
func (p *egressPolicy) Withheld(name string, why error) {
	v := p.engine.Name(name, uint16(dnsmessage.TypeA), egress.ClassINET)
	p.decideName(egress.Verdict{Name: name, Rule: v.Rule, Reason: fmt.Sprintf("the name server's answer cannot be trusted: %v", why)})
}

func (p *egressPolicy) decideName(v egress.Verdict) Decision {
	if v.Decision == egress.Refuse {
		r := egress.Refusal{Protocol: "dns", Name: v.Name, Rule: v.Rule, Reason: v.Reason}
		p.attribute(&r, func(q *egress.Question) bool {
			return q.To.Port() == dnsPort && (q.To.Addr() == Resolver4 || q.To.Addr() == Resolver6)
		})
		p.refused(r)
	}
	return decisions[v.Decision]
}

// decisions are the gateway's words for those of the engine. What it lacks is refused.
var decisions = map[egress.Decision]Decision{
	egress.Permit: Permit, egress.Inspect: Inspect, egress.Pass: Pass, egress.NoData: NoData,
}

// protocols are what rules can permit.
var protocols = map[uint8]egress.Protocol{
	unix.IPPROTO_TCP: egress.TCP, unix.IPPROTO_UDP: egress.UDP,
	unix.IPPROTO_ICMP: egress.ICMP, unix.IPPROTO_ICMPV6: egress.ICMP,
}

// Connect implements Policy.
func (p *egressPolicy) Connect(f Flow) Decision {
	v := p.flow(f.Protocol, f.To)
	return p.decideFlow(f, v)
}

// Data implements Policy.
func (p *egressPolicy) Data(f Flow, first []byte, last bool) Decision {
	return p.decideFlow(f, p.engine.First(f.To, first, last))
}

// Rest implements Policy.
func (p *egressPolicy) Rest(f Flow, first []byte) Rest {
	if r := p.engine.Follow(f.To, first); r != nil {
		return &egressRest{p, f, r}
	}
	return nil
}

// egressRest follows one flow.
type egressRest struct {
	policy   *egressPolicy
	flow     Flow
	follower *egress.Follower
}

// Next implements Rest.
func (r *egressRest) Next(b []byte) ([]byte, Decision) {
	pass, v := r.follower.Next(b)
	return pass, r.policy.decideFlow(r.flow, v)
}

// Over implements Rest.
func (r *egressRest) Over() bool { return r.follower.Over() }

func (p *egressPolicy) decideFlow(f Flow, v egress.Verdict) Decision {
	if v.Decision == egress.Refuse {
		r := refusalOf(f.Protocol, f.To, v)
		p.attribute(&r, func(q *egress.Question) bool {
			// Before it is bound, a socket has no port of its own.
			return q.Protocol == f.Protocol && q.To == f.To && (q.From.Port() == 0 || q.From.Port() == f.From.Port())
		})
		p.refused(r)
	}
	return decisions[v.Decision]
}

// flow puts a flow to the engine, once that knows which addresses are the host's.
func (p *egressPolicy) flow(protocol uint8, to netip.AddrPort) egress.Verdict {
	if err := p.refreshHost(); err != nil {
		return egress.Verdict{Reason: fmt.Sprintf("the host's own addresses, which are guarded, cannot be read: %v", err)}
	}
	return p.engine.Flow(protocols[protocol], to)
}

// refreshHost tells the engine the host's own addresses, if that was some time ago.
func (p *egressPolicy) refreshHost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.checked.IsZero() && now.Sub(p.checked) < hostRefresh {
		return p.hostErr
	}
	p.checked = now
	var own, local []netip.Prefix
	if own, local, p.hostErr = p.hostAddresses(); p.hostErr == nil {
		p.engine.SetHost(own, local)
	}
	return p.hostErr
}

func refusalOf(protocol uint8, to netip.AddrPort, v egress.Verdict) egress.Refusal {
	name := fmt.Sprintf("protocol %d", protocol)
	if known, ok := protocols[protocol]; ok {
		name = known.String()
	}
	return egress.Refusal{Protocol: name, Name: v.Name, Address: to, Rule: v.Rule, Reason: v.Reason}
}

// attribute names the process that asked last for what is refused, as far as the sandbox
// has told the truth.
func (p *egressPolicy) attribute(r *egress.Refusal, is func(*egress.Question) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at time.Time
	for i := range p.recent {
		q := &p.recent[i]
		if is(&q.Question) && !q.at.Before(at) && p.now().Sub(q.at) < recentTime {
			r.PID, r.Command, at = q.PID, q.Command, q.at
		}
	}
}

func (p *egressPolicy) remember(q egress.Question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := recentQuestion{q, p.now()}
	if len(p.recent) < recentQuestions {
		p.recent = append(p.recent, one)
		return
	}
	p.recent[p.next] = one
	p.next = (p.next + 1) % recentQuestions
}

// answerQuestions answers what the sandbox asks over a socket, until its other end is closed.
// It only says what the gateway would do: that is asked again when frames come.
func (p *egressPolicy) answerQuestions(f *os.File) {
	defer f.Close()
	// A byte more than a question has, so that a longer message is none.
	b := make([]byte, egress.QuestionLen+1)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		q, err := egress.ParseQuestion(b[:n])
		if err != nil {
			continue // no answer is a refusal
		}
		v := egress.Verdict{Decision: egress.Permit}
		if q.Protocol != unix.IPPROTO_UDP || p.isOpen == nil || !p.isOpen(q.From.Port(), q.To) {
			v = p.flow(q.Protocol, q.To)
		}
		r := egress.Reply{ID: q.ID, Permitted: v.Decision != egress.Refuse}
		if r.Permitted {
			p.remember(q)
		} else {
			refusal := refusalOf(q.Protocol, q.To, v)
			refusal.PID, refusal.Command = q.PID, q.Command
			p.refused(refusal)
		}
		if _, err := f.Write(r.Append(nil)); err != nil {
			return
		}
	}
}

// isOpen reports whether a datagram of a port of the sandbox's belongs to an exchange that has
// begun: by the sandbox itself, or by a client of a published port.
func (g *gateway) isOpen(port uint16, to netip.AddrPort) bool {
	if _, is := g.clients.Load(publishedFlow{port, to}); is {
		return true
	}
	own := Guest4.Addr()
	if to.Addr().Is6() {
		own = Guest6.Addr()
	}
	return g.datagrams.find(Flow{Protocol: unix.IPPROTO_UDP, From: netip.AddrPortFrom(own, port), To: to}) != nil
}
