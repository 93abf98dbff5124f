package auth

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxExtents is how many lines a map may have (user_namespaces(7)).
const maxExtents = 340

// IDMap translates between the IDs of a namespace and those of the sentry. A
// nil map translates nothing. It does not change.
type IDMap struct {
	// extents are in the order in which they were written.
	extents []extent
}

// extent maps count IDs: from first in the namespace, from lower in its
// parent, from kernel as the sentry keeps them.
type extent struct{ first, lower, kernel, count uint32 }

// down translates an ID of the namespace into one of the sentry's.
func (m *IDMap) down(id uint32) (uint32, bool) {
	if m == nil {
		return 0, false
	}
	for i := range m.extents {
		if e := &m.extents[i]; id >= e.first && id-e.first < e.count {
			return e.kernel + (id - e.first), true
		}
	}
	return 0, false
}

// downRange translates count IDs that must all be mapped side by side.
func (m *IDMap) downRange(id, count uint32) (uint32, bool) {
	if m == nil {
		return 0, false
	}
	for i := range m.extents {
		if e := &m.extents[i]; id >= e.first && id-e.first < e.count && e.count-(id-e.first) >= count {
			return e.kernel + (id - e.first), true
		}
	}
	return 0, false
}

// up translates an ID of the sentry's into one of the namespace.
func (m *IDMap) up(id uint32) (uint32, bool) {
	if m == nil {
		return 0, false
	}
	for i := range m.extents {
		if e := &m.extents[i]; id >= e.kernel && id-e.kernel < e.count {
			return e.first + (id - e.kernel), true
		}
	}
	return 0, false
}

// parseIDMap parses what is written to /proc/PID/uid_map: lines of three
// numbers, up to a NUL. EINVAL for anything else, and for ranges that overlap or
// wrap.
func parseIDMap(data string) ([]extent, error) {
	data, _, _ = strings.Cut(data, "\x00")
	var out []extent
	for line := range strings.SplitSeq(strings.TrimSuffix(data, "\n"), "\n") {
		f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\v' || r == '\f' || r == '\r' })
		if len(f) != 3 || len(out) == maxExtents {
			return nil, unix.EINVAL
		}
		var n [3]uint32
		for i, s := range f {
			v, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return nil, unix.EINVAL
			}
			n[i] = uint32(v)
		}
		e := extent{first: n[0], lower: n[1], count: n[2]}
		if e.first == NoID || e.lower == NoID || e.count == 0 ||
			e.first+e.count <= e.first || e.lower+e.count <= e.lower {
			return nil, unix.EINVAL
		}
		out = append(out, e)
	}
	if overlap(out, func(e extent) uint32 { return e.first }) || overlap(out, func(e extent) uint32 { return e.lower }) {
		return nil, unix.EINVAL
	}
	return out, nil
}

// overlap reports whether two of the ranges have an ID in common.
func overlap(list []extent, start func(extent) uint32) bool {
	s := slices.Clone(list)
	slices.SortFunc(s, func(a, b extent) int { return cmp.Compare(start(a), start(b)) })
	for i := 1; i < len(s); i++ {
		if start(s[i])-start(s[i-1]) < s[i-1].count {
			return true
		}
	}
	return false
}

// SetMap writes a map of ns, as /proc/PID/uid_map and its like do, once.
// writer writes, opener opened the file. EPERM for what
// user_namespaces(7), "Defining user and group ID mappings", does not allow.
func (ns *UserNamespace) SetMap(kind IDKind, writer, opener *Credentials, data string) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.parent == nil || ns.maps[kind].Load() != nil {
		return unix.EPERM
	}
	if opener.UserNS != ns && opener.UserNS != ns.parent {
		return unix.EPERM
	}
	if kind != ProjectID && !opener.CanIn(ns, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	list, err := parseIDMap(data)
	if err != nil {
		return err
	}
	if !ns.mayMap(kind, list, writer, opener) {
		return unix.EPERM
	}
	above := ns.parent.maps[kind].Load()
	for i := range list {
		e := &list[i]
		var ok bool
		if e.kernel, ok = above.downRange(e.lower, e.count); !ok {
			return unix.EPERM
		}
	}
	ns.maps[kind].Store(&IDMap{list})
	return nil
}

// mayMap decides whether the map may be what was parsed. ns.mu is held.
func (ns *UserNamespace) mayMap(kind IDKind, list []extent, writer, opener *Credentials) bool {
	if kind == UserID {
		for _, e := range list {
			if e.lower != 0 {
				continue
			}
			// File capabilities that the namespace's root writes count for the
			// parent's root too.
			if opener.UserNS == ns && !ns.madeWithSetfcap ||
				opener.UserNS != ns && !opener.CanIn(ns.parent, unix.CAP_SETFCAP) {
				return false
			}
		}
	}
	if len(list) == 1 && list[0].count == 1 && ns.owner == opener.EUID {
		switch id := list[0].lower; kind {
		case UserID:
			if ns.parent.ToUID(id) == opener.EUID {
				return true
			}
		case GroupID:
			if ns.noGroups && ns.parent.ToGID(id) == opener.EGID {
				return true
			}
		}
	}
	var capability int
	switch kind {
	case UserID:
		capability = unix.CAP_SETUID
	case GroupID:
		capability = unix.CAP_SETGID
	default:
		return true
	}
	return writer.CanIn(ns.parent, capability) && opener.CanIn(ns.parent, capability)
}

// AppendMap renders a map as /proc/PID/uid_map shows it to a reader in viewer.
func (ns *UserNamespace) AppendMap(b []byte, kind IDKind, viewer *UserNamespace) []byte {
	m := ns.maps[kind].Load()
	if m == nil {
		return b
	}
	// A reader in the namespace itself is shown the parent's IDs.
	if viewer == ns && ns.parent != nil {
		viewer = ns.parent
	}
	for _, e := range m.extents {
		lower, ok := viewer.maps[kind].Load().up(e.kernel)
		if !ok {
			lower = NoID
		}
		for i, n := range [3]uint32{e.first, lower, e.count} {
			if i > 0 {
				b = append(b, ' ')
			}
			s := strconv.FormatUint(uint64(n), 10)
			for range 10 - len(s) {
				b = append(b, ' ')
			}
			b = append(b, s...)
		}
		b = append(b, '\n')
	}
	return b
}
