package inet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// Sources of a group that a socket wants, or does not want: RFC 3678, ip(7). The stack joins
// groups as a whole, and here what comes is judged by where it comes from.

// The sizes of what the options carry (linux/in.h).
const (
	sizeofSourceRequest4 = 12  // struct ip_mreq_source
	sizeofSourceRequest  = 264 // struct group_source_req
	sizeofFilter4        = 16  // struct ip_msfilter, without its list
	sizeofFilter         = 144 // struct group_filter, without its list
	sizeofAddress        = 128 // struct sockaddr_storage
)

// sourceList is which of a group's sources a socket wants, or does not want.
type sourceList struct {
	address, local netip.Addr
	index          int32
	only           bool
	sources        []netip.Addr
}

// setSourceOption sets an option of groups' sources; false if it is none.
func (s *Socket) setSourceOption(level, name int32, value []byte) (bool, error) {
	var l sourceList
	var err error
	join, only, add := false, false, false
	switch name {
	case unix.IP_ADD_SOURCE_MEMBERSHIP, unix.MCAST_JOIN_SOURCE_GROUP:
		join, only, add = true, true, true
	case unix.IP_DROP_SOURCE_MEMBERSHIP, unix.MCAST_LEAVE_SOURCE_GROUP:
		only = true
	case unix.IP_BLOCK_SOURCE, unix.MCAST_BLOCK_SOURCE:
		add = true
	}
	switch {
	case level == unix.IPPROTO_IP && name >= unix.IP_UNBLOCK_SOURCE && name <= unix.IP_DROP_SOURCE_MEMBERSHIP:
		l, err = sourceRequest4(value)
	case (level == unix.IPPROTO_IP || level == unix.IPPROTO_IPV6) &&
		(name == unix.MCAST_BLOCK_SOURCE || name == unix.MCAST_UNBLOCK_SOURCE || name == unix.MCAST_JOIN_SOURCE_GROUP || name == unix.MCAST_LEAVE_SOURCE_GROUP):
		l, err = sourceRequest(level, value)
	case level == unix.IPPROTO_IP && name == unix.IP_MSFILTER:
		if l, err = sourceList4(value, s.maxSources(level)); err == nil {
			err = s.replaceSources(l)
		}
		return true, err
	case (level == unix.IPPROTO_IP || level == unix.IPPROTO_IPV6) && name == unix.MCAST_MSFILTER:
		if l, err = sourceListOf(level, value, s.maxSources(level)); err == nil {
			err = s.replaceSources(l)
		}
		return true, err
	default:
		return false, nil
	}
	if err == nil && join {
		if err = s.changeGroup(true, true, l.address, l.local, l.index); err == unix.EADDRINUSE {
			err = nil
		}
	}
	if err == nil {
		err = s.changeSource(l, only, add)
	}
	return true, err
}

// maxSources is how many sources a socket names for a group at most.
func (s *Socket) maxSources(level int32) int64 {
	if level == unix.IPPROTO_IP {
		return s.net.Number(network.MaxSources4)
	}
	return s.net.Number(network.MaxSources6)
}

// sourceRequest4 reads a struct ip_mreq_source.
func sourceRequest4(value []byte) (sourceList, error) {
	if len(value) != sizeofSourceRequest4 {
		return sourceList{}, unix.EINVAL
	}
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(value[i:])) }
	return sourceList{address: at(0), local: at(4), sources: []netip.Addr{at(8)}}, nil
}

// sourceRequest reads a struct group_source_req.
func sourceRequest(level int32, value []byte) (l sourceList, err error) {
	if len(value) < sizeofSourceRequest {
		return l, unix.EINVAL
	}
	group, ok := storedAddress(level, value[8:])
	source, ok2 := storedAddress(level, value[8+sizeofAddress:])
	if !ok || !ok2 {
		return l, unix.EADDRNOTAVAIL
	}
	return sourceList{address: group, index: int32(binary.LittleEndian.Uint32(value)), sources: []netip.Addr{source}}, nil
}

