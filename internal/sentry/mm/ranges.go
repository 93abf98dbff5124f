package mm

import (
	"golang.org/x/sys/unix"
)

// This file changes the set of mappings; mu is held, and tree around changes.
// It does not touch the host.

// count adds (sign 1) or takes off (sign -1) n bytes of a mapping like v.
func (m *MemoryManager) count(v *vma, n uint64, sign int64) {
	if v.flags&flagHidden != 0 {
		return
	}
	d := uint64(sign) * n
	m.sums.Size += d
	if v.isData() {
		m.sums.Data += d
	}
	if v.isStack() {
		m.sums.Stack += d
	}
	if v.flags&flagShared != 0 {
		m.sums.Shared += d
	}
	if v.prot&unix.PROT_EXEC != 0 && v.file != nil && v.prot&unix.PROT_WRITE == 0 {
		m.sums.Code += d
	}
	if v.flags&flagLocked != 0 {
		m.sums.Locked += d
	}
	m.sums.Peak = max(m.sums.Peak, m.sums.Size)
}

// add enters v, whose range must be free, and merges it with its neighbours.
// The set takes over v's references.
func (m *MemoryManager) add(v *vma) {
	m.alter()
	defer m.tree.Unlock()
	m.count(v, v.end-v.start, 1)
	if p := m.vmas.below(v.start); p != nil && p.continues(v) {
		m.unref(v)
		if n := m.vmas.above(v.end); n != nil && n.start == v.end && v.continues(n) {
			m.vmas.remove(n)
			m.unref(n)
			v.end = n.end
		}
		m.vmas.resize(p, p.start, v.end)
		return
	}
	if n := m.vmas.above(v.end); n != nil && v.continues(n) {
		m.unref(v)
		n.offset = v.offset
		m.vmas.resize(n, v.start, n.end)
		return
	}
	m.vmas.insert(v)
}

// unref gives up what v refers to.
func (m *MemoryManager) unref(v *vma) {
	m.drop(v.file)
	v.shm.decRef()
}

// splitAt makes addr a boundary between mappings.
func (m *MemoryManager) splitAt(addr uint64) {
	v := m.vmas.find(addr)
	if v == nil || v.start == addr {
		return
	}
	r := v.clone()
	r.start = addr
	if !v.anonymous() {
		r.offset += addr - v.start
	}
	m.vmas.resize(v, v.start, addr)
	m.vmas.insert(r)
}

// mergeAt joins the mappings that meet at addr, if they are alike.
func (m *MemoryManager) mergeAt(addr uint64) {
	v := m.vmas.find(addr)
	if v == nil || v.start != addr {
		return
	}
	if p := m.vmas.below(addr); p != nil && p.continues(v) {
		m.vmas.remove(v)
		m.unref(v)
		m.vmas.resize(p, p.start, v.end)
	}
}

// inRange returns the mappings that meet [start, end), without those of the
// platform.
func (m *MemoryManager) inRange(start, end uint64) []*vma {
	var out []*vma
	m.vmas.ascend(start, end, func(v *vma) bool {
		if !v.platforms() {
			out = append(out, v)
		}
		return true
	})
	return out
}

// removeRange takes everything but the platform's mappings out of
// [start, end).
func (m *MemoryManager) removeRange(start, end uint64) {
	if v := m.vmas.above(start); v == nil || v.start >= end {
		return
	}
	m.alter()
	defer m.tree.Unlock()
	if v := m.vmas.above(start); v.start >= start && v.end <= end && !v.platforms() {
		// Most often the range is one whole mapping.
		if n := m.vmas.above(v.end); n == nil || n.start >= end {
			m.forget(v)
			return
		}
	}
	m.splitAt(start)
	m.splitAt(end)
	for _, v := range m.inRange(start, end) {
		m.forget(v)
	}
}

// forget takes one mapping out; tree is held.
func (m *MemoryManager) forget(v *vma) {
	m.vmas.remove(v)
	m.count(v, v.end-v.start, -1)
	m.unref(v)
}

// change applies f to all mappings within [start, end), which are split at the
// edges first and merged afterwards.
func (m *MemoryManager) change(start, end uint64, f func(*vma)) {
	m.alter()
	defer m.tree.Unlock()
	m.splitAt(start)
	m.splitAt(end)
	in := m.inRange(start, end)
	for _, v := range in {
		m.count(v, v.end-v.start, -1)
		f(v)
		m.count(v, v.end-v.start, 1)
	}
	for _, v := range in {
		m.mergeAt(v.start)
	}
	m.mergeAt(end)
}

// splits is how many mappings more [start, end) makes when its edges become
// boundaries.
func (m *MemoryManager) splits(start, end uint64) int {
	n := 0
	for _, a := range [...]uint64{start, end} {
		if v := m.vmas.find(a); v != nil && v.start != a {
			n++
		}
	}
	return n
}

// covered reports whether [start, end) is mapped without holes, by mappings of
// the guest's.
func (m *MemoryManager) covered(start, end uint64) bool {
	at := start
	m.vmas.ascend(start, end, func(v *vma) bool {
		if v.start > at || v.flags&flagHidden != 0 {
			return false
		}
		at = v.end
		return true
	})
	return at >= end
}

// mapped returns how many bytes of [start, end) are mapped.
func (m *MemoryManager) mapped(start, end uint64) uint64 {
	var n uint64
	m.vmas.ascend(start, end, func(v *vma) bool {
		n += min(v.end, end) - max(v.start, start)
		return true
	})
	return n
}

// meetsHidden reports whether the platform keeps something in the range.
func (m *MemoryManager) meetsHidden(start, end uint64) (yes bool) {
	m.vmas.ascend(start, end, func(v *vma) bool {
		yes = v.platforms()
		return !yes
	})
	return yes
}
