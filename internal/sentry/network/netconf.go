package network

import "golang.org/x/sys/unix"

// What stands for an interface's index in the settings of all interfaces, and of those to come.
const (
	NetconfAll     = -1
	NetconfDefault = -2
)

// NetconfInfo is what programs that follow the settings of interfaces are told (ip netconf).
type NetconfInfo struct {
	// Family is AF_INET or AF_INET6.
	Family uint8
	// Link is the interface's index, NetconfAll or NetconfDefault.
	Link     int32
	Settings []NetconfSetting
}

// NetconfSetting is a setting by its name in conf/NAME, and its value.
type NetconfSetting struct {
	Name  string
	Value int64
}

// netconfSettings are those that are told of each family, in Linux's order.
var netconfSettings = [...][]string{
	{"forwarding", "rp_filter", "mc_forwarding", "bc_forwarding", "proxy_arp", "ignore_routes_with_linkdown"},
	{"forwarding", "mc_forwarding", "proxy_ndp", "ignore_routes_with_linkdown"},
}

// netconfFamilies are what the families are called, by their index in families.
var netconfFamilies = [...]uint8{unix.AF_INET, unix.AF_INET6}

// Netconf returns the settings of both families: of each interface, of all and of those to come.
func (n *Namespace) Netconf() []NetconfInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []NetconfInfo
	for family := range families {
		for _, l := range n.sorted() {
			out = append(out, n.netconf(family, l.index))
		}
		out = append(out, n.netconf(family, NetconfAll), n.netconf(family, NetconfDefault))
	}
	return out
}

func (n *Namespace) netconf(family int, index int32) NetconfInfo {
	return n.netconfOf(family, index, netconfSettings[family])
}

func (n *Namespace) netconfOf(family int, index int32, names []string) NetconfInfo {
	i := NetconfInfo{Family: netconfFamilies[family], Link: index}
	p := linkName{family: family, dir: families[family] + "/conf", all: index == NetconfAll, base: index == NetconfDefault}
	for _, p.name = range names {
		i.Settings = append(i.Settings, NetconfSetting{p.name, n.linkValue(p, n.links[index])})
	}
	return i
}

// tellForwarding tells of a family's forwarding that has been set.
func (n *Namespace) tellForwarding(family int, index int32) {
	if len(n.watchers) > 0 {
		i := n.netconfOf(family, index, []string{"forwarding"})
		n.tell(Event{Netconf: &i})
	}
}

// tellNetconf tells of the settings of an interface that has come or goes.
func (n *Namespace) tellNetconf(l *link, deleted bool) {
	if len(n.watchers) == 0 {
		return
	}
	for family := range families {
		i := NetconfInfo{Family: netconfFamilies[family], Link: l.index}
		if !deleted {
			i = n.netconf(family, l.index)
		}
		n.tell(Event{Netconf: &i, Deleted: deleted})
	}
}
