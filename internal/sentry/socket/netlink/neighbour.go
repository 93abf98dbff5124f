package netlink

import (
	"encoding/binary"
	"net/netip"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// fillNeighbour lays out struct ndmsg and its attributes.
func fillNeighbour(w *builder, n *network.NeighbourInfo) {
	w.u8(family(n.Address), 0, 0, 0)
	w.u32(uint32(n.Link))
	w.u16(n.State)
	w.u8(0, unix.RTN_UNICAST)
	w.attr(unix.NDA_DST, n.Address.AsSlice())
	if n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) == 0 && n.HardwareAddr != [6]byte{} {
		w.attr(unix.NDA_LLADDR, n.HardwareAddr[:])
	}
	w.attr32(unix.NDA_PROBES, 0)
	w.attr(unix.NDA_CACHEINFO, make([]byte, 16))
}

// dumpNeighbours answers a RTM_GETNEIGH with NLM_F_DUMP.
func (s *Socket) dumpNeighbours(c Caller, r *request) error {
	at, err := s.attrs(r, unix.SizeofNdMsg)
	if err != nil {
		return err
	}
	fam := r.body[0]
	if fam == unix.AF_BRIDGE {
		return s.dumpStations(r, at)
	}
	index, _, err := at.u32(unix.NDA_IFINDEX)
	if err != nil {
		return err
	}
	if r.body[ndmFlags]&unix.NTF_PROXY != 0 {
		return s.dumpNothing(c, r)
	}
	_, err = s.dumpOf(r, func(w *builder) {
		list := s.ns.IP.Neighbours()
		for i := range list {
			if n := &list[i]; wants(fam, family(n.Address)) && (index == 0 || n.Link == int32(index)) {
				w.begin(unix.RTM_NEWNEIGH, unix.NLM_F_MULTI, r.seq, s.portID())
				fillNeighbour(w, n)
				w.end()
			}
		}
	})
	return err
}

// ndmFlags is where struct ndmsg has its flags (NTF_*).
const ndmFlags = 10

// dumpStations answers bridge(8) fdb: where on bridges which Ethernet address is.
func (s *Socket) dumpStations(r *request, at *attrs) error {
	master, _, err := at.u32(unix.NDA_MASTER)
	if err != nil {
		return err
	}
	port := int32(binary.LittleEndian.Uint32(r.body[4:]))
	_, err = s.dumpOf(r, func(w *builder) {
		for _, e := range s.ns.IP.Stations() {
			if port != 0 && e.Port != port || master != 0 && e.Bridge != int32(master) {
				continue
			}
			w.begin(unix.RTM_NEWNEIGH, unix.NLM_F_MULTI, r.seq, s.portID())
			w.u8(unix.AF_BRIDGE, 0, 0, 0)
			w.u32(uint32(e.Port))
			w.u16(e.State)
			w.u8(0, 0)
			w.attr(unix.NDA_LLADDR, e.HardwareAddr[:])
			w.attr32(unix.NDA_MASTER, uint32(e.Bridge))
			w.end()
		}
	})
	return err
}

// parseNeighbour reads struct ndmsg and the address.
func (s *Socket) parseNeighbour(r *request) (n network.NeighbourInfo, at *attrs, err error) {
	fam := r.body[0]
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return n, nil, unix.EOPNOTSUPP
	}
	if at, err = s.attrs(r, unix.SizeofNdMsg); err != nil {
		return n, nil, err
	}
	n.Link, n.State = int32(binary.LittleEndian.Uint32(r.body[4:])), binary.LittleEndian.Uint16(r.body[8:])
	if n.Address, err = at.ip(unix.NDA_DST, fam); err != nil {
		return n, nil, err
	}
	if r.body[ndmFlags]&unix.NTF_PROXY != 0 {
		return n, nil, refuse(unix.EOPNOTSUPP, "Answers for others' addresses are not supported")
	}
	if n.Address == (netip.Addr{}) {
		return n, nil, refuse(unix.EINVAL, "Network address not specified")
	}
	return n, at, nil
}

// getNeighbour answers a RTM_GETNEIGH for one address.
func (s *Socket) getNeighbour(_ Caller, r *request) error {
	n, _, err := s.parseNeighbour(r)
	if err != nil {
		return err
	}
	for _, o := range s.ns.IP.Neighbours() {
		if o.Link == n.Link && o.Address == n.Address {
			s.reply(func(w *builder) {
				w.begin(unix.RTM_NEWNEIGH, 0, r.seq, s.portID())
				fillNeighbour(w, &o)
				w.end()
			})
			return nil
		}
	}
	return refuse(unix.ENOENT, "Neighbour entry not found")
}

func (s *Socket) newNeighbour(_ Caller, r *request) error {
	n, at, err := s.parseNeighbour(r)
	if err != nil {
		return err
	}
	if copy(n.HardwareAddr[:], at[unix.NDA_LLADDR]) != len(n.HardwareAddr) {
		return refuse(unix.EINVAL, "Invalid link address")
	}
	if n.State&unix.NUD_PERMANENT == 0 {
		return refuse(unix.EOPNOTSUPP, "Only permanent neighbours can be added")
	}
	known := false
	for _, o := range s.ns.IP.Neighbours() {
		known = known || o.Link == n.Link && o.Address == n.Address
	}
	switch {
	case known && r.flags&unix.NLM_F_EXCL != 0:
		return unix.EEXIST
	case !known && r.flags&unix.NLM_F_CREATE == 0:
		return unix.ENOENT
	}
	return s.ns.IP.AddNeighbour(n)
}

func (s *Socket) deleteNeighbour(_ Caller, r *request) error {
	n, _, err := s.parseNeighbour(r)
	if err != nil {
		return err
	}
	return s.ns.IP.DeleteNeighbour(n.Link, n.Address)
}
