package mm

// node makes a vma a node of a treap: a search tree by address that is also a
// heap by random priority, so that its expected depth is logarithmic whatever
// the guest does. Each node knows the extent of its subtree and the largest
// hole in it, so that a free range is found in logarithmic time too.
type node struct {
	left, right *vma
	prio        uint64
	lo, hi      uint64 // extent of the subtree; lo with the first mapping's guard gap
	gap         uint64 // largest hole between two mappings of the subtree
}

// vmaSet is an ordered set of mappings that do not overlap. The zero value is
// empty.
type vmaSet struct {
	root *vma
	n    int
	seed uint64
}

// len returns the number of mappings.
func (s *vmaSet) len() int { return s.n }

// stackGuard is how much is kept free below a mapping that grows down, as
// Linux's stack_guard_gap.
const stackGuard = 256 * PageSize

// guardStart is where a mapping begins for others that look for room.
func (v *vma) guardStart() uint64 {
	if v.flags&flagGrowsDown != 0 {
		return v.start - min(v.start, stackGuard)
	}
	return v.start
}

// sub is a-b, or 0 if that is negative.
func sub(a, b uint64) uint64 { return a - min(a, b) }

// refresh works out what v knows of its subtree from its children.
func (v *vma) refresh() {
	v.lo, v.hi, v.gap = v.guardStart(), v.end, 0
	if l := v.left; l != nil {
		v.gap = max(l.gap, sub(v.lo, l.hi))
		v.lo = l.lo
	}
	if r := v.right; r != nil {
		v.gap = max(v.gap, r.gap, sub(r.lo, v.end))
		v.hi = r.hi
	}
}

// random returns the next priority (xorshift64*).
func (s *vmaSet) random() uint64 {
	if s.seed == 0 {
		s.seed = randomUint64() | 1
	}
	s.seed ^= s.seed >> 12
	s.seed ^= s.seed << 25
	s.seed ^= s.seed >> 27
	return s.seed * 0x2545f4914f6cdd1d
}

// split divides t into the mappings that start below addr and the others.
func split(t *vma, addr uint64) (l, r *vma) {
	if t == nil {
		return nil, nil
	}
	if t.start < addr {
		t.right, r = split(t.right, addr)
		t.refresh()
		return t, r
	}
	l, t.left = split(t.left, addr)
	t.refresh()
	return l, t
}

// join is split's opposite: all of l lies below all of r.
func join(l, r *vma) *vma {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.prio > r.prio:
		l.right = join(l.right, r)
		l.refresh()
		return l
	default:
		r.left = join(l, r.left)
		r.refresh()
		return r
	}
}

// insert adds v, which must not overlap any other.
func (s *vmaSet) insert(v *vma) {
	v.node = node{prio: s.random()}
	v.refresh()
	s.root = insert(s.root, v)
	s.n++
}

func insert(t, v *vma) *vma {
	if t == nil {
		return v
	}
	if v.prio > t.prio {
		v.left, v.right = split(t, v.start)
		v.refresh()
		return v
	}
	if v.start < t.start {
		t.left = insert(t.left, v)
	} else {
		t.right = insert(t.right, v)
	}
	t.refresh()
	return t
}

// remove takes v out. It leads to no others then: its memory may stay as long as that of
// others does, with which it was copied.
func (s *vmaSet) remove(v *vma) {
	s.root = remove(s.root, v)
	s.n--
	v.node = node{}
}

func remove(t, v *vma) *vma {
	if t == v {
		return join(t.left, t.right)
	}
	if v.start < t.start {
		t.left = remove(t.left, v)
	} else {
		t.right = remove(t.right, v)
	}
	t.refresh()
	return t
}

// resize changes v's ends; its place in the order must stay.
func (s *vmaSet) resize(v *vma, start, end uint64) {
	old := v.start
	v.start, v.end = start, end
	refreshPath(s.root, v, old)
}

func refreshPath(t, v *vma, old uint64) {
	if t != v {
		if old < t.start {
			refreshPath(t.left, v, old)
		} else {
			refreshPath(t.right, v, old)
		}
	}
	t.refresh()
}

// find returns the mapping that contains addr, or nil.
func (s *vmaSet) find(addr uint64) *vma {
	if v := s.above(addr); v != nil && v.start <= addr {
		return v
	}
	return nil
}

// above returns the first mapping that ends above addr: the one that contains
// it, else the next; or nil.
func (s *vmaSet) above(addr uint64) *vma {
	var best *vma
	for t := s.root; t != nil; {
		if t.end > addr {
			best, t = t, t.left
		} else {
			t = t.right
		}
	}
	return best
}

// below returns the last mapping that starts below addr, or nil.
func (s *vmaSet) below(addr uint64) *vma {
	var best *vma
	for t := s.root; t != nil; {
		if t.start < addr {
			best, t = t, t.right
		} else {
			t = t.left
		}
	}
	return best
}

// ascend calls f for each mapping that meets [lo, hi), in order, until f
// returns false. f must not change the set.
func (s *vmaSet) ascend(lo, hi uint64, f func(*vma) bool) { ascend(s.root, lo, hi, f) }

func ascend(t *vma, lo, hi uint64, f func(*vma) bool) bool {
	for t != nil {
		if t.end <= lo {
			t = t.right
			continue
		}
		if !ascend(t.left, lo, hi, f) {
			return false
		}
		if t.start >= hi {
			return true
		}
		if !f(t) {
			return false
		}
		t = t.right
	}
	return true
}

// free reports whether no mapping, and no guard gap of the next one, meets
// [lo, hi).
func (s *vmaSet) free(lo, hi uint64) bool {
	v := s.above(lo)
	return v == nil || v.guardStart() >= hi
}

// highestHole returns the highest multiple of align at which size bytes are
// free within [lo, hi).
func (s *vmaSet) highestHole(lo, hi, size, align uint64) (uint64, bool) {
	return highestHole(s.root, lo, hi, hi, size, align)
}

// highestHole searches a subtree and the holes at its sides; next is where the
// mapping after it begins, with its guard gap.
func highestHole(t *vma, lo, hi, next, size, align uint64) (uint64, bool) {
	if sub(hi, lo) < size {
		return 0, false
	}
	if t == nil {
		hi = min(hi, next)
		if sub(hi, lo) < size {
			return 0, false
		}
		addr := (hi - size) &^ (align - 1)
		return addr, addr >= lo
	}
	if max(t.gap, sub(t.lo, lo), sub(min(hi, next), t.hi)) < size {
		return 0, false
	}
	if addr, ok := highestHole(t.right, max(lo, t.end), hi, next, size, align); ok {
		return addr, true
	}
	return highestHole(t.left, lo, min(hi, t.start), t.guardStart(), size, align)
}

// lowestHole returns the lowest such multiple of align.
func (s *vmaSet) lowestHole(lo, hi, size, align uint64) (uint64, bool) {
	return lowestHole(s.root, lo, hi, hi, size, align)
}

func lowestHole(t *vma, lo, hi, next, size, align uint64) (uint64, bool) {
	if sub(hi, lo) < size {
		return 0, false
	}
	if t == nil {
		hi = min(hi, next)
		addr := (lo + align - 1) &^ (align - 1)
		return addr, addr >= lo && addr <= hi && hi-addr >= size
	}
	if max(t.gap, sub(t.lo, lo), sub(min(hi, next), t.hi)) < size {
		return 0, false
	}
	if addr, ok := lowestHole(t.left, lo, min(hi, t.start), t.guardStart(), size, align); ok {
		return addr, true
	}
	return lowestHole(t.right, max(lo, t.end), hi, next, size, align)
}
