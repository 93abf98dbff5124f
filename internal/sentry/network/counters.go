package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Counter is one of what the stack counts, by the name that Linux has for it.
type Counter struct {
	Name  string
	Value uint64
}

// CounterGroup is a line of /proc/net/snmp or netstat: counters of one protocol.
type CounterGroup struct {
	Name     string
	Counters []Counter
}

// stats are the stack's counters, those of IP apart; all are zero before the stack is started.
func (n *Namespace) stats() (tcpip.Stats, ipCounters) {
	if !n.Started() {
		return tcpip.Stats{}.FillIn(), ipCounters{}
	}
	st := n.Stack()
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.gone
	for _, l := range n.links {
		all.add(st, l)
	}
	for i, of := range []*ipCounts{&all.v4, &all.v6} {
		of.addTraffic(&n.steering.traffic[i])
	}
	return st.Stats(), all
}

// ipCounters are those of IP, which the stack and links have by interface. n.gone has those of
// interfaces that the namespace has no more: counters do not fall.
type ipCounters struct {
	v4, v6  ipCounts
	damaged damage
}

// add adds those of a link, which the stack knows still.
func (c *ipCounters) add(st *stack.Stack, l *link) {
	if info, ok := st.SingleNICInfo(l.nic()); ok {
		c.v4.add(info.NetworkStats[header.IPv4ProtocolNumber])
		c.v6.add(info.NetworkStats[header.IPv6ProtocolNumber])
	}
	d := damageOf(l.device)
	c.damaged.ip += d.ip - l.damaged.ip
	c.damaged.tcp += d.tcp - l.damaged.tcp
	c.damaged.udp += d.udp - l.damaged.udp
}

// damage are packets whose checksums were wrong, of which links keep the stack clear.
type damage struct{ ip, tcp, udp uint64 }

// damageOf is what a device has had since it was made.
func damageOf(d device) damage {
	o, ok := d.(*outside)
	if !ok {
		return damage{}
	}
	s := o.Statistics()
	return damage{s.DamagedIP, s.DamagedTCP, s.DamagedUDP}
}

// ipCounts are the counters of one of the IP protocols.
type ipCounts struct {
	received, headerErrors, addressErrors, delivered, sent, discarded, unroutable, tooLong uint64
	// These are not the stack's.
	forwarded, cut, fragments uint64
}

func (c *ipCounts) add(of stack.NetworkEndpointStats) {
	ep, ok := of.(stack.IPNetworkEndpointStats)
	if !ok {
		return
	}
	s := ep.IPStats()
	c.received += s.PacketsReceived.Value()
	c.headerErrors += s.MalformedPacketsReceived.Value() + s.Forwarding.ExhaustedTTL.Value()
	c.addressErrors += s.InvalidDestinationAddressesReceived.Value() + s.InvalidSourceAddressesReceived.Value()
	c.delivered += s.PacketsDelivered.Value()
	c.sent += s.PacketsSent.Value()
	c.discarded += s.OutgoingPacketErrors.Value()
	c.unroutable += s.Forwarding.Unrouteable.Value()
	c.tooLong += s.Forwarding.PacketTooBig.Value()
}

// requests are the packets that were sent and not forwarded.
func (c *ipCounts) requests() uint64 { return c.sent - min(c.sent, c.forwarded) }

// addTraffic adds what was counted beside the stack.
func (c *ipCounts) addTraffic(t *traffic) {
	c.forwarded, c.cut, c.fragments = t.forwarded.Load(), t.cut.Load(), t.fragments.Load()
}

