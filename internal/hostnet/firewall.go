package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableName is what Coffer's tables of nftables are called. Nobody else's rules are in
// them, and they follow from the records of this network namespace alone: so each
// change writes them anew, in one transaction, and what the dead had there goes. A
// connection that there is keeps its translation, which conntrack knows.
const tableName = "coffer"

// writeRules writes the rules for what is attached.
func (s *state) writeRules(switched []string) error {
	var err error
	// A sandbox that ends meanwhile takes its interface along, and rules of an interface
	// that is not there are refused.
	for range 10 {
		if err = s.tryRules(switched); !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	return rulesError(err)
}

// rulesError says what to do about rules that could not be written.
func rulesError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("writing the rules of the host's nftables: %w: those of all sandboxes are more than can be written at once: give fewer ports and addresses to --egress", err)
	}
	return fmt.Errorf("writing the rules of the host's nftables: %w: the kernel must have nf_tables with NAT and FIB expressions (nft_nat, nft_masq, nft_fib_inet)", err)
}

// transactionSize is what a socket holds: all rules are sent at once, and each is
// answered.
const transactionSize = 16 << 20

func (s *state) tryRules(switched []string) error {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(transactionSize), c.SetWriteBuffer(transactionSize))
	}))
	if err != nil {
		return err
	}
	t := ruleset{conn: conn}
	records := s.here()
	networks := networksOf(records)
	t.begin(nftables.TableFamilyINet, len(networks) > 0)
	if len(networks) > 0 {
		t.shield(networks)
		t.translate(networks, records)
		t.egress(records)
		t.forward(networks, switched)
	}
	var joined []*record
	for _, r := range records {
		if _, err := net.InterfaceByName(r.Veth); err == nil {
			joined = append(joined, r)
		}
	}
	t.begin(nftables.TableFamilyNetdev, len(joined) > 0)
	for _, r := range joined {
		t.guard(r)
	}
	if t.err != nil {
		return t.err
	}
	return conn.Flush()
}

// bridged is a network as rules know it.
type bridged struct {
	bridge            string
	subnet, subnet6   netip.Prefix
	gateway, gateway6 netip.Addr
}

// networksOf are the networks of records, each once.
func networksOf(records []*record) []bridged {
	var list []bridged
	seen := map[string]bool{}
	for _, r := range records {
		if !seen[r.Bridge] {
			seen[r.Bridge] = true
			list = append(list, r.bridged())
		}
	}
	return list
}

func (r *record) bridged() bridged {
	b := bridged{bridge: r.Bridge}
	for i, p := range r.Addresses {
		if p.Addr().Is4() {
			b.subnet, b.gateway = p.Masked(), r.Gateways[i]
		} else {
			b.subnet6, b.gateway6 = p.Masked(), r.Gateways[i]
		}
	}
	return b
}

// ruleset collects a transaction.
type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error
}

// begin removes a table, and makes it again if wanted.
func (t *ruleset) begin(family nftables.TableFamily, wanted bool) {
	t.table = t.conn.AddTable(&nftables.Table{Name: tableName, Family: family})
	t.conn.DelTable(t.table)
	if wanted {
		t.table = t.conn.AddTable(&nftables.Table{Name: tableName, Family: family})
	}
}

func (t *ruleset) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...[]expr.Any) {
	c := t.conn.AddChain(&nftables.Chain{Name: name, Table: t.table, Type: kind, Hooknum: hook, Priority: priority})
	return func(parts ...[]expr.Any) {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: rule(parts...)})
	}
}

var loopback4 = netip.MustParsePrefix("127.0.0.0/8")

