package network

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRules bounds the rules of a namespace, of both families together.
const maxRules = 1024

// Flags of rules (linux/fib_rules.h): RuleInvert is kept, the others say how a rule is shown.
const (
	RuleInvert      = 0x2
	ruleUnresolved  = 0x4
	ruleInDetached  = 0x8
	ruleOutDetached = 0x10
)

// RuleInfo is a rule that says which table the way is looked up in (ip-rule(8)), or what becomes of a packet
// otherwise. What is not given matches everything.
type RuleInfo struct {
	// Family is AF_INET or AF_INET6.
	Family   uint8
	Priority uint32
	// From and To are addresses with how many of their bits count, invalid if not given.
	From, To netip.Prefix
	TOS      uint8
	// In and Out are names of interfaces. What the namespace itself sends comes in by lo, and matches Out only
	// from sockets that are bound to an interface.
	In, Out    string
	Mark, Mask uint32
	// UIDs are the first and the last user, and Users says that they are given.
	UIDs       [2]uint32
	Users      bool
	IPProtocol uint8
	// SourcePorts and DestinationPorts are the first and the last one.
	SourcePorts, DestinationPorts [2]uint16
	// Action is FR_ACT_*; Table is that of FR_ACT_TO_TBL, and Target the priority that FR_ACT_GOTO goes on with.
	Action        uint8
	Table, Target uint32
	// Suppress has routes of the table not count whose prefix has no more bits, if it is not -1.
	Suppress int32
	// Protocol is who made the rule (RTPROT_*), Flags FIB_RULE_*.
	Protocol uint8
	Flags    uint32
}

// DefaultRules are those that Linux begins with.
func DefaultRules() []RuleInfo {
	var out []RuleInfo
	for _, r := range []struct {
		family   uint8
		priority uint32
		table    uint32
	}{
		{unix.AF_INET, 0, unix.RT_TABLE_LOCAL}, {unix.AF_INET, 32766, unix.RT_TABLE_MAIN}, {unix.AF_INET, 32767, unix.RT_TABLE_DEFAULT},
		{unix.AF_INET6, 0, unix.RT_TABLE_LOCAL}, {unix.AF_INET6, 32766, unix.RT_TABLE_MAIN},
	} {
		out = append(out, RuleInfo{
			Family: r.family, Priority: r.priority, Table: r.table, Action: unix.FR_ACT_TO_TBL, Suppress: -1, Protocol: unix.RTPROT_KERNEL,
		})
	}
	return out
}

// usualRules are those, to compare with.
var usualRules = DefaultRules()

// Rules returns the rules of both families, those of IPv4 first, in the order in which they are asked.
func (n *Namespace) Rules() []RuleInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := slices.Clone(n.rules)
	for i := range out {
		r := &out[i]
		if r.In != "" && n.names[r.In] == 0 {
			r.Flags |= ruleInDetached
		}
		if r.Out != "" && n.names[r.Out] == 0 {
			r.Flags |= ruleOutDetached
		}
		if r.Action == unix.FR_ACT_GOTO && !slices.ContainsFunc(out, func(o RuleInfo) bool { return o.Family == r.Family && o.Priority == r.Target }) {
			r.Flags |= ruleUnresolved
		}
	}
	return out
}

// RulesAdded reports whether a rule of IPv4 was ever added or deleted: until then Linux has the tables local and main
// in one.
func (n *Namespace) RulesAdded() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rulesAdded
}

// AddRule adds a rule after those of its priority, which is one less than that of the second rule if prioritized is
// not set. EEXIST if there is such a rule and exclusive is set.
func (n *Namespace) AddRule(r RuleInfo, prioritized, exclusive bool) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !prioritized {
		r.Priority = n.nextPriority(r.Family)
	}
	if r.Action == unix.FR_ACT_GOTO && r.Target <= r.Priority {
		return refuse(unix.EINVAL, "Backward goto not supported")
	}
	if r.Action == unix.FR_ACT_TO_TBL && r.Table == unix.RT_TABLE_UNSPEC {
		if r.Family == unix.AF_INET6 {
			return refuse(unix.EINVAL, "Invalid table")
		}
		for r.Table = 1; slices.ContainsFunc(n.routes, func(o *RouteInfo) bool { return o.Table == r.Table }); r.Table++ {
		}
	}
	switch {
	case exclusive && slices.Contains(n.rules, r):
		return unix.EEXIST
	case len(n.rules) >= maxRules:
		return refuse(unix.ENOSPC, "There are %d rules already", maxRules)
	}
	at := slices.IndexFunc(n.rules, func(o RuleInfo) bool {
		return o.Family > r.Family || o.Family == r.Family && o.Priority > r.Priority
	})
	if at < 0 {
		at = len(n.rules)
	}
	n.rules = slices.Insert(n.rules, at, r)
	n.rulesChanged(r, false)
	return nil
}

// nextPriority is that of a rule that comes without. n.mu is held, here and below.
func (n *Namespace) nextPriority(family uint8) uint32 {
	second := false
	for _, r := range n.rules {
		if r.Family != family {
			continue
		}
		if second {
			return max(r.Priority, 1) - 1
		}
		second = true
	}
	return 0
}

// DeleteRule deletes the first rule that match likes. ENOENT if there is none.
func (n *Namespace) DeleteRule(match func(*RuleInfo) bool) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.rules {
		if r := n.rules[i]; match(&r) {
			n.rules = slices.Delete(n.rules, i, i+1)
			n.rulesChanged(r, true)
			return nil
		}
	}
	return unix.ENOENT
}

func (n *Namespace) rulesChanged(r RuleInfo, deleted bool) {
	n.rulesAdded = n.rulesAdded || r.Family == unix.AF_INET
	n.ruled = !slices.Equal(n.rules, usualRules)
	n.steer()
	n.tell(Event{Rule: &r, Deleted: deleted})
}