// Counters are the groups of /proc/net/snmp; MoreCounters those of /proc/net/netstat.
func (n *Namespace) Counters() []CounterGroup {
	s, ip := n.stats()
	v4 := ip.v4
	damagedTCP := ip.damaged.tcp + s.TCP.ChecksumErrors.Value()
	damagedUDP := ip.damaged.udp + s.UDP.ChecksumErrors.Value()
	forwarding := uint64(2)
	if n.Number(ipForward) != 0 {
		forwarding = 1
	}
	in, out := s.ICMP.V4.PacketsReceived, s.ICMP.V4.PacketsSent
	const rtoMin, rtoMax = 200, 120000 // milliseconds
	udp := []Counter{
		{"InDatagrams", s.UDP.PacketsReceived.Value()}, {"NoPorts", s.UDP.UnknownPortErrors.Value()},
		{"InErrors", s.UDP.MalformedPacketsReceived.Value() + s.UDP.ReceiveBufferErrors.Value() + damagedUDP},
		{"OutDatagrams", s.UDP.PacketsSent.Value()}, {"RcvbufErrors", s.UDP.ReceiveBufferErrors.Value()},
		{"SndbufErrors", 0}, {"InCsumErrors", damagedUDP}, {"IgnoredMulti", 0}, {"MemErrors", 0},
	}
	lite := make([]Counter, len(udp))
	for i, c := range udp {
		lite[i].Name = c.Name
	}
	return []CounterGroup{
		{"Ip", []Counter{
			{"Forwarding", forwarding}, {"DefaultTTL", uint64(n.Number("ipv4/ip_default_ttl"))}, {"InReceives", v4.received},
			{"InHdrErrors", v4.headerErrors + ip.damaged.ip}, {"InAddrErrors", v4.addressErrors},
			{"ForwDatagrams", v4.forwarded + v4.tooLong}, {"InUnknownProtos", 0},
			{"InDiscards", 0}, {"InDelivers", v4.delivered}, {"OutRequests", v4.requests()}, {"OutDiscards", v4.discarded},
			{"OutNoRoutes", 0}, {"ReasmTimeout", 0}, {"ReasmReqds", 0}, {"ReasmOKs", 0}, {"ReasmFails", 0}, {"FragOKs", v4.cut},
			{"FragFails", v4.tooLong}, {"FragCreates", v4.fragments}, {"OutTransmits", v4.sent},
		}},
		{"Icmp", []Counter{
			{"InMsgs", sum4(in.ICMPv4PacketStats) + in.Invalid.Value()}, {"InErrors", in.Invalid.Value()}, {"InCsumErrors", 0},
			{"InDestUnreachs", in.DstUnreachable.Value()}, {"InTimeExcds", in.TimeExceeded.Value()}, {"InParmProbs", in.ParamProblem.Value()},
			{"InSrcQuenchs", in.SrcQuench.Value()}, {"InRedirects", in.Redirect.Value()}, {"InEchos", in.EchoRequest.Value()},
			{"InEchoReps", in.EchoReply.Value()}, {"InTimestamps", in.Timestamp.Value()}, {"InTimestampReps", in.TimestampReply.Value()},
			{"InAddrMasks", 0}, {"InAddrMaskReps", 0}, {"OutMsgs", sum4(out.ICMPv4PacketStats)}, {"OutErrors", out.Dropped.Value()},
			{"OutRateLimitGlobal", out.RateLimited.Value()}, {"OutRateLimitHost", 0}, {"OutDestUnreachs", out.DstUnreachable.Value()},
			{"OutTimeExcds", out.TimeExceeded.Value()}, {"OutParmProbs", out.ParamProblem.Value()}, {"OutSrcQuenchs", out.SrcQuench.Value()},
			{"OutRedirects", out.Redirect.Value()}, {"OutEchos", out.EchoRequest.Value()}, {"OutEchoReps", out.EchoReply.Value()},
			{"OutTimestamps", out.Timestamp.Value()}, {"OutTimestampReps", out.TimestampReply.Value()}, {"OutAddrMasks", 0},
			{"OutAddrMaskReps", 0},
		}},
		{"Tcp", []Counter{
			{"RtoAlgorithm", 1}, {"RtoMin", rtoMin}, {"RtoMax", rtoMax}, {"MaxConn", 1<<64 - 1},
			{"ActiveOpens", s.TCP.ActiveConnectionOpenings.Value()}, {"PassiveOpens", s.TCP.PassiveConnectionOpenings.Value()},
			{"AttemptFails", s.TCP.FailedConnectionAttempts.Value()}, {"EstabResets", s.TCP.EstablishedResets.Value()},
			{"CurrEstab", s.TCP.CurrentEstablished.Value()},
			{"InSegs", s.TCP.ValidSegmentsReceived.Value() + s.TCP.InvalidSegmentsReceived.Value()},
			{"OutSegs", s.TCP.SegmentsSent.Value()}, {"RetransSegs", s.TCP.Retransmits.Value()},
			{"InErrs", s.TCP.InvalidSegmentsReceived.Value() + damagedTCP}, {"OutRsts", s.TCP.ResetsSent.Value()},
			{"InCsumErrors", damagedTCP},
		}},
		{"Udp", udp},
		{"UdpLite", lite},
	}
}

// sum4 is the number of all messages.
func sum4(s tcpip.ICMPv4PacketStats) (n uint64) {
	for _, c := range []*tcpip.StatCounter{
		s.EchoRequest, s.EchoReply, s.DstUnreachable, s.SrcQuench, s.Redirect, s.TimeExceeded, s.ParamProblem, s.Timestamp,
		s.TimestampReply, s.InfoRequest, s.InfoReply,
	} {
		n += c.Value()
	}
	return n
}

