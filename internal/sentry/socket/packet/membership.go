package packet

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// membership is a struct packet_mreq that was joined, and how often.
type membership struct {
	index int32
	typ   uint16
	addr  []byte
	count int
}

// maxMemberships is how many different ones a socket may have.
const maxMemberships = 64

// changeMembership is PACKET_ADD_MEMBERSHIP and PACKET_DROP_MEMBERSHIP. ENODEV without
// the interface; dropping what was not joined does nothing.
func (s *Socket) changeMembership(add bool, value []byte) error {
	const sizeofRequest = 16
	if len(value) < sizeofRequest {
		return unix.EINVAL
	}
	n := int(binary.LittleEndian.Uint16(value[6:]))
	if n > 8 {
		return unix.EINVAL
	}
	m := membership{
		index: int32(binary.LittleEndian.Uint32(value)), typ: binary.LittleEndian.Uint16(value[4:]),
		addr: bytes.Clone(value[8 : 8+n]), count: 1,
	}
	s.bindMu.Lock()
	defer s.bindMu.Unlock()
	at := -1
	for i, have := range s.memberships {
		if have.index == m.index && have.typ == m.typ && bytes.Equal(have.addr, m.addr) {
			at = i
		}
	}
	if !add {
		if at < 0 {
			return nil
		}
		if s.memberships[at].count--; s.memberships[at].count == 0 {
			s.apply(m, false)
			s.memberships = append(s.memberships[:at], s.memberships[at+1:]...)
		}
		return nil
	}
	l, ok := s.ns.LinkByIndex(m.index)
	switch {
	case !ok:
		return unix.ENODEV
	case n > len(l.HardwareAddr), n < l.AddressLen() && (m.typ == unix.PACKET_MR_MULTICAST || m.typ == unix.PACKET_MR_UNICAST):
		return unix.EINVAL
	case at >= 0:
		s.memberships[at].count++
		return nil
	case len(s.memberships) >= maxMemberships:
		return unix.ENOBUFS
	}
	s.apply(m, true)
	s.memberships = append(s.memberships, m)
	return nil
}

// apply changes the interface as a membership asks for. Frames of all groups come
// in anyway; only those for other stations need more.
func (s *Socket) apply(m membership, on bool) {
	if m.typ == unix.PACKET_MR_PROMISC {
		s.ns.Promiscuous(m.index, on) // the interface may be gone
	}
}

// leaveAll drops all memberships of a socket that is closed.
func (s *Socket) leaveAll() {
	for _, m := range s.memberships {
		s.apply(m, false)
	}
	s.memberships = nil
}
