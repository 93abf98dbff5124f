package network

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// linkSettings are what each interface has of its own, by protocol as in protocols.
type linkSettings struct {
	// forward is whether packets that come in may go on to other interfaces.
	forward [2]bool
	// noIPv6 keeps IPv6 addresses away.
	noIPv6 bool
	// markIsValid would have rp_filter heed marks. As on Linux it does nothing while that is off, as it is here.
	markIsValid bool
}

// families are the directories of protocols below /proc/sys/net.
var families = [...]string{"ipv4", "ipv6"}

// linkSysctls are the settings in conf/NAME and neigh/NAME of each family. Those
// with a number only say how things are.
var linkSysctls = map[string]map[string]int64{
	"ipv4/conf": {
		"accept_local": 0, "accept_redirects": 0, "accept_source_route": 0, "arp_accept": 0, "arp_announce": 0, "arp_filter": 0,
		"arp_ignore": 0, "arp_notify": 0, "bootp_relay": 0, "disable_policy": 0, "disable_xfrm": 0, "force_igmp_version": 0,
		"forwarding": acts, "log_martians": 0, "mc_forwarding": 0, "promote_secondaries": 0, "proxy_arp": 0, "route_localnet": 0,
		"bc_forwarding": 0, "drop_gratuitous_arp": 0, "drop_unicast_in_l2_multicast": 0,
		"ignore_routes_with_linkdown": 0, "medium_id": 0, "proxy_arp_pvlan": 0, "rp_filter": 0, "secure_redirects": 1, "send_redirects": 0, "shared_media": 1, "src_valid_mark": acts,
	},
	"ipv6/conf": {
		"accept_dad": 0, "accept_ra": 0, "accept_redirects": 0, "accept_source_route": 0, "addr_gen_mode": 0, "autoconf": 0,
		"dad_transmits": 0, "disable_ipv6": acts, "forwarding": acts, "hop_limit": 64, "proxy_ndp": 0, "use_tempaddr": 0,
		"accept_ra_defrtr": 0, "accept_ra_from_local": 0, "accept_ra_mtu": 0, "accept_ra_pinfo": 0, "accept_ra_rtr_pref": 0,
		"accept_untracked_na": 0, "disable_policy": 0, "drop_unicast_in_l2_multicast": 0, "drop_unsolicited_na": 0, "enhanced_dad": 0,
		"force_mld_version": 0, "force_tllao": 0, "ignore_routes_with_linkdown": 0, "ioam6_enabled": 0, "keep_addr_on_down": 0,
		"mc_forwarding": 0, "ndisc_notify": 0, "optimistic_dad": 0, "router_solicitations": 0,
		"rpl_seg_enabled": 0, "seg6_enabled": 0, "use_oif_addrs_only": 0, "use_optimistic": 0,
	},
	"ipv4/neigh": neighbourSettings,
	"ipv6/neigh": neighbourSettings,
}

// acts marks the settings that do something.
const acts = -1

// neighbourSettings are those of the stack's discovery of neighbours.
var neighbourSettings = map[string]int64{
	"base_reachable_time_ms": 30000, "delay_first_probe_time": 5, "mcast_solicit": 3, "retrans_time_ms": 1000, "ucast_solicit": 3,
}