// storedAddress reads a struct sockaddr_storage, which must be of the level's family.
func storedAddress(level int32, at []byte) (netip.Addr, bool) {
	switch f := family(at); {
	case level == unix.IPPROTO_IP && f == unix.AF_INET:
		return netip.AddrFrom4([4]byte(at[4:])), true
	case level == unix.IPPROTO_IPV6 && f == unix.AF_INET6:
		return netip.AddrFrom16([16]byte(at[8:])), true
	}
	return netip.Addr{}, false
}

// filterMode reads whether sources are those wanted.
func filterMode(mode uint32) (only bool, err error) {
	if mode != unix.MCAST_INCLUDE && mode != unix.MCAST_EXCLUDE {
		return false, unix.EINVAL
	}
	return mode == unix.MCAST_INCLUDE, nil
}

// sourceList4 reads a struct ip_msfilter. ENOBUFS for more sources than most.
func sourceList4(value []byte, most int64) (l sourceList, err error) {
	if len(value) < sizeofFilter4 {
		return l, unix.EINVAL
	}
	count := int64(binary.LittleEndian.Uint32(value[12:]))
	switch {
	case count > most:
		return l, unix.ENOBUFS
	case sizeofFilter4+4*count > int64(len(value)):
		return l, unix.EINVAL
	}
	l.address, l.local = netip.AddrFrom4([4]byte(value)), netip.AddrFrom4([4]byte(value[4:]))
	for i := range count {
		l.sources = append(l.sources, netip.AddrFrom4([4]byte(value[sizeofFilter4+4*i:])))
	}
	l.only, err = filterMode(binary.LittleEndian.Uint32(value[8:]))
	return l, err
}

// sourceListOf reads a struct group_filter. ENOBUFS for more sources than most.
func sourceListOf(level int32, value []byte, most int64) (l sourceList, err error) {
	if len(value) < sizeofFilter {
		return l, unix.EINVAL
	}
	count := int64(binary.LittleEndian.Uint32(value[140:]))
	switch {
	case count > most:
		return l, unix.ENOBUFS
	case sizeofFilter+sizeofAddress*count > int64(len(value)):
		return l, unix.EINVAL
	}
	var ok bool
	if l.address, ok = storedAddress(level, value[8:]); !ok {
		return l, unix.EADDRNOTAVAIL
	}
	l.index = int32(binary.LittleEndian.Uint32(value))
	for i := range count {
		source, ok := storedAddress(level, value[sizeofFilter+sizeofAddress*i:])
		if !ok {
			return l, unix.EADDRNOTAVAIL
		}
		l.sources = append(l.sources, source)
	}
	l.only, err = filterMode(binary.LittleEndian.Uint32(value[136:]))
	return l, err
}

// joinedGroup is where the list's group is among those joined. EINVAL for what is no group,
// ENODEV without an interface, absent for a group that is not joined. s.groupMu is held.
func (s *Socket) joinedGroup(l sourceList, absent unix.Errno) (int, error) {
	if !l.address.IsMulticast() {
		return 0, unix.EINVAL
	}
	link := s.interfaceFor(l.address, l.local, l.index)
	if link == 0 {
		return 0, unix.ENODEV
	}
	i := s.member(link, l.address)
	if i < 0 {
		return 0, absent
	}
	return i, nil
}

// changeSource adds one source to those of a group that has been joined, or takes it out.
// EINVAL for a group that is not joined or whose list is of the other kind, EADDRNOTAVAIL for a
// source that is there already or is not there, ENOBUFS for too many.
func (s *Socket) changeSource(l sourceList, only, add bool) error {
	level, source := int32(unix.IPPROTO_IP), l.sources[0]
	if l.address.Is6() {
		level = unix.IPPROTO_IPV6
	}
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	i, err := s.joinedGroup(l, unix.EINVAL)
	if err != nil {
		return err
	}
	g := &s.groups[i]
	if g.only != only {
		if g.sources != nil {
			return unix.EINVAL
		}
		g.only = only
	}
	switch at := slices.Index(g.sources, source); {
	case !add && at < 0:
		err = unix.EADDRNOTAVAIL
	case !add && only && len(g.sources) == 1:
		return s.leave(i) // who wants no source any more has left
	case !add:
		g.sources = slices.Delete(g.sources, at, at+1)
	case int64(len(g.sources)) >= s.maxSources(level):
		err = unix.ENOBUFS
	case at >= 0:
		err = unix.EADDRNOTAVAIL
	default:
		g.sources = append(g.sources, source)
	}
	s.judgeSources()
	return err
}

