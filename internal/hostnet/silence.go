package hostnet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// silence has the kernel of the thread's network namespace hear nothing but lo. Packet
// sockets have what comes before the rules do (packet(7)), so that only what would be
// the kernel's own is dropped: on the interfaces in the list all of it, before any
// protocol has looked at it; on others IP, once its header has been checked. These are
// those that come or get another name before silence is called again, those that carry
// no Ethernet frames, and those that carry others (a VLAN's, a bridge's port), for which
// frames must get further.
//
// What routers advertise is heard: the kernel makes IPv6 addresses and routes of it, and has
// them expire, which the sentry is told of. It answers nothing to that.
//
// bridges are those of the interfaces that are bridges: where br_netfilter is loaded, the rules for
// IP are asked of what comes to their ports before a bridge takes that. It must get it, or a
// packet socket of its own has nothing.
//
// names says that Docker's name server is in the namespace. It asks others from there
// (UDP), so it must hear their answers, and who their neighbours are. The sandbox
// hears that too, and its own answers come to the kernel, which must not complain.
func silence(interfaces, bridges []string, names bool) error {
	t, err := unsilenced()
	if err != nil {
		return err
	}
	t.table = t.conn.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	t.muffle(bridges, names)
	if names {
		t.mute()
	}
	t.table = t.conn.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyNetdev})
	for _, name := range interfaces {
		t.deafen(name, names)
	}
	if err := t.conn.Flush(); err != nil {
		return cannotSilence(err)
	}
	return nil
}

// cannotSilence says what the host lacks.
func cannotSilence(err error) error {
	return fmt.Errorf("keeping the host's kernel from answering: %w: it must have nf_tables for IP and for devices (CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_NETDEV); the process wall needs neither", err)
}

// silenced reports whether exactly these interfaces are silenced.
func silenced(interfaces []string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening a socket for rules: %w", err)
	}
	list, err := conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return false, fmt.Errorf("listing rules: %w", err)
	}
	var names []string
	for _, c := range list {
		if c.Table.Name == tableName {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return slices.Equal(names, slices.Sorted(slices.Values(interfaces))), nil
}

// unsilence has the kernel of the thread's network namespace hear again.
func unsilence() error {
	t, err := unsilenced()
	if err == nil {
		err = t.conn.Flush()
	}
	if err != nil {
		return fmt.Errorf("having the host's kernel answer again: %w", err)
	}
	return nil
}

// unsilenced begins a set of rules with the end of what there is of an earlier one. A
// kernel that has no tables at all has none of ours.
func unsilenced() (*ruleset, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening a socket for rules: %w", err)
	}
	list, err := conn.ListTables()
	if err != nil && !slices.ContainsFunc(withoutTables, func(e error) bool { return errors.Is(err, e) }) {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	for _, table := range list {
		if table.Name == tableName && (table.Family == nftables.TableFamilyINet || table.Family == nftables.TableFamilyNetdev) {
			conn.DelTable(table)
		}
	}
	return &ruleset{conn: conn}, nil
}

// withoutTables is what a kernel says that lacks Netfilter's sockets, or nf_tables
// (nfnetlink_rcv_msg of Linux), as soon as it is asked.
var withoutTables = []error{unix.EPROTONOSUPPORT, unix.EINVAL, unix.EOPNOTSUPP}

// muffle drops what comes to the kernel's IP by any interface but lo, fragments before
// anything waits for the rest of them.
func (t *ruleset) muffle(bridges []string, names bool) {
	add := t.chain("muffle", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityFirst)
	add(from("lo"), accept)
	add(routerTold, accept)
	for _, name := range bridges {
		add(from(name), accept)
	}
	if names {
		add(neighbourFound, accept)
		add(nameAnswer, accept)
	}
	add(drop)
}

// deafen drops what comes to an interface.
func (t *ruleset) deafen(name string, names bool) {
	c := t.conn.AddChain(&nftables.Chain{
		Name: name, Table: t.table, Type: nftables.ChainTypeFilter, Device: name,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
	})
	add := func(parts ...[]expr.Any) {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: rule(parts...)})
	}
	add(etherType(unix.ETH_P_IPV6), routerTold, accept)
	if names {
		add(etherType(unix.ETH_P_ARP), payload(expr.PayloadBaseNetworkHeader, 6, expr.CmpOpEq, nil, network16(arpReply)), accept)
		add(etherType(unix.ETH_P_IPV6), neighbourFound, accept)
		add(nameAnswer, accept)
	}
	add(drop)
}

// arpReply is ARPOP_REPLY of linux/if_arp.h.
const arpReply = 2

// neighbourFound is the answer to who has an IPv6 address, nameAnswer one of a name server.
// routerTold is what routers tell of themselves and of prefixes.
var (
	routerTold     = rule(protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{routerAdvertisement}))
	neighbourFound = rule(protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{neighbourAdvertisement}))
	nameAnswer     = rule(protocol(unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, network16(53)))
)

// mute drops what the kernel would say of answers that are not its own, and what it would
// forward: new namespaces have the host's setting, which is to forward where Docker is.
func (t *ruleset) mute() {
	add := t.chain("mute", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	add(notTo("lo"), protocol(unix.IPPROTO_ICMP), drop)
	add(notTo("lo"), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{destinationUnreachable6}), drop)
	t.chain("stop", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)(drop)
}

// destinationUnreachable6 is ICMPv6's (RFC 4443, 3.1).
const destinationUnreachable6 = 1
