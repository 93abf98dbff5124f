package netlink

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// sizeofRule is that of struct fib_rule_hdr, sizeofTC that of struct tcmsg.
const (
	sizeofRule = 12
	sizeofTC   = 20
)

// fillRule lays out struct fib_rule_hdr and its attributes, as somebody of a user namespace sees them.
func fillRule(w *builder, r *network.RuleInfo, users *auth.UserNamespace) {
	bits := func(p netip.Prefix) uint8 { return uint8(max(p.Bits(), 0)) }
	table := r.Table
	if table > 255 {
		table = unix.RT_TABLE_COMPAT
	}
	w.u8(r.Family, bits(r.To), bits(r.From), r.TOS, uint8(table), 0, 0, r.Action)
	w.u32(r.Flags)
	w.attr32(unix.FRA_TABLE, r.Table)
	w.attr32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.Suppress))
	w.attr8(unix.FRA_PROTOCOL, r.Protocol)
	if r.In != "" {
		w.attrText(unix.FRA_IIFNAME, r.In)
	}
	if r.Out != "" {
		w.attrText(unix.FRA_OIFNAME, r.Out)
	}
	if r.Priority != 0 {
		w.attr32(unix.FRA_PRIORITY, r.Priority)
	}
	if r.Mark != 0 {
		w.attr32(unix.FRA_FWMARK, r.Mark)
	}
	if r.Mark != 0 || r.Mask != 0 {
		w.attr32(unix.FRA_FWMASK, r.Mask)
	}
	if r.Target != 0 {
		w.attr32(unix.FRA_GOTO, r.Target)
	}
	if r.Users {
		w.attr(unix.FRA_UID_RANGE, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, users.FromUID(r.UIDs[0])), users.FromUID(r.UIDs[1])))
	}
	ports := func(typ int, p [2]uint16) {
		if p != [2]uint16{} {
			w.attr(typ, binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, p[0]), p[1]))
		}
	}
	ports(unix.FRA_SPORT_RANGE, r.SourcePorts)
	ports(unix.FRA_DPORT_RANGE, r.DestinationPorts)
	if r.IPProtocol != 0 {
		w.attr8(unix.FRA_IP_PROTO, r.IPProtocol)
	}
	if r.To.Bits() > 0 {
		w.attr(unix.FRA_DST, r.To.Addr().AsSlice())
	}
	if r.From.Bits() > 0 {
		w.attr(unix.FRA_SRC, r.From.Addr().AsSlice())
	}
}

// dumpRules answers RTM_GETRULE.
func (s *Socket) dumpRules(_ Caller, r *request) error {
	_, err := s.dumpOf(r, func(w *builder) {
		list := s.ns.IP.Rules()
		for i := range list {
			if !wants(r.body[0], list[i].Family) {
				continue
			}
			w.begin(unix.RTM_NEWRULE, unix.NLM_F_MULTI, r.seq, s.portID())
			fillRule(w, &list[i], s.opener.UserNS)
			w.end()
		}
	})
	return err
}

// parseRule reads RTM_NEWRULE and RTM_DELRULE.
func (s *Socket) parseRule(c Caller, r *request) (e network.RuleInfo, at *attrs, err error) {
	fam := r.body[0]
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return e, nil, unix.EAFNOSUPPORT
	}
	if at, err = s.attrs(r, sizeofRule); err != nil {
		return e, nil, err
	}
	for _, typ := range []int{unix.FRA_TUN_ID, unix.FRA_SUPPRESS_IFGROUP, unix.FRA_L3MDEV} {
		if b := at[typ]; b != nil && !bytes.Equal(b, []byte{0xff, 0xff, 0xff, 0xff}) {
			return e, nil, refuse(unix.EOPNOTSUPP, "Rules for tunnels, groups of interfaces and VRFs are not supported")
		}
	}
	for typ := unix.FRA_DPORT_RANGE + 1; typ < maxAttr; typ++ {
		if at.has(typ) {
			return e, nil, refuse(unix.EOPNOTSUPP, "Rules with attribute %d are not supported", typ)
		}
	}
	e = network.RuleInfo{
		Family: fam, TOS: r.body[3], Table: uint32(r.body[4]), Action: r.body[7], Suppress: -1,
		Flags: binary.LittleEndian.Uint32(r.body[8:]) & network.RuleInvert,
	}
	if e.To, err = at.ruleNetwork(unix.FRA_DST, fam, int(r.body[1])); err != nil {
		return e, nil, err
	}
	if e.From, err = at.ruleNetwork(unix.FRA_SRC, fam, int(r.body[2])); err != nil {
		return e, nil, err
	}
	if e.In, _, err = at.text(unix.FRA_IIFNAME, unix.IFNAMSIZ); err != nil {
		return e, nil, err
	}
	if e.Out, _, err = at.text(unix.FRA_OIFNAME, unix.IFNAMSIZ); err != nil {
		return e, nil, err
	}
	suppress := uint32(e.Suppress)
	for typ, v := range map[int]*uint32{
		unix.FRA_PRIORITY: &e.Priority, unix.FRA_FWMARK: &e.Mark, unix.FRA_FWMASK: &e.Mask, unix.FRA_GOTO: &e.Target, unix.FRA_TABLE: &e.Table, unix.FRA_SUPPRESS_PREFIXLEN: &suppress,
	} {
		n, ok, err := at.u32(typ)
		if err != nil {
			return e, nil, err
		}
		if ok {
			*v = n
		}
	}
	e.Suppress = int32(suppress)
	if e.Mark != 0 && !at.has(unix.FRA_FWMASK) {
		e.Mask = 0xffffffff
	}
	if e.Protocol, _, err = at.u8(unix.FRA_PROTOCOL); err != nil {
		return e, nil, err
	}
	if e.IPProtocol, _, err = at.u8(unix.FRA_IP_PROTO); err != nil {
		return e, nil, err
	}
	if e.SourcePorts, err = at.portRange(unix.FRA_SPORT_RANGE); err != nil {
		return e, nil, err
	}
	if e.DestinationPorts, err = at.portRange(unix.FRA_DPORT_RANGE); err != nil {
		return e, nil, err
	}
	if b := at[unix.FRA_UID_RANGE]; b != nil {
		if len(b) < 8 {
			return e, nil, errLength
		}
		users := c.Credentials().UserNS
		e.Users, e.UIDs = true, [2]uint32{users.ToUID(binary.LittleEndian.Uint32(b)), users.ToUID(binary.LittleEndian.Uint32(b[4:]))}
		if e.UIDs[0] == auth.NoID || e.UIDs[1] == auth.NoID || e.UIDs[0] > e.UIDs[1] {
			return e, nil, refuse(unix.EINVAL, "Invalid uid range")
		}
	}
	switch {
	case at.has(unix.FRA_GOTO) && e.Action != unix.FR_ACT_GOTO:
		return e, nil, refuse(unix.EINVAL, "Unexpected goto")
	case e.Action == unix.FR_ACT_GOTO && !at.has(unix.FRA_GOTO) && r.typ == unix.RTM_NEWRULE:
		return e, nil, refuse(unix.EINVAL, "Missing goto target for action goto")
	}
	return e, at, nil
}