// replaceSources gives a group that has been joined another list. EINVAL if it is not joined.
func (s *Socket) replaceSources(l sourceList) error {
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	leaves, absent := l.only && len(l.sources) == 0, unix.EINVAL
	if leaves {
		absent = unix.EADDRNOTAVAIL
	}
	i, err := s.joinedGroup(l, absent)
	switch {
	case err != nil:
		return err
	case leaves:
		return s.leave(i)
	}
	s.groups[i].only, s.groups[i].sources = l.only, l.sources
	s.judgeSources()
	return nil
}

// judgeSources has datagrams judged by their sources as long as that makes a difference.
// s.groupMu is held.
func (s *Socket) judgeSources() {
	by := slices.ContainsFunc(s.groups, func(g group) bool { return g.only || len(g.sources) > 0 })
	if s.bySource.Swap(by) != by {
		s.keepDestinations(s.ep.Load())
	}
}

// Asks implements socket.Asker: who asks for a list of sources says of which group.
func (s *Socket) Asks(level, name int32) bool {
	return s.hasLevel(level) && (level == unix.IPPROTO_IP && (name == unix.IP_MSFILTER || name == unix.MCAST_MSFILTER) ||
		level == unix.IPPROTO_IPV6 && name == unix.MCAST_MSFILTER)
}

// Answer implements socket.Asker: a group's list, as much as there is room for, and how many
// there are. EADDRNOTAVAIL for a group that is not joined.
func (s *Socket) Answer(level, name int32, value []byte) ([]byte, error) {
	head, each, modeAt := sizeofFilter, sizeofAddress, 136
	if name == unix.IP_MSFILTER {
		head, each, modeAt = sizeofFilter4, 4, 8
	}
	if len(value) < head {
		return nil, unix.EINVAL
	}
	room := binary.LittleEndian.Uint32(value[modeAt+4:])
	l := sourceList{index: int32(binary.LittleEndian.Uint32(value))}
	if name == unix.IP_MSFILTER {
		l = sourceList{address: netip.AddrFrom4([4]byte(value)), local: netip.AddrFrom4([4]byte(value[4:]))}
	} else if address, ok := storedAddress(level, value[8:]); ok {
		l.address = address
	} else {
		return nil, unix.EADDRNOTAVAIL
	}
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	i, err := s.joinedGroup(l, unix.EADDRNOTAVAIL)
	if err != nil {
		return nil, err
	}
	g := &s.groups[i]
	mode := uint32(unix.MCAST_EXCLUDE)
	if g.only {
		mode = unix.MCAST_INCLUDE
	}
	answer := slices.Clone(value[:head])
	binary.LittleEndian.PutUint32(answer[modeAt:], mode)
	binary.LittleEndian.PutUint32(answer[modeAt+4:], uint32(len(g.sources)))
	for _, source := range g.sources[:min(int64(room), int64(len(g.sources)))] {
		entry := make([]byte, each)
		switch {
		case name == unix.IP_MSFILTER:
			copy(entry, source.AsSlice())
		case source.Is4():
			binary.LittleEndian.PutUint16(entry, unix.AF_INET)
			copy(entry[4:], source.AsSlice())
		default:
			binary.LittleEndian.PutUint16(entry, unix.AF_INET6)
			copy(entry[8:], source.AsSlice())
		}
		answer = append(answer, entry...)
	}
	return answer, nil
}
