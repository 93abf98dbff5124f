package vfs

import (
	"golang.org/x/sys/unix"
)

// place is a name in a directory, which may or may not be there. It holds a
// reference to the directory.
type place struct {
	dir  Path
	name string
	// slash says that the name was followed by a slash.
	slash bool
}

func (p *place) release() { p.dir.DecRef() }

// itself reports whether the path ended in a name that every directory has
// ("/", ".", ".."), which nobody can make or move.
func (p *place) itself() bool { return p.name == "" || p.name == "." || p.name == ".." }

// parentOf walks to the directory of path's last component.
func (ns *MountNamespace) parentOf(c Caller, o Origin, path string) (place, error) {
	var w walk
	if err := w.begin(c, o, path, 0); err != nil {
		return place{}, err
	}
	defer w.end()
	name, err := w.last()
	if err != nil {
		return place{}, err
	}
	return place{dir: w.take(), name: name, slash: w.dir}, nil
}

// make runs create for a new name: the walk, the checks and the locks that
// mkdir(2), mknod(2), symlink(2) and link(2) have in common. A trailing slash
// is for directories only.
func (ns *MountNamespace) make(c Caller, o Origin, path string, dir bool, create func(at place) (Inode, error)) error {
	at, err := ns.parentOf(c, o, path)
	if err != nil {
		return err
	}
	defer at.release()
	if at.itself() {
		return unix.EEXIST
	}
	d := at.dir.Dentry
	lock(c, &d.ops)
	old, err := d.child(c, at.name)
	if err == nil {
		d.ops.Unlock()
		old.DecRef()
		return unix.EEXIST
	}
	if err == unix.ENOENT && at.slash && !dir {
		d.ops.Unlock()
		return unix.ENOENT
	}
	var n *Dentry
	if err == unix.ENOENT {
		n, err = at.create(c, create)
	}
	d.ops.Unlock()
	if err != nil {
		return err
	}
	mask := uint32(unix.IN_CREATE)
	if dir {
		mask |= unix.IN_ISDIR
	}
	notify(d.inode, Event{Mask: mask, Name: at.name})
	n.DecRef()
	return nil
}

// create makes a name that is not there, and returns its dentry with a
// reference. The directory's ops lock is held.
func (at place) create(c Caller, create func(at place) (Inode, error)) (*Dentry, error) {
	if at.dir.Mount.ReadOnly() {
		return nil, unix.EROFS
	}
	if err := mayCreate(c, at.dir); err != nil {
		return nil, err
	}
	at.dir.Dentry.super.beginChange()
	defer at.dir.Dentry.super.endChange()
	ino, err := create(at)
	if err != nil {
		return nil, err
	}
	return at.dir.Dentry.add(at.name, ino)
}

// MkdirAt makes a directory, as mkdirat(2).
func (ns *MountNamespace) MkdirAt(c Caller, o Origin, path string, mode uint32) error {
	mode = mode & 0o1777 &^ c.Umask()
	return ns.make(c, o, path, true, func(at place) (Inode, error) {
		dir := at.dir.Inode()
		owner, mode, err := ownerIn(c, dir, unix.S_IFDIR|mode)
		if err != nil {
			return nil, err
		}
		return InodeFor(c, dir).Mkdir(owner, at.name, mode&^unix.S_IFMT)
	})
}