// ruleNetwork reads an address of which so many bits count: invalid if none do.
func (a *attrs) ruleNetwork(typ int, family uint8, bits int) (netip.Prefix, error) {
	if bits == 0 {
		return netip.Prefix{}, nil
	}
	addr, err := a.ip(typ, family)
	if err != nil || !addr.IsValid() || bits > addr.BitLen() {
		return netip.Prefix{}, refuse(unix.EINVAL, "Invalid address of a rule, or length of its prefix")
	}
	return netip.PrefixFrom(addr, bits), nil
}

// portRange reads struct fib_rule_port_range.
func (a *attrs) portRange(typ int) (p [2]uint16, err error) {
	b := a[typ]
	if b == nil {
		return p, nil
	}
	if len(b) < 4 {
		return p, errLength
	}
	p = [2]uint16{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])}
	if p[0] == 0 || p[1] < p[0] || p[1] == 0xffff {
		return p, refuse(unix.EINVAL, "Invalid port range")
	}
	return p, nil
}

func (s *Socket) newRule(c Caller, r *request) error {
	e, at, err := s.parseRule(c, r)
	if err != nil {
		return err
	}
	return s.ns.IP.AddRule(e, at.has(unix.FRA_PRIORITY), r.flags&unix.NLM_F_EXCL != 0)
}

// deleteRule deletes the first rule that is like what is given.
func (s *Socket) deleteRule(c Caller, r *request) error {
	e, at, err := s.parseRule(c, r)
	if err != nil {
		return err
	}
	return s.ns.IP.DeleteRule(func(o *network.RuleInfo) bool {
		return o.Family == e.Family && (e.Action == 0 || o.Action == e.Action) && (e.Table == 0 || o.Table == e.Table) &&
			(!at.has(unix.FRA_PRIORITY) || o.Priority == e.Priority) && (e.In == "" || o.In == e.In) && (e.Out == "" || o.Out == e.Out) &&
			(e.Mark == 0 || o.Mark == e.Mark) && (e.Mask == 0 || o.Mask == e.Mask) && (e.Suppress == -1 || o.Suppress == e.Suppress) &&
			(!e.Users || o.Users && o.UIDs == e.UIDs) && (e.IPProtocol == 0 || o.IPProtocol == e.IPProtocol) &&
			(e.SourcePorts == [2]uint16{} || o.SourcePorts == e.SourcePorts) &&
			(e.DestinationPorts == [2]uint16{} || o.DestinationPorts == e.DestinationPorts) &&
			(!e.From.IsValid() || o.From == e.From) && (!e.To.IsValid() || o.To == e.To) && (e.TOS == 0 || o.TOS == e.TOS)
	})
}

// refusal answers a request for what there is none of.
func refusal(what string) func(*Socket, Caller, *request) error {
	err := refuse(unix.EOPNOTSUPP, "%s are not supported", what)
	return func(*Socket, Caller, *request) error { return err }
}

var refuseQdisc = refusal("Queueing disciplines")

// dumpNothing answers the request for a list of what there is none of.
func (s *Socket) dumpNothing(_ Caller, r *request) error {
	_, err := s.dumpOf(r, func(*builder) {})
	return err
}

// dumpQdiscs answers RTM_GETQDISC: no interface has a queue.
func (s *Socket) dumpQdiscs(_ Caller, r *request) error {
	_, err := s.dumpOf(r, func(w *builder) {
		const root, references, kind = 0xffffffff, 2, 1
		for _, l := range s.ns.IP.Links() {
			if l.Flags&unix.IFF_UP == 0 {
				continue
			}
			w.begin(unix.RTM_NEWQDISC, unix.NLM_F_MULTI, r.seq, s.portID())
			w.u32(unix.AF_UNSPEC)
			w.u32(uint32(l.Index))
			w.u32(0)
			w.u32(root)
			w.u32(references)
			w.attrText(kind, noQueue)
			w.end()
		}
	})
	return err
}

// noQueue is the name of the queueing discipline that has no queue.
const noQueue = "noqueue"
