package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Dentry is a name in the tree of one file system, and the inode that the
// name leads to. A dentry without an inode says that the name does not exist;
// such ones never leave the cache.
//
// A dentry is counted while a Path holds it, and while it has children. What
// is not in use stays cached until its turn to be evicted comes.
type Dentry struct {
	super *super
	inode Inode
	// kind is the inode's file type (unix.S_IFMT), 0 without an inode. The
	// type of an object never changes.
	kind uint32
	// id orders directories of which neither lies within the other.
	id uint64

	refs atomic.Int64
	// used says that the walk came by since the clock's hand did.
	used atomic.Bool
	// mounted counts the mounts whose mount point this is.
	mounted atomic.Int32
	// dead says that the dentry has left the cache: its name was removed or
	// is no longer trusted. released says that the last reference is gone too.
	dead, released atomic.Bool
	// unlinked says that the name was removed, or that there never was one.
	unlinked atomic.Bool
	// linkable says that a file without a link may get one (O_TMPFILE).
	linkable atomic.Bool

	// Guarded by super.mu.
	name     string
	parent   *Dentry // nil for the root
	children map[string]*Dentry
	next     *Dentry // the clock's ring
	prev     *Dentry

	// ops orders what changes or reads the file system's own directory: held
	// for reading over a Lookup, for writing over a change.
	ops sync.RWMutex
}

var lastDentry atomic.Uint64

// newDentry makes a dentry with no references; parent, if any, gains one.
// ino may be nil.
func newDentry(s *super, parent *Dentry, name string, ino Inode) (*Dentry, error) {
	d := &Dentry{super: s, parent: parent, name: name, inode: ino, id: lastDentry.Add(1)}
	if ino != nil {
		kind, err := kindOf(ino)
		if err != nil {
			return nil, err
		}
		d.kind = kind
		if r, ok := ino.(Referenced); ok {
			r.IncRef()
		}
	}
	if parent != nil {
		parent.refs.Add(1)
	} else {
		d.refs.Add(1)
	}
	return d, nil
}

func kindOf(ino Inode) (uint32, error) {
	if p, ok := ino.(Permissioner); ok {
		mode, _, _ := p.Permissions()
		return mode & unix.S_IFMT, nil
	}
	a, err := ino.Attr()
	return a.Mode & unix.S_IFMT, err
}

// Inode is what the name leads to.
func (d *Dentry) Inode() Inode { return d.inode }

// isDir reports whether the dentry is a directory.
func (d *Dentry) isDir() bool { return d.kind == unix.S_IFDIR }

// IncRef takes a reference; the caller has one, or holds super.mu and knows
// that the dentry is in the cache.
func (d *Dentry) IncRef() { d.refs.Add(1) }

// DecRef drops a reference.
func (d *Dentry) DecRef() {
	if n := d.refs.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("vfs: dentry released twice")
	}
	// A dentry that died while it was in use goes with its last user. One
	// that dies after this test is seen unused by the one that kills it.
	if d.dead.Load() && d.refs.Load() == 0 && d.released.CompareAndSwap(false, true) {
		d.finish()
	}
}

// finish lets go of the inode and of the parent. No lock is held.
func (d *Dentry) finish() {
	if r, ok := d.inode.(Referenced); ok {
		r.DecRef()
	}
	d.super.mu.RLock()
	p := d.parent
	d.super.mu.RUnlock()
	if p != nil {
		p.DecRef()
	}
}

// find returns what the cache holds for a name: a dentry, maybe without an
// inode, or nil if nothing is known. d.super.mu is held.
func (d *Dentry) find(name string) *Dentry {
	child := d.children[name]
	if child != nil && !child.used.Load() {
		child.used.Store(true)
	}
	return child
}

// child returns the dentry of a name in directory d with a reference, from
// the cache or from the file system; ENOENT if the name does not exist. d.ops
// is held, for reading at least.
func (d *Dentry) child(by Caller, name string) (*Dentry, error) {
	s := d.super
	s.mu.RLock()
	c := d.find(name)
	if c != nil {
		c.IncRef()
	}
	s.mu.RUnlock()
	if c != nil && c.valid(by, d) {
		if c.inode == nil {
			c.DecRef()
			return nil, unix.ENOENT
		}
		return c, nil
	}
	if c != nil {
		c.forget()
		c.DecRef()
	}
	if d.unlinked.Load() {
		return nil, unix.ENOENT
	}
	ino, err := InodeFor(by, d.inode).Lookup(name)
	if err == unix.ENOENT {
		ino = nil
	} else if err != nil {
		return nil, err
	}
	return d.add(name, ino)
}

// valid asks a file system whose names change by themselves whether the cache
// is still right about c, a child of d.
func (c *Dentry) valid(by Caller, d *Dentry) bool {
	r := d.super.revalidates
	return r == nil || c.mounted.Load() > 0 || r.Revalidate(InodeFor(by, d.inode), c.name, c.inode)
}

// forget takes d out of the cache because it is no longer right.
func (d *Dentry) forget() {
	s := d.super
	s.mu.Lock()
	gone := s.kill(d, nil)
	s.mu.Unlock()
	release(gone)
}

// add enters what a name leads to into the cache (nil: to nothing) and
// returns it with a reference, or ENOENT for nothing. If another thread was
// faster its dentry is taken. d.ops is held.
func (d *Dentry) add(name string, ino Inode) (*Dentry, error) {
	s := d.super
	c, err := newDentry(s, d, name, ino)
	if err != nil {
		return nil, err
	}
	c.IncRef()
	var gone []*Dentry
	s.mu.Lock()
	if old := d.children[name]; old != nil && (old.inode != nil) == (ino != nil) {
		old.IncRef()
		c.dead.Store(true)
		s.mu.Unlock()
		c.DecRef()
		c = old
	} else {
		if old != nil {
			gone = s.kill(old, gone)
		}
		gone = s.insert(c, gone)
		s.mu.Unlock()
	}
	release(gone)
	if c.inode == nil {
		c.DecRef()
		return nil, unix.ENOENT
	}
	return c, nil
}

// addNameless returns a dentry with a reference for an inode that has no name
// (O_TMPFILE); it dies with its last reference.
func (d *Dentry) addNameless(name string, ino Inode) (*Dentry, error) {
	c, err := newDentry(d.super, d, name, ino)
	if err != nil {
		return nil, err
	}
	c.IncRef()
	c.dead.Store(true)
	c.unlinked.Store(true)
	return c, nil
}

// removed takes d, whose name the file system has removed, out of the cache.
func (d *Dentry) removed() {
	d.unlinked.Store(true)
	d.forget()
}

// within reports whether d is top or lies below it. d.super.mu is held.
func (d *Dentry) within(top *Dentry) bool {
	for ; d != nil; d = d.parent {
		if d == top {
			return true
		}
	}
	return false
}
