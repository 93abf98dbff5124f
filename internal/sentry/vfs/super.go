package vfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
)

// maxCached is how many dentries of one file system the cache keeps beyond
// those in use: each takes a KiB with its inodes. maxReturning is the same for
// names that come back soon after they had to leave.
const (
	maxCached    = 16384
	maxReturning = 2 * maxCached
)

// super is what vfs keeps per FileSystem: its dentries. There is one per
// FileSystem, however often that is mounted.
type super struct {
	fs          FileSystem
	revalidates Revalidator // nil if names change through vfs only
	confirms    Confirmer   // nil if it can't
	root        *Dentry

	// renameMu orders renames between two directories, so that the tree does
	// not change under the search for a loop.
	renameMu sync.Mutex

	// mu guards the shape of the tree: every dentry's name, parent, children
	// and dead, and the clock below. It is never held over a call into fs.
	mu sync.RWMutex
	// clock is a ring of all dentries but the root; hand is the next that may
	// be evicted.
	hand  *Dentry
	count int
	// limit is what count should not exceed, from maxCached to maxReturning.
	limit int
	// marks is there once the cache has been full.
	marks atomic.Pointer[marks]

	// dirs finds the directories in the cache by their inodes while there are
	// layers (watchers).
	dirs     map[Inode]*Dentry
	watchers int

	// readOnly says that nothing can be changed.
	readOnly bool
	mounts   atomic.Int64
	// owner is the user namespace whose devices and set-user-ID programs the
	// file system may hold: that of who mounted it first.
	owner atomic.Pointer[auth.UserNamespace]
}

// own makes ns the owner of a file system that has none yet.
func (s *super) own(ns *auth.UserNamespace) { s.owner.CompareAndSwap(nil, ns) }

// trusted reports whether the file system's devices may be opened: not if who
// mounted it was privileged in a user namespace only.
func (s *super) trusted() bool {
	o := s.owner.Load()
	return o == nil || o == auth.Initial
}

// supers finds the super of a FileSystem that is mounted a second time.
var supers = struct {
	sync.Mutex
	of map[FileSystem]*super
}{of: map[FileSystem]*super{}}

// superOf returns the super of fs with one more mount counted.
func superOf(fs FileSystem) (*super, error) {
	supers.Lock()
	defer supers.Unlock()
	if s := supers.of[fs]; s != nil {
		s.mounts.Add(1)
		return s, nil
	}
	s := &super{fs: fs, limit: maxCached}
	s.revalidates, _ = fs.(Revalidator)
	s.confirms, _ = fs.(Confirmer)
	if r, ok := fs.(ReadOnlyFileSystem); ok {
		s.readOnly = r.ReadOnly()
	}
	root, err := newDentry(s, nil, "", fs.Root())
	if err != nil {
		return nil, err
	}
	s.root = root
	s.mounts.Store(1)
	supers.of[fs] = s
	return s, nil
}

// unmounted drops a mount's claim; with the last one the file system goes.
func (s *super) unmounted() {
	supers.Lock()
	last := s.mounts.Add(-1) == 0
	if last {
		delete(supers.of, s.fs)
	}
	supers.Unlock()
	if !last {
		return
	}
	s.mu.Lock()
	gone := s.kill(s.root, nil)
	s.root.dead.Store(true)
	s.mu.Unlock()
	release(gone)
	s.root.DecRef()
	s.fs.Release()
}

// insert hangs a new dentry into its parent and into the clock, and appends
// to gone what had to leave the cache for it. s.mu is held for writing.
func (s *super) insert(d *Dentry, gone []*Dentry) []*Dentry {
	p := d.parent
	if p.children == nil {
		p.children = make(map[string]*Dentry)
	}
	p.children[d.name] = d
	s.link(d)
	if s.count <= s.limit {
		return gone
	}
	m := s.marked()
	if s.limit < maxReturning && m.returns(p, d.name) {
		s.limit++
	}
	// A few steps per insertion are enough to keep up, and bound the time.
	for steps := 8; s.count > s.limit && steps > 0; steps-- {
		v := s.hand
		s.hand = v.next
		if v == d || v.refs.Load() > 0 || v.used.Swap(false) {
			continue
		}
		m.left(v.parent, v.name)
		gone = s.kill(v, gone)
	}
	return gone
}

func (s *super) link(d *Dentry) {
	if s.hand == nil {
		d.next, d.prev, s.hand = d, d, d
	} else {
		d.next, d.prev = s.hand, s.hand.prev
		d.prev.next, d.next.prev = d, d
	}
	s.count++
	s.index(d)
}

func (s *super) unlink(d *Dentry) {
	if d.next == nil {
		return
	}
	s.unindex(d)
	if d.next == d {
		s.hand = nil
	} else {
		if s.hand == d {
			s.hand = d.next
		}
		d.prev.next, d.next.prev = d.next, d.prev
	}
	d.next, d.prev = nil, nil
	s.count--
}

// kill takes d out of the cache, and below it everything that nobody uses. d
// itself lives on as long as it has references; if it has none it is appended
// to gone, for release once s.mu is given up. s.mu is held for writing.
func (s *super) kill(d *Dentry, gone []*Dentry) []*Dentry {
	for _, child := range d.children {
		if child.refs.Load() == 0 || child.refs.Load() == int64(len(child.children)) {
			gone = s.kill(child, gone)
		}
	}
	if d.parent != nil && !d.dead.Load() {
		if d.parent.children[d.name] == d {
			delete(d.parent.children, d.name)
		}
		s.unlink(d)
		d.dead.Store(true)
		if d.refs.Load() == 0 && d.released.CompareAndSwap(false, true) {
			gone = append(gone, d)
		}
	}
	return gone
}

// release lets go of dentries that kill found unused.
func release(gone []*Dentry) {
	for _, d := range gone {
		d.finish()
	}
}
