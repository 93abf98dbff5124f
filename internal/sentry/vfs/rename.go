package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// lastCookie numbers renames for inotify(7).
var lastCookie atomic.Uint32

// RenameAt renames old to new, as renameat2(2).
func (ns *MountNamespace) RenameAt(c Caller, o Origin, old string, no Origin, new string, flags uint32) error {
	const known = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT
	if flags&^known != 0 || flags&unix.RENAME_EXCHANGE != 0 && flags&^unix.RENAME_EXCHANGE != 0 {
		return unix.EINVAL
	}
	if flags&unix.RENAME_WHITEOUT != 0 && !c.Credentials().Can(unix.CAP_MKNOD) {
		return unix.EPERM
	}
	from, err := ns.parentOf(c, o, old)
	if err != nil {
		return err
	}
	defer from.release()
	to, err := ns.parentOf(c, no, new)
	if err != nil {
		return err
	}
	defer to.release()
	switch {
	case from.dir.Mount != to.dir.Mount:
		return unix.EXDEV
	case from.itself():
		return unix.EBUSY
	case to.itself() && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case to.itself():
		return unix.EBUSY
	}
	unlock := lockPair(c, from.dir.Dentry, to.dir.Dentry)
	r, err := ns.rename(c, from, to, flags)
	unlock()
	if err == nil && !r.same {
		if r.target != nil && flags&unix.RENAME_EXCHANGE == 0 {
			r.target.detachAll()
		}
		r.notify(from, to, flags)
	}
	r.release()
	return err
}

// lockPair locks two directories of one file system for a change to both and
// returns what undoes it: the one that lies above the other first.
func lockPair(c Caller, a, b *Dentry) func() {
	if a == b {
		lock(c, &a.ops)
		return a.ops.Unlock
	}
	s := a.super
	lock(c, &s.renameMu)
	s.mu.RLock()
	first, second := a, b
	if a.within(b) || !b.within(a) && b.id < a.id {
		first, second = b, a
	}
	s.mu.RUnlock()
	lock(c, &first.ops)
	lock(c, &second.ops)
	return func() {
		second.ops.Unlock()
		first.ops.Unlock()
		s.renameMu.Unlock()
	}
}

// renamed holds the dentries of a rename, each with a reference: source is
// what was moved, target what was in its new place, or nil. same says that
// both are names of one file, in which case nothing is done.
type renamed struct {
	source, target *Dentry
	same           bool
}

func (r renamed) release() {
	if r.source != nil {
		r.source.DecRef()
	}
	if r.target != nil {
		r.target.DecRef()
	}
}

// rename checks and does a rename; both directories are locked.
func (ns *MountNamespace) rename(c Caller, from, to place, flags uint32) (r renamed, err error) {
	fd, td := from.dir.Dentry, to.dir.Dentry
	if r.source, err = fd.child(c, from.name); err != nil {
		return r, err
	}
	r.target, err = td.child(c, to.name)
	if err != nil && err != unix.ENOENT {
		return r, err
	}
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	case r.target != nil && flags&unix.RENAME_NOREPLACE != 0:
		return r, unix.EEXIST
	case r.target == nil && exchange:
		return r, unix.ENOENT
	case from.slash && !r.source.isDir(), to.slash && !r.source.isDir() && !exchange:
		return r, unix.ENOTDIR
	case to.slash && exchange && !r.target.isDir():
		return r, unix.ENOTDIR
	}
	if err := checkLoop(r, fd, td, exchange); err != nil {
		return r, err
	}
	if from.dir.Mount.ReadOnly() {
		return r, unix.EROFS
	}
	if r.target != nil && Identity(r.source.inode) == Identity(r.target.inode) {
		r.same = true
		return r, nil
	}
	if err := ns.mayRename(c, from, to, r, exchange); err != nil {
		return r, err
	}
	if r.target != nil && r.target.isDir() && !exchange {
		// Nobody may make anything in the directory that is replaced.
		lock(c, &r.target.ops)
		defer r.target.ops.Unlock()
	}
	fd.super.beginChange()
	defer fd.super.endChange()
	if err := InodeFor(c, fd.inode).Rename(from.name, td.inode, to.name, flags); err != nil {
		return r, err
	}
	r.move(fd, td, from.name, to.name, exchange)
	return r, nil
}

