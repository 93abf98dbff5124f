package hostnet

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"coffer/internal/egress"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// filter is what the host's rules hold a sandbox to.
type filter struct {
	// Rate is what may leave, in bytes a second; 0 is no limit.
	Rate uint64 `json:",omitempty"`
	// Egress is what may be reached; nil is everything.
	Egress *egress.Policy `json:",omitempty"`
}

// checkEgress says why packet filters cannot enforce a policy.
func checkEgress(p *egress.Policy) error {
	if p == nil {
		return nil
	}
	if rule := p.Named(); rule != "" {
		return errors.New("the rule " + rule + " is by name, and on a bridge with isolation process only rules by address can be enforced, by the host's nftables: give addresses, or choose --network user or isolation kernel")
	}
	return nil
}

// egress has what sandboxes send judged by their rules, whether it is for the host or
// passes through. Whose it is the source address tells, which guard has checked. A
// refusal is an answer at once.
func (t *ruleset) egress(records []*record) {
	var filtered []*record
	for _, r := range records {
		if r.Filter.Egress != nil {
			filtered = append(filtered, r)
		}
	}
	if len(filtered) == 0 {
		return
	}
	name := func(r *record) string { return "egress-" + r.ID }
	for _, r := range filtered {
		c := t.conn.AddChain(&nftables.Chain{Name: name(r), Table: t.table})
		r.Filter.rules(func(parts ...[]expr.Any) {
			t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: rule(parts...)})
		})
	}
	for _, hook := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"egress-in", nftables.ChainHookInput}, {"egress-through", nftables.ChainHookForward}} {
		// Before the chain that lets all through that comes from a bridge.
		add := t.chain(hook.name, nftables.ChainTypeFilter, hook.hook, nftables.ChainPriorityRef(-1))
		for _, r := range filtered {
			for _, p := range r.Addresses {
				add(from(r.Bridge), source(one(p.Addr())), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: name(r)}})
			}
		}
	}
}

// rules are those of one sandbox.
func (f *filter) rules(add func(...[]expr.Any)) {
	add(connected(), accept)
	statics := f.Egress.Statics()
	permit := func(want func(egress.Static) bool) {
		for _, s := range statics {
			if !want(s) {
				continue
			}
			for _, match := range portMatches(s.Ports) {
				for _, d := range destinations(s.Prefix) {
					add(destination(d), match, accept)
				}
			}
		}
	}
	refuseTo := func(parts ...[]expr.Any) {
		for _, v4 := range []bool{true, false} {
			for _, r := range refuse(v4) {
				add(append(slices.Clone(parts), r)...)
			}
		}
	}
	// The narrowest range that an address is in decides (egress.GuardedRanges).
	guarded := egress.GuardedRanges()
	slices.SortStableFunc(guarded, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	for _, g := range guarded {
		permit(func(s egress.Static) bool {
			return s.Prefix.IsValid() && s.Prefix.Bits() >= g.Bits() && g.Contains(s.Prefix.Addr())
		})
		for _, r := range refuse(g.Addr().Is4()) {
			add(destination(g), r)
		}
	}
	permit(func(s egress.Static) bool { return s.Prefix.IsValid() && s.Prefix.IsSingleIP() })
	if f.names() {
		// The host's own addresses are refused, but for who answers names.
		add(local(), translated(), accept)
	}
	refuseTo(local())
	permit(func(egress.Static) bool { return true })
	refuseTo()
	add(drop)
}

// names reports whether names may be asked for: those that no rule is about are not.
func (f *filter) names() bool {
	return f.Egress == nil || slices.ContainsFunc(f.Egress.Statics(), func(s egress.Static) bool { return !s.Prefix.IsValid() })
}

// destinations are the networks that a prefix stands for.
func destinations(p netip.Prefix) []netip.Prefix {
	if p.IsValid() {
		return []netip.Prefix{p}
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// portMatches are the conditions that ports stand for, any of which is to hold.
func portMatches(list []egress.PortRange) [][]expr.Any {
	if len(list) == 0 {
		list = []egress.PortRange{{Protocol: egress.TCP, First: 1, Last: 65535}, {Protocol: egress.UDP, First: 1, Last: 65535}, {Protocol: egress.ICMP}}
	}
	var all [][]expr.Any
	for _, p := range list {
		switch p.Protocol {
		case egress.TCP:
			all = append(all, rule(protocol(unix.IPPROTO_TCP), toPorts(p.First, p.Last)))
		case egress.UDP:
			all = append(all, rule(protocol(unix.IPPROTO_UDP), toPorts(p.First, p.Last)))
		case egress.ICMP:
			for _, echo := range []struct{ protocol, kind uint8 }{{unix.IPPROTO_ICMP, 8}, {unix.IPPROTO_ICMPV6, 128}} {
				all = append(all, rule(protocol(echo.protocol), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{echo.kind})))
			}
		}
	}
	return all
}
