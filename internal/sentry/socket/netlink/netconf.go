package netlink

import (
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// Attributes of RTM_*NETCONF (linux/netconf.h).
const netconfaIfindex = 1

var netconfAttributes = map[string]int{
	"forwarding": 2, "rp_filter": 3, "mc_forwarding": 4, "proxy_arp": 5, "proxy_ndp": 5, "ignore_routes_with_linkdown": 6, "bc_forwarding": 8,
}

// sizeofNetconf is that of struct netconfmsg.
const sizeofNetconf = 1

// fillNetconf lays out struct netconfmsg and its attributes.
func fillNetconf(w *builder, i *network.NetconfInfo) {
	w.u8(i.Family, 0, 0, 0)
	w.attr32(netconfaIfindex, uint32(i.Link))
	for _, s := range i.Settings {
		w.attr32(netconfAttributes[s.Name], uint32(s.Value))
	}
}

func (s *Socket) dumpNetconf(_ Caller, r *request) error {
	if s.flag(unix.NETLINK_GET_STRICT_CHK) && len(r.body) > align(sizeofNetconf) {
		return refuse(unix.EINVAL, "Invalid data after header in netconf dump request")
	}
	_, err := s.dumpOf(r, func(w *builder) {
		for _, i := range s.ns.IP.Netconf() {
			if wants(r.body[0], i.Family) {
				w.begin(unix.RTM_NEWNETCONF, unix.NLM_F_MULTI, r.seq, s.portID())
				fillNetconf(w, &i)
				w.end()
			}
		}
	})
	return err
}

// getNetconf answers RTM_GETNETCONF for one interface.
func (s *Socket) getNetconf(_ Caller, r *request) error {
	if fam := r.body[0]; fam != unix.AF_INET && fam != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	at, err := s.attrs(r, sizeofNetconf)
	if err != nil {
		return err
	}
	index, ok, err := at.u32(netconfaIfindex)
	switch {
	case err != nil:
		return err
	case !ok:
		return unix.EINVAL
	}
	for _, i := range s.ns.IP.Netconf() {
		if i.Family == r.body[0] && i.Link == int32(index) {
			s.reply(func(w *builder) {
				w.begin(unix.RTM_NEWNETCONF, 0, r.seq, s.portID())
				fillNetconf(w, &i)
				w.end()
			})
			return nil
		}
	}
	if r.body[0] == unix.AF_INET6 {
		return unix.EINVAL
	}
	return unix.ENODEV
}