// checkLoop refuses to move a directory into itself, or onto one that it lies
// in.
func checkLoop(r renamed, fd, td *Dentry, exchange bool) error {
	s := fd.super
	s.mu.RLock()
	defer s.mu.RUnlock()
	if td.within(r.source) {
		return unix.EINVAL
	}
	if r.target != nil && fd.within(r.target) {
		if exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	}
	return nil
}

// mayRename checks permissions and kinds.
func (ns *MountNamespace) mayRename(c Caller, from, to place, r renamed, exchange bool) error {
	if err := ns.mayDelete(c, from.dir.Dentry, r.source, r.source.isDir()); err != nil {
		return err
	}
	switch {
	case r.target == nil:
		if err := mayCreate(c, to.dir); err != nil {
			return err
		}
	case exchange:
		if err := ns.mayDelete(c, to.dir.Dentry, r.target, r.target.isDir()); err != nil {
			return err
		}
	default:
		if err := ns.mayDelete(c, to.dir.Dentry, r.target, r.source.isDir()); err != nil {
			return err
		}
	}
	if from.dir.Dentry == to.dir.Dentry {
		return nil
	}
	// A directory that moves gets another "..", which is a write to it.
	if r.source.isDir() {
		if err := permitted(c, r.source.inode, unix.W_OK); err != nil {
			return err
		}
	}
	if exchange && r.target.isDir() {
		return permitted(c, r.target.inode, unix.W_OK)
	}
	return nil
}

// move makes the cache agree with what the file system has done.
func (r renamed) move(fd, td *Dentry, oldName, newName string, exchange bool) {
	s := fd.super
	var gone []*Dentry
	s.mu.Lock()
	if exchange {
		fd.children[oldName], td.children[newName] = r.target, r.source
		r.target.name, r.source.name = oldName, newName
		r.target.parent, r.source.parent = fd, td
		// Each directory has lost one child and gained one.
		s.mu.Unlock()
		return
	}
	if r.target != nil {
		r.target.unlinked.Store(true)
	}
	if there := td.children[newName]; there != nil {
		gone = s.kill(there, gone)
	}
	delete(fd.children, oldName)
	if td.children == nil {
		td.children = make(map[string]*Dentry)
	}
	td.children[newName] = r.source
	r.source.name, r.source.parent = newName, td
	td.refs.Add(1)
	s.mu.Unlock()
	fd.DecRef()
	release(gone)
}

func (r renamed) notify(from, to place, flags uint32) {
	if !watched() {
		return
	}
	cookie := lastCookie.Add(1)
	tell := func(d *Dentry, a, b place) {
		var isDir uint32
		if d.isDir() {
			isDir = unix.IN_ISDIR
		}
		notify(a.dir.Inode(), Event{Mask: unix.IN_MOVED_FROM | isDir, Cookie: cookie, Name: a.name})
		notify(b.dir.Inode(), Event{Mask: unix.IN_MOVED_TO | isDir, Cookie: cookie, Name: b.name})
		notify(d.inode, Event{Mask: unix.IN_MOVE_SELF | isDir})
	}
	tell(r.source, from, to)
	switch {
	case r.target == nil || r.target == r.source:
	case flags&unix.RENAME_EXCHANGE != 0:
		cookie = lastCookie.Add(1)
		tell(r.target, to, from)
	default:
		if a, err := r.target.inode.Attr(); err == nil && a.Nlink > 0 && !r.target.isDir() {
			notify(r.target.inode, Event{Mask: unix.IN_ATTRIB})
		} else {
			notify(r.target.inode, Event{Mask: unix.IN_DELETE_SELF, Unlinked: true})
		}
	}
}