// LinkSysctlNames are the names of the settings of each interface, by the directory in
// which the interfaces are: "ipv4/conf", "ipv4/neigh" and those of IPv6.
func LinkSysctlNames(dir string) []string {
	var names []string
	for name := range linkSysctls[dir] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// LinkSysctlDirs are the directories that have one of each interface.
func LinkSysctlDirs() []string { return []string{"ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"} }

// linkName is a name of a setting of an interface, taken apart.
type linkName struct {
	family    int // index into families
	of, name  string
	dir       string
	all, base bool // "all", "default"
}

func (n *Namespace) parseLinkName(path string) (p linkName, l *link, err error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 {
		return p, nil, unix.ENOENT
	}
	p = linkName{family: slices.Index(families[:], parts[0]), dir: parts[0] + "/" + parts[1], of: parts[2], name: parts[3]}
	if _, ok := linkSysctls[p.dir][p.name]; !ok {
		return p, nil, unix.ENOENT
	}
	switch p.of {
	case "all":
		p.all = true
	case "default":
		p.base = true
	default:
		l = n.named(p.of)
		if l == nil {
			return p, nil, unix.ENOENT
		}
	}
	return p, l, nil
}

// linkSysctl is Sysctl for the settings of interfaces.
func (n *Namespace) linkSysctl(path string) (string, error) {
	p, l, err := n.parseLinkName(path)
	if err != nil {
		return "", err
	}
	return joinNumbers([]int64{n.linkValue(p, l)}), nil
}

// linkValue is a setting of a link, or of all, or of those to come.
func (n *Namespace) linkValue(p linkName, l *link) int64 {
	if v := linkSysctls[p.dir][p.name]; v != acts {
		return v
	}
	settings := &n.linkDefault
	switch {
	case p.all:
		settings = &n.linkAll
	case l != nil:
		settings = &l.linkSettings
	}
	on := settings.noIPv6
	switch p.name {
	case "forwarding":
		on = settings.forward[p.family]
	case "src_valid_mark":
		on = settings.markIsValid
	}
	if on {
		return 1
	}
	return 0
}

// setLinkSysctl is SetSysctl for the settings of interfaces.
func (n *Namespace) setLinkSysctl(path, value string) error {
	p, l, err := n.parseLinkName(path)
	if err != nil {
		return err
	}
	v, err := splitNumbers(value, 1)
	if err != nil {
		return err
	}
	if fixed := linkSysctls[p.dir][p.name]; fixed != acts {
		if v[0] != fixed {
			return unix.EINVAL
		}
		return nil
	}
	on := v[0] != 0
	switch {
	case p.name == "forwarding" && p.all:
		n.forwardAll(p.family, on)
	case p.name == "forwarding" && p.base:
		n.forwardDefault(p.family, on)
	case p.name == "forwarding":
		n.forward(l, p.family, on)
	case p.name == "src_valid_mark" && p.all:
		n.linkAll.markIsValid = on
	case p.name == "src_valid_mark" && p.base:
		n.linkDefault.markIsValid = on
	case p.name == "src_valid_mark":
		l.markIsValid = on
	case p.all:
		n.linkAll.noIPv6, n.linkDefault.noIPv6 = on, on
		for _, l := range n.sorted() {
			n.disableIPv6(l, on)
		}
	case p.base:
		n.linkDefault.noIPv6 = on
	default:
		n.disableIPv6(l, on)
	}
	return nil
}

// forwardAll sets forwarding of a family for all interfaces and those to come:
// conf/all/forwarding, and for IPv4 ip_forward. IPv4 tells of all interfaces, if it has changed at
// all, IPv6 of those where it has changed, as in Linux.
func (n *Namespace) forwardAll(family int, on bool) {
	changed := n.linkAll.forward[family] != on
	n.linkAll.forward[family] = on
	if family == 0 {
		if !changed {
			return
		}
		v := int64(0)
		if on {
			v = 1
		}
		if n.changed == nil {
			n.changed = map[string][]int64{}
		}
		n.changed[ipForward] = []int64{v}
		n.tellForwarding(family, NetconfAll)
		n.linkDefault.forward[family] = on
		n.tellForwarding(family, NetconfDefault)
		for _, l := range n.sorted() {
			n.setForward(l, family, on)
			n.tellForwarding(family, l.index)
		}
		return
	}
	n.forwardDefault(family, on)
	for _, l := range n.sorted() {
		n.forward(l, family, on)
	}
	if changed {
		n.tellForwarding(family, NetconfAll)
	}
}

func (n *Namespace) forwardDefault(family int, on bool) {
	if n.linkDefault.forward[family] != on {
		n.linkDefault.forward[family] = on
		n.tellForwarding(family, NetconfDefault)
	}
}

func (n *Namespace) forward(l *link, family int, on bool) {
	if l.forward[family] != on {
		n.setForward(l, family, on)
		n.tellForwarding(family, l.index)
	}
}

func (n *Namespace) setForward(l *link, family int, on bool) {
	l.forward[family] = on
	if n.stack != nil {
		n.mirrorForwarding(l)
	}
}

// mirrorForwarding tells the stack of a link's forwarding.
func (n *Namespace) mirrorForwarding(l *link) {
	for i, p := range protocols {
		_, err := n.stack.SetNICForwarding(l.nic(), p, l.forward[i])
		if _, unknown := err.(*tcpip.ErrNotSupported); !unknown {
			must(err)
		}
	}
}

// disableIPv6 takes a link's IPv6 addresses away and keeps others away, or gives it
// back those that it has of itself.
func (n *Namespace) disableIPv6(l *link, on bool) {
	if l.noIPv6 == on {
		return
	}
	l.noIPv6 = on
	if !on {
		if l.up {
			n.addOwnAddresses(l)
		}
		return
	}
	for _, a := range slices.Clone(l.addresses) {
		if a.Prefix.Addr().Is6() {
			n.deleteAddress(l, a)
		}
	}
	n.deleteRoutes(func(r *RouteInfo) bool { return n.over(r, l.index) && r.Destination.Addr().Is6() })
}
