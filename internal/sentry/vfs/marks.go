package vfs

import (
	"hash/maphash"
	"sync/atomic"
)

// marks tell of names that are not in the full cache whether they were glanced
// at or had to leave it a short while ago. A name that left and is back already
// would still be there if the cache were up to twice as large. That is how a
// tree of a few more names than it holds shows, which is gone through time and
// again: nothing of that would be found in it, as each name leaves right before
// its turn. So for each that comes back it grows by one. Who goes through a much
// larger tree does not make it grow: before anything comes back its mark is
// another's.
//
// Names may share a place, and each mark takes the place of the one before.
type marks [maxCached]atomic.Uint32

// What a mark says, in its lowest bits. 0 is nobody's mark.
const (
	markGlanced = 1 + iota
	markLeft
	markKinds = 3
)

var markSeed = maphash.MakeSeed()

// marked returns the marks of a cache that is full. s.mu is held.
func (s *super) marked() *marks {
	if s.marks.Load() == nil {
		s.marks.CompareAndSwap(nil, new(marks))
	}
	return s.marks.Load()
}

// place returns where the mark of a name in directory d is, and the mark without
// its kind.
func (m *marks) place(d *Dentry, name string) (at *atomic.Uint32, mark uint32) {
	h := maphash.Comparable(markSeed, d.id) ^ maphash.String(markSeed, name)
	return &m[h%uint64(len(m))], uint32(h>>32) &^ markKinds
}

// noted reports whether the name is marked, and marks it as glanced at if it is not.
func (m *marks) noted(d *Dentry, name string) bool {
	at, mark := m.place(d, name)
	if at.Load()&^markKinds == mark {
		return true
	}
	at.Store(mark | markGlanced)
	return false
}

// left marks a name that leaves the cache.
func (m *marks) left(d *Dentry, name string) {
	at, mark := m.place(d, name)
	at.Store(mark | markLeft)
}

// returns reports whether a name that enters the cache left it a short while ago.
func (m *marks) returns(d *Dentry, name string) bool {
	at, mark := m.place(d, name)
	return at.Load() == mark|markLeft
}