// MknodAt makes a file of the type that mode says, as mknodat(2). The major
// and minor numbers are for device nodes.
func (ns *MountNamespace) MknodAt(c Caller, o Origin, path string, mode, major, minor uint32) error {
	switch mode & unix.S_IFMT {
	case 0, unix.S_IFREG:
		mode = mode&^unix.S_IFMT | unix.S_IFREG
	case unix.S_IFIFO, unix.S_IFSOCK:
		major, minor = 0, 0
	case unix.S_IFCHR, unix.S_IFBLK:
		whiteout := mode&unix.S_IFMT == unix.S_IFCHR && major == 0 && minor == 0
		if !whiteout && !c.Credentials().Can(unix.CAP_MKNOD) {
			return unix.EPERM
		}
	case unix.S_IFDIR:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	mode &= unix.S_IFMT | 0o7777&^c.Umask()
	return ns.make(c, o, path, false, func(at place) (Inode, error) {
		dir := at.dir.Inode()
		owner, mode, err := ownerIn(c, dir, mode)
		if err != nil {
			return nil, err
		}
		if mode&unix.S_IFMT == unix.S_IFREG {
			return InodeFor(c, dir).Create(owner, at.name, mode&^unix.S_IFMT)
		}
		return InodeFor(c, dir).Mknod(owner, at.name, mode, major, minor)
	})
}

// SymlinkAt makes path a symbolic link to target.
func (ns *MountNamespace) SymlinkAt(c Caller, target string, o Origin, path string) error {
	if target == "" {
		return unix.ENOENT
	}
	if len(target) > maxPath {
		return unix.ENAMETOOLONG
	}
	return ns.make(c, o, path, false, func(at place) (Inode, error) {
		dir := at.dir.Inode()
		owner, _, err := ownerIn(c, dir, unix.S_IFLNK|0o777)
		if err != nil {
			return nil, err
		}
		return InodeFor(c, dir).Symlink(owner, at.name, target)
	})
}

// LinkAt makes path another name of old.
func (ns *MountNamespace) LinkAt(c Caller, old Path, o Origin, path string) error {
	if err := mayLink(c, old); err != nil {
		return err
	}
	err := ns.make(c, o, path, false, func(at place) (Inode, error) {
		if at.dir.Mount != old.Mount {
			return nil, unix.EXDEV
		}
		if old.IsDir() {
			return nil, unix.EPERM
		}
		a, err := old.Attr()
		if err != nil {
			return nil, err
		}
		if a.Nlink == 0 && !old.Dentry.linkable.Load() {
			return nil, unix.ENOENT
		}
		return old.Inode(), InodeFor(c, at.dir.Inode()).Link(at.name, old.Inode())
	})
	if err == nil {
		notify(old.Inode(), Event{Mask: unix.IN_ATTRIB})
	}
	return err
}

// mayLink applies protected_hardlinks (proc(5)): who does not own a file may
// link it only if it is a plain one that he may read and write.
func mayLink(c Caller, old Path) error {
	cred := c.Credentials()
	mode, uid, _, err := ownership(c, old.Inode())
	if err != nil || owns(cred, uid) {
		return err
	}
	if mode&unix.S_IFMT != unix.S_IFREG || mode&unix.S_ISUID != 0 ||
		mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010 ||
		permitted(c, old.Inode(), unix.R_OK|unix.W_OK) != nil {
		return unix.EPERM
	}
	return nil
}

// UnlinkAt removes a name that is not a directory's, as unlinkat(2).
func (ns *MountNamespace) UnlinkAt(c Caller, o Origin, path string) error {
	return ns.remove(c, o, path, false, unix.EISDIR)
}

// RmdirAt removes an empty directory.
func (ns *MountNamespace) RmdirAt(c Caller, o Origin, path string) error {
	return ns.remove(c, o, path, true, unix.EBUSY)
}

func (ns *MountNamespace) remove(c Caller, o Origin, path string, wantDir bool, itself error) error {
	var w walk
	if err := w.begin(c, o, path, 0); err != nil {
		return err
	}
	defer w.end()
	name, err := w.last()
	if err != nil {
		return err
	}
	switch {
	case !wantDir && (name == "" || name == "." || name == ".."):
		return itself
	case name == ".":
		return unix.EINVAL
	case name == "..":
		return unix.ENOTEMPTY
	case name == "":
		return itself
	}
	dir := w.take()
	defer dir.DecRef()
	d := dir.Dentry
	lock(c, &d.ops)
	if dir.Mount.ReadOnly() {
		// The name's absence is told first.
		victim, err := d.child(c, name)
		d.ops.Unlock()
		if err != nil {
			return err
		}
		victim.DecRef()
		return unix.EROFS
	}
	victim, err := d.child(c, name)
	if err != nil {
		d.ops.Unlock()
		return err
	}
	if w.dir && !wantDir {
		d.ops.Unlock()
		defer victim.DecRef()
		if victim.isDir() {
			return unix.EISDIR
		}
		return unix.ENOTDIR
	}
	err = ns.removeChild(c, d, name, victim, wantDir)
	d.ops.Unlock()
	if err == nil {
		victim.detachAll()
		notifyRemoved(d, victim, name)
	}
	victim.DecRef()
	return err
}

// removeChild removes victim from directory d, whose ops lock is held.
func (ns *MountNamespace) removeChild(c Caller, d *Dentry, name string, victim *Dentry, wantDir bool) error {
	if err := ns.mayDelete(c, d, victim, wantDir); err != nil {
		return err
	}
	d.super.beginChange()
	defer d.super.endChange()
	if !wantDir {
		if err := InodeFor(c, d.inode).Unlink(name, victim.inode); err != nil {
			return err
		}
		victim.removed()
		return nil
	}
	// Nobody may make anything in the directory any more.
	lock(c, &victim.ops)
	defer victim.ops.Unlock()
	if err := InodeFor(c, d.inode).Rmdir(name, victim.inode); err != nil {
		return err
	}
	victim.removed()
	return nil
}

// notifyRemoved tells who watches a removed object or its directory.
func notifyRemoved(dir, victim *Dentry, name string) {
	if !watched() {
		return
	}
	var isDir uint32
	if victim.isDir() {
		isDir = unix.IN_ISDIR
	} else {
		notify(victim.inode, Event{Mask: unix.IN_ATTRIB})
	}
	if a, err := victim.inode.Attr(); err == nil && (a.Nlink == 0 || isDir != 0) {
		notify(victim.inode, Event{Mask: unix.IN_DELETE_SELF | isDir, Unlinked: true})
	}
	notify(dir.inode, Event{Mask: unix.IN_DELETE | isDir, Name: name})
}