func (n *Namespace) MoreCounters() []CounterGroup {
	s, ip := n.stats()
	t := s.TCP
	return []CounterGroup{
		{"TcpExt", []Counter{
			{"SyncookiesSent", t.ListenOverflowSynCookieSent.Value()}, {"SyncookiesRecv", t.ListenOverflowSynCookieRcvd.Value()},
			{"SyncookiesFailed", t.ListenOverflowInvalidSynCookieRcvd.Value()},
			{"ListenOverflows", t.ListenOverflowAckDrop.Value()},
			{"ListenDrops", t.ListenOverflowAckDrop.Value() + t.ListenOverflowSynDrop.Value()},
			{"TCPSackRecovery", t.SACKRecovery.Value()}, {"TCPFastRetrans", t.FastRetransmit.Value()},
			{"TCPSlowStartRetrans", t.SlowStartRetransmits.Value()}, {"TCPTimeouts", t.Timeouts.Value()},
			{"TCPLossProbes", t.TLPRecovery.Value()}, {"TCPDSACKRecv", t.SegmentsAckedWithDSACK.Value()},
			{"TCPAbortOnTimeout", t.EstablishedTimedout.Value()}, {"TCPSpuriousRTOs", t.SpuriousRTORecovery.Value()},
			{"TCPRetransFail", t.SegmentSendErrors.Value()},
		}},
		{"IpExt", []Counter{{"InNoRoutes", ip.v4.unroutable}, {"InNoECTPkts", ip.v4.received}}},
	}
}

// CountersIPv6 are those of /proc/net/snmp6.
func (n *Namespace) CountersIPv6() []Counter {
	s, ip := n.stats()
	v6 := ip.v6
	in, out := s.ICMP.V6.PacketsReceived, s.ICMP.V6.PacketsSent
	return []Counter{
		{"Ip6InReceives", v6.received}, {"Ip6InHdrErrors", v6.headerErrors}, {"Ip6InAddrErrors", v6.addressErrors},
		{"Ip6InTooBigErrors", v6.tooLong}, {"Ip6InNoRoutes", v6.unroutable}, {"Ip6InDelivers", v6.delivered},
		{"Ip6OutForwDatagrams", v6.forwarded}, {"Ip6OutRequests", v6.requests()}, {"Ip6OutDiscards", v6.discarded},
		{"Ip6FragOKs", v6.cut}, {"Ip6FragFails", v6.tooLong}, {"Ip6FragCreates", v6.fragments}, {"Ip6OutTransmits", v6.sent},
		{"Icmp6InMsgs", sum6(in.ICMPv6PacketStats) + in.Invalid.Value()}, {"Icmp6InErrors", in.Invalid.Value()},
		{"Icmp6OutMsgs", sum6(out.ICMPv6PacketStats)}, {"Icmp6OutErrors", out.Dropped.Value()},
		{"Icmp6InDestUnreachs", in.DstUnreachable.Value()}, {"Icmp6InPktTooBigs", in.PacketTooBig.Value()},
		{"Icmp6InTimeExcds", in.TimeExceeded.Value()}, {"Icmp6InParmProblems", in.ParamProblem.Value()},
		{"Icmp6InEchos", in.EchoRequest.Value()}, {"Icmp6InEchoReplies", in.EchoReply.Value()},
		{"Icmp6InRouterSolicits", in.RouterSolicit.Value()}, {"Icmp6InRouterAdvertisements", in.RouterAdvert.Value()},
		{"Icmp6InNeighborSolicits", in.NeighborSolicit.Value()}, {"Icmp6InNeighborAdvertisements", in.NeighborAdvert.Value()},
		{"Icmp6OutDestUnreachs", out.DstUnreachable.Value()}, {"Icmp6OutPktTooBigs", out.PacketTooBig.Value()},
		{"Icmp6OutTimeExcds", out.TimeExceeded.Value()}, {"Icmp6OutParmProblems", out.ParamProblem.Value()},
		{"Icmp6OutEchos", out.EchoRequest.Value()}, {"Icmp6OutEchoReplies", out.EchoReply.Value()},
		{"Icmp6OutRouterSolicits", out.RouterSolicit.Value()}, {"Icmp6OutNeighborSolicits", out.NeighborSolicit.Value()},
		{"Icmp6OutNeighborAdvertisements", out.NeighborAdvert.Value()}, {"Icmp6OutMLDv2Reports", out.MulticastListenerReportV2.Value()},
	}
}

func sum6(s tcpip.ICMPv6PacketStats) (n uint64) {
	for _, c := range []*tcpip.StatCounter{
		s.EchoRequest, s.EchoReply, s.DstUnreachable, s.PacketTooBig, s.TimeExceeded, s.ParamProblem, s.RouterSolicit, s.RouterAdvert,
		s.NeighborSolicit, s.NeighborAdvert, s.RedirectMsg, s.MulticastListenerQuery, s.MulticastListenerReport,
		s.MulticastListenerReportV2, s.MulticastListenerDone,
	} {
		n += c.Value()
	}
	return n
}
