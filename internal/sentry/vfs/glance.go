package vfs

import "golang.org/x/sys/unix"

// Who walks through a large tree, as find(1) does, asks for each of more names
// than the cache holds, and for each once. Entered into the cache they would put
// out what others come back to, and cost more than the question itself. So once
// the cache is full, stat(2) only glances at a name that is not in it, unless
// the name was glanced at, or left the cache, a short while ago: that one is worth
// its place.

// Glancer is implemented by an Inode of a directory that can tell of a name
// without making an Inode.
type Glancer interface {
	// Glance returns what Attr of the Inode that name leads to would; ENOENT if
	// there is none. ok is false if only Lookup can tell.
	Glance(name string) (a Attr, ok bool, err error)
}

// passing reports whether a name that is not in the cache should not be entered.
// s.mu is held.
func (s *super) passing(d *Dentry, name string) bool {
	return s.count >= s.limit && !s.marked().noted(d, name)
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
