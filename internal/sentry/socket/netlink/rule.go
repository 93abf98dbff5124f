package netlink

import (
	"golang.org/x/sys/unix"
)

// sizeofRule is that of struct fib_rule_hdr, sizeofTC that of struct tcmsg.
const (
	sizeofRule = 12
	sizeofTC   = 20
)

// rules are those that Linux begins with: no others can be made.
var rules = []struct {
	family   uint8
	table    uint8
	priority uint32
}{
	{unix.AF_INET, unix.RT_TABLE_LOCAL, 0}, {unix.AF_INET, unix.RT_TABLE_MAIN, 32766}, {unix.AF_INET, unix.RT_TABLE_DEFAULT, 32767},
	{unix.AF_INET6, unix.RT_TABLE_LOCAL, 0}, {unix.AF_INET6, unix.RT_TABLE_MAIN, 32766},
}

// dumpRules answers RTM_GETRULE.
func (s *Socket) dumpRules(_ Caller, r *request) error {
	_, err := s.dumpOf(r, func(w *builder) {
		for _, e := range rules {
			if !wants(r.body[0], e.family) {
				continue
			}
			w.begin(unix.RTM_NEWRULE, unix.NLM_F_MULTI, r.seq, s.portID())
			w.u8(e.family, 0, 0, 0, e.table, 0, 0, unix.FR_ACT_TO_TBL)
			w.u32(0)
			w.attr32(unix.FRA_TABLE, uint32(e.table))
			w.attr32(unix.FRA_SUPPRESS_PREFIXLEN, 0xffffffff)
			w.attr8(unix.FRA_PROTOCOL, unix.RTPROT_KERNEL)
			if e.priority != 0 {
				w.attr32(unix.FRA_PRIORITY, e.priority)
			}
			w.end()
		}
	})
	return err
}

// refusal answers a request for what there is none of.
func refusal(what string) func(*Socket, Caller, *request) error {
	err := refuse(unix.EOPNOTSUPP, "%s are not supported", what)
	return func(*Socket, Caller, *request) error { return err }
}

var (
	refuseRule  = refusal("Rules other than the three that are there")
	refuseQdisc = refusal("Queueing disciplines")
)

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
