package vfs

import (
	"hash/maphash"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Who walks through a large tree, as find(1) does, asks for each of more names
// than the cache holds, and for each once. Entered into the cache they would put
// out what others come back to, and cost more than the question itself. So once
// the cache is full, stat(2) only glances at a name that is not in it, unless
// the name was glanced at a short while ago: that one is worth its place.

// Glancer is implemented by an Inode of a directory that can tell of a name
// without making an Inode.
type Glancer interface {
	// Glance returns what Attr of the Inode that name leads to would; ENOENT if
	// there is none. ok is false if only Lookup can tell.
	Glance(name string) (a Attr, ok bool, err error)
}

// glances holds marks of the names that were glanced at last. Names may share a
// place: then one of them is glanced at once more, or entered at once.
type glances [1 << 14]atomic.Uint32

var glanceSeed = maphash.MakeSeed()

// noted reports whether the name in directory d is marked, and marks it.
func (g *glances) noted(d *Dentry, name string) bool {
	h := maphash.Comparable(glanceSeed, d.id) ^ maphash.String(glanceSeed, name)
	mark := uint32(h>>32) | 1 // 0 is nobody's
	return g[h%uint64(len(g))].Swap(mark) == mark
}

// passing reports whether a name that is not in the cache should not be entered.
// s.mu is held.
func (s *super) passing(d *Dentry, name string) bool {
	if s.count < maxCached {
		return false
	}
	g := s.glances.Load()
	if g == nil {
		s.glances.CompareAndSwap(nil, new(glances))
		g = s.glances.Load()
	}
	return !g.noted(d, name)
}

// glance is enter for the last name of a path of which only the attributes are
// wanted. done says that it is answered: told is set, and the position is still
// the directory. Otherwise the position is locked, as it was before.
func (w *walk) glance(name string, wantLink bool) (done bool, err error) {
	if !w.wantAttr || w.rest != "" || w.d.children[name] != nil {
		return false, nil
	}
	g, ok := w.d.inode.(Glancer)
	if !ok || !w.super.passing(w.d, name) {
		return false, nil
	}
	w.settle()
	rlock(w.c, &w.d.ops)
	if ok = !w.d.unlinked.Load(); ok {
		w.attr, ok, err = g.Glance(name)
	}
	w.d.ops.RUnlock()
	if ok && err == nil {
		kind := w.attr.Mode & unix.S_IFMT
		ok = kind == unix.S_IFDIR || !w.dir && w.flags&WantDirectory == 0 && !(wantLink && kind == unix.S_IFLNK)
		w.told = ok
	}
	if !ok {
		w.lock()
		return false, nil
	}
	return true, err
}
