package vfs

import "golang.org/x/sys/unix"

// Layer is a directory of a file system that another file system is built upon, as
// an overlay is. The other one works on inodes; so that what the cache holds of
// names stays right for those who come by path, it tells of what it changes.
type Layer struct {
	super *super
	root  Inode
}

// Layer claims the directory at p and its file system: that stays, whether or not
// it is mounted any more, until Release. ENOTDIR of what is no directory.
func (p Path) Layer() (*Layer, error) {
	if !p.IsDir() {
		return nil, unix.ENOTDIR
	}
	s, err := superOf(p.Mount.FileSystem())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.watchers++; s.watchers == 1 {
		s.dirs = map[Inode]*Dentry{s.root.inode: s.root}
		for d := s.hand; d != nil; {
			s.index(d)
			if d = d.next; d == s.hand {
				break
			}
		}
	}
	s.mu.Unlock()
	return &Layer{s, p.Inode()}, nil
}

// Root is the directory.
func (l *Layer) Root() Inode { return l.root }

// FileSystem is that of the directory.
func (l *Layer) FileSystem() FileSystem { return l.super.fs }

// Changed says that what a name in a directory leads to has changed.
func (l *Layer) Changed(dir Inode, name string) {
	// The cache may be asked for what it holds until that has left.
	BeginChange()
	defer EndChange()
	s := l.super
	s.mu.RLock()
	d := s.dirs[dir]
	if d != nil {
		d.IncRef()
	}
	s.mu.RUnlock()
	if d == nil {
		return // so it holds nothing of what is in the directory
	}
	defer d.DecRef()
	// Who has looked the name up before the change has it in the cache by now.
	d.ops.Lock()
	defer d.ops.Unlock()
	s.mu.Lock()
	var gone []*Dentry
	if c := d.children[name]; c != nil && c.mounted.Load() == 0 {
		gone = s.kill(c, gone)
	}
	s.mu.Unlock()
	release(gone)
}

// Release gives the claim up.
func (l *Layer) Release() {
	l.super.mu.Lock()
	if l.super.watchers--; l.super.watchers == 0 {
		l.super.dirs = nil
	}
	l.super.mu.Unlock()
	l.super.unmounted()
}

// index notes a directory that has come into the cache, and forgets one that has
// left it, for as long as there are layers. s.mu is held for writing.
func (s *super) index(d *Dentry) {
	if s.dirs != nil && d.isDir() {
		s.dirs[d.inode] = d
	}
}

func (s *super) unindex(d *Dentry) {
	if s.dirs != nil && d.isDir() && s.dirs[d.inode] == d {
		delete(s.dirs, d.inode)
	}
}

// Within reports whether p lies below top in the same file system, or is it.
func (p Path) Within(top Path) bool {
	return p.Dentry.super == top.Dentry.super && p.Dentry.under(top.Dentry)
}

// ReadOnlyFileSystem is implemented by a FileSystem that may be of a kind that
// nothing can be changed in, however it is mounted.
type ReadOnlyFileSystem interface{ ReadOnly() bool }
