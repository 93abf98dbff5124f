package hostnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// readRules reads the rules by which tables are chosen (ip-rule(8)), if they are others than a
// namespace begins with. The library does not tell what rules do that choose no table.
func (r *reader) readRules() error {
	all := []network.RuleInfo{} // not nil, which says nothing
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		q := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		q.AddData(nl.NewIfInfomsg(int(family)))
		list, err := q.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		if err != nil {
			return fmt.Errorf("listing its rules: %w", err)
		}
		for _, b := range list {
			rule, what, err := parseRule(b)
			if err != nil {
				return fmt.Errorf("listing its rules: %w", err)
			}
			if what != "" {
				if err := r.cannot("the rule of priority %d is for %s, which the kernel wall does not have", rule.Priority, what); err != nil {
					return err
				}
				continue
			}
			all = append(all, rule)
		}
	}
	if !slices.Equal(all, network.DefaultRules()) {
		r.config.Rules = all
	}
	return nil
}

const (
	// sizeofRule is that of struct fib_rule_hdr of linux/fib_rules.h.
	sizeofRule = 12
	// portMasks is FRA_SPORT_MASK, before FRA_DPORT_MASK. Linux has told of them since 6.15, of each rule for one port.
	portMasks = 28
)

// parseRule reads a rule. what is not empty if it is for something that a sentry does not have.
func parseRule(b []byte) (rule network.RuleInfo, what string, err error) {
	if len(b) < sizeofRule {
		return rule, "", fmt.Errorf("a rule of %d bytes", len(b))
	}
	list, err := nl.ParseRouteAttr(b[sizeofRule:])
	if err != nil {
		return rule, "", err
	}
	rule = network.RuleInfo{
		Family: b[0], TOS: b[3], Table: uint32(b[4]), Action: b[7], Suppress: -1, Flags: binary.NativeEndian.Uint32(b[8:]) & network.RuleInvert,
	}
	for _, a := range list {
		v := a.Value
		text := func() string { return strings.TrimRight(string(v), "\x00") }
		number := func() (n uint32) {
			if len(v) >= 4 {
				n = binary.NativeEndian.Uint32(v)
			}
			return n
		}
		octet := func() (n uint8) {
			if len(v) > 0 {
				n = v[0]
			}
			return n
		}
		ports := func() (p [2]uint16) {
			if len(v) >= 4 {
				p = [2]uint16{binary.NativeEndian.Uint16(v), binary.NativeEndian.Uint16(v[2:])}
			}
			return p
		}
		addresses := func(bits byte) netip.Prefix {
			ip, _ := netip.AddrFromSlice(v)
			return netip.PrefixFrom(ip, int(bits))
		}
		switch a.Attr.Type {
		case unix.FRA_DST:
			rule.To = addresses(b[1])
		case unix.FRA_SRC:
			rule.From = addresses(b[2])
		case unix.FRA_IIFNAME:
			rule.In = text()
		case unix.FRA_OIFNAME:
			rule.Out = text()
		case unix.FRA_PRIORITY:
			rule.Priority = number()
		case unix.FRA_FWMARK:
			rule.Mark = number()
		case unix.FRA_FWMASK:
			rule.Mask = number()
		case unix.FRA_TABLE:
			rule.Table = number()
		case unix.FRA_GOTO:
			rule.Target = number()
		case unix.FRA_SUPPRESS_PREFIXLEN:
			rule.Suppress = int32(number())
		case unix.FRA_PROTOCOL:
			rule.Protocol = octet()
		case unix.FRA_IP_PROTO:
			rule.IPProtocol = octet()
		case unix.FRA_SPORT_RANGE:
			rule.SourcePorts = ports()
		case unix.FRA_DPORT_RANGE:
			rule.DestinationPorts = ports()
		case unix.FRA_UID_RANGE:
			what = "users of the host"
		case unix.FRA_SUPPRESS_IFGROUP:
			if number() != ^uint32(0) {
				what = "groups of interfaces"
			}
		case unix.FRA_L3MDEV:
			if octet() != 0 {
				what = "VRFs"
			}
		case portMasks, portMasks + 1:
			if len(v) < 2 || binary.NativeEndian.Uint16(v) != 0xffff { // that of one port whole
				what = "masks of ports"
			}
		case unix.FRA_PAD:
		default:
			what = fmt.Sprintf("its attribute %d (linux/fib_rules.h)", a.Attr.Type)
		}
	}
	return rule, what, nil
}
