package hostnet

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// silence has the kernel of the thread's network namespace hear nothing on interfaces.
// Packet sockets have what comes before the rules do (packet(7)), so that only what
// would be the kernel's own is dropped. What an earlier call has silenced is heard
// again, unless it is in the list.
//
// names says that Docker's name server is in the namespace. It asks others from there
// (UDP), so it must hear their answers, and who their neighbours are. The sandbox
// hears that too, and its own answers come to the kernel, which must not complain.
func silence(interfaces []string, names bool) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening a socket for rules: %w", err)
	}
	t := ruleset{conn: conn}
	t.begin(nftables.TableFamilyNetdev, len(interfaces) > 0)
	for _, name := range interfaces {
		t.deafen(name, names)
	}
	t.begin(nftables.TableFamilyINet, names)
	if names {
		t.mute(interfaces)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("keeping the host's kernel from answering: %w: it must have nf_tables for devices (CONFIG_NF_TABLES_NETDEV)", err)
	}
	return nil
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
	if names {
		add(etherType(unix.ETH_P_ARP), payload(expr.PayloadBaseNetworkHeader, 6, expr.CmpOpEq, nil, network16(arpReply)), accept)
		add(etherType(unix.ETH_P_IPV6), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{neighbourAdvertisement}), accept)
		add(protocol(unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, network16(53)), accept)
	}
	add(drop)
}

// arpReply is ARPOP_REPLY of linux/if_arp.h.
const arpReply = 2

// mute drops what the kernel would say of answers that are not its own.
func (t *ruleset) mute(interfaces []string) {
	add := t.chain("mute", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	for _, name := range interfaces {
		add(to(name), protocol(unix.IPPROTO_ICMP), drop)
		add(to(name), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{destinationUnreachable6}), drop)
	}
}

// destinationUnreachable6 is ICMPv6's (RFC 4443, 3.1).
const destinationUnreachable6 = 1