// shield keeps sandboxes from the host's loopback addresses, which bridge lets packets
// have (route_localnet) for published ports.
func (t *ruleset) shield(networks []bridged) {
	add := t.chain("shield", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	for _, n := range networks {
		add(from(n.bridge), destination(loopback4), drop)
	}
}

// translate leads published ports in, questions for names to who answers them, and
// hides the sandboxes' addresses from the outside.
func (t *ruleset) translate(networks []bridged, records []*record) {
	incoming := t.chain("incoming", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	own := t.chain("own", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	outgoing := t.chain("outgoing", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	// Without forwarding sandboxes have no way to answer those beyond the bridge, the
	// host's other addresses included: the listener has their connections then.
	families := []bool{true}
	if forwards6() {
		families = append(families, false)
	}
	for _, r := range records {
		for _, p := range r.Publish {
			for _, v4 := range families {
				at, ok := r.published(p, v4)
				if !ok || !r.address(v4).IsValid() {
					continue
				}
				port := rule(protocol(protocolNumber(p.Protocol)), toPorts(p.HostPort, p.HostPort), leadTo(netip.AddrPortFrom(r.address(v4), p.Port)))
				if !p.Address.IsLoopback() {
					incoming(at, port)
				}
				own(at, port)
			}
		}
		if r.Resolver == 0 {
			continue
		}
		gateway := r.bridged().gateway
		for _, p := range []uint8{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			incoming(from(r.Bridge), source(one(r.address(true))), destination(one(gateway)), protocol(p), toPorts(53, 53),
				leadTo(netip.AddrPortFrom(gateway, r.Resolver)))
		}
	}
	for _, n := range networks {
		for _, subnet := range []netip.Prefix{n.subnet, n.subnet6} {
			if subnet.IsValid() {
				outgoing(source(subnet), notTo(n.bridge), masquerade)
				outgoing(source(subnet), to(n.bridge), translated(), masquerade)
			}
		}
		outgoing(source(loopback4), to(n.bridge), masquerade)
	}
}

// published is what packets to a published port look like; of IPv6 the host's loopback
// address is left to the listener, since no packet from it can leave.
func (r *record) published(p Publish, v4 bool) ([]expr.Any, bool) {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	switch {
	case p.Address == any6 && v4, p.Address == any4 && v4:
		return rule(destination(netip.PrefixFrom(any4, 0)), local()), true
	case p.Address == any6:
		return rule(destination(netip.PrefixFrom(any6, 0)), notDestination(one(netip.IPv6Loopback())), local()), true
	case p.Address.Is4() == v4 && p.Address != netip.IPv6Loopback():
		return destination(one(p.Address)), true
	}
	return nil, false
}

// forward separates networks from each other, and keeps others from what is not
// published. Between interfaces at which Coffer has switched forwarding on, the host
// forwards nothing.
func (t *ruleset) forward(networks []bridged, switched []string) {
	add := t.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	for _, n := range networks {
		add(from(n.bridge), to(n.bridge), accept)
		for _, other := range networks {
			if other.bridge != n.bridge {
				add(from(n.bridge), to(other.bridge), drop)
			}
		}
	}
	for _, n := range networks {
		add(to(n.bridge), connected(), accept)
		add(to(n.bridge), translated(), accept)
		add(to(n.bridge), drop)
		add(from(n.bridge), accept)
	}
	if len(switched) == 0 {
		return
	}
	const name = "switched"
	c := t.conn.AddChain(&nftables.Chain{Name: name, Table: t.table})
	for _, i := range switched {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: rule(to(i), drop)})
		add(destination(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), from(i), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: name}})
	}
}

// Types of ICMPv6 messages (RFC 4861).
const (
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
)

// guard holds what comes from a sandbox to its own addresses and its rate, on the host's end of its link, where it has no say.
func (t *ruleset) guard(r *record) {
	c := t.conn.AddChain(&nftables.Chain{
		Name: r.Veth, Table: t.table, Type: nftables.ChainTypeFilter, Device: r.Veth,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
	})
	add := func(parts ...[]expr.Any) {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: rule(parts...)})
	}
	mac, err := net.ParseMAC(r.Hardware)
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	v4, v6 := r.address(true), r.address(false)
	if !v6.IsValid() {
		add(etherType(unix.ETH_P_IPV6), drop)
	}
	add(notHardware(mac), drop)
	// An ARP packet of IPv4 over Ethernet has the sender's addresses at 8 and 14.
	add(etherType(unix.ETH_P_ARP), payload(expr.PayloadBaseNetworkHeader, 8, expr.CmpOpNeq, nil, mac), drop)
	add(etherType(unix.ETH_P_ARP), payload(expr.PayloadBaseNetworkHeader, 14, expr.CmpOpNeq, nil, v4.AsSlice()), drop)
	add(etherType(unix.ETH_P_ARP), accept)
	add(notSource(one(v4)), drop)
	// Duplicate address detection has no source address, and neighbours may ask and
	// answer from their link-local one, for the addresses that they have. No sandbox is a router.
	for _, kind := range []uint8{routerAdvertisement, redirect} {
		add(etherType(unix.ETH_P_IPV6), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{kind}), drop)
	}
	if v6.IsValid() {
		own := ownLinkLocal(mac)
		add(notSource(one(v6)), notSource(one(netip.IPv6Unspecified())), notSource(one(own)), drop)
		// A neighbour advertisement has at 8 the address that it is about.
		target := func(a netip.Addr) []expr.Any {
			return payload(expr.PayloadBaseTransportHeader, 8, expr.CmpOpNeq, nil, a.AsSlice())
		}
		add(etherType(unix.ETH_P_IPV6), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{neighbourAdvertisement}),
			target(v6), target(own), drop)
	}
	if r.Filter.Rate > 0 {
		add(faster(r.Filter.Rate), drop)
		in := t.conn.AddChain(&nftables.Chain{
			Name: r.Veth + "-in", Table: t.table, Type: nftables.ChainTypeFilter, Device: r.Veth,
			Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter,
		})
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: in, Exprs: rule(faster(r.Filter.Rate), drop)})
	}
	if r.Filter.Egress != nil {
		// What reaches others on the bridge would pass no rule: all goes to the host.
		host, err := net.ParseMAC(hardware(r.bridged().gateway))
		if err != nil {
			t.err = errors.Join(t.err, err)
			return
		}
		for _, kind := range []uint8{neighbourSolicitation, neighbourAdvertisement} {
			add(etherType(unix.ETH_P_IPV6), protocol(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, nil, []byte{kind}), accept)
		}
		for _, v4 := range []bool{true, false} {
			for _, answer := range refuse(v4) {
				add(payload(expr.PayloadBaseLLHeader, 0, expr.CmpOpNeq, nil, host), answer)
			}
		}
		if v6.IsValid() {
			add(notSource(one(v6)), drop)
		}
	}
	add(etherType(unix.ETH_P_IP), accept)
	add(etherType(unix.ETH_P_IPV6), accept)
	add(drop)
}
