package hostfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Lookup implements vfs.Inode.
func (n *inode) Lookup(name string) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if name == "" || n.barred.Load() {
		return nil, unix.ENOENT
	}
	h, err := n.fs.acquire(n)
	if err != nil {
		return nil, err
	}
	defer n.fs.dirs.release(h)
	child, err := n.find(h, name)
	if err != nil {
		return nil, err
	}
	return child, nil
}

// Glance implements vfs.Glancer, but for what may have to be barred.
func (n *inode) Glance(name string) (a vfs.Attr, ok bool, err error) {
	if n.kind != unix.S_IFDIR || n.barred.Load() {
		return a, false, nil
	}
	h, err := n.fs.acquire(n)
	if err != nil {
		return a, true, err
	}
	defer n.fs.dirs.release(h)
	st, err := n.fs.host.Stat(Dir(h.fd), name)
	if err != nil {
		return a, true, err
	}
	if n.id.crosses(n.fs.identify(&st)) {
		return a, false, nil
	}
	return attrOf(&st), true, nil
}

// find looks up a name with n's handle.
func (n *inode) find(h *descriptor, name string) (*inode, error) {
	asked := n.fs.now()
	st, err := n.fs.host.Stat(Dir(h.fd), name)
	if err != nil {
		return nil, err
	}
	child := n.fs.inodeOf(n.fs.identify(&st), uint32(st.Mode))
	n.fs.place(child, n, name)
	child.remember(&st, asked)
	if n.id.crosses(child.id) {
		n.bar(h, name, child)
	}
	return child, nil
}

// make runs a host call that makes name in n, and returns the new inode after
// giving it its owner and mode.
func (n *inode) make(o vfs.Owner, name string, mode uint32, call func(dir Dir) error) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if n.barred.Load() {
		return nil, unix.EACCES
	}
	h, err := n.fs.acquire(n)
	if err != nil {
		return nil, err
	}
	defer n.fs.dirs.release(h)
	n.changed()
	if err := call(Dir(h.fd)); err != nil {
		return nil, err
	}
	child, err := n.find(h, name)
	if err != nil {
		return nil, err
	}
	return child, child.own(o, mode)
}

// own gives a new inode its owner and mode, where the host did not at once. A
// sentry that runs without privileges cannot make files for others; they stay
// its own then, as files made by its user are.
func (n *inode) own(o vfs.Owner, mode uint32) error {
	a, kept := n.KeptAttr() // make has just asked
	if !kept {
		var err error
		if a, err = n.Attr(); err != nil {
			return err
		}
	}
	var set vfs.SetAttr
	if a.UID != o.UID || a.GID != o.GID {
		set = vfs.SetAttr{Which: vfs.SetUID | vfs.SetGID, UID: o.UID, GID: o.GID}
		if err := n.SetAttr(set); err != nil && err != unix.EPERM && err != unix.EINVAL {
			return err
		}
	}
	if n.kind == unix.S_IFLNK || set.Which == 0 && a.Mode&07777 == mode&07777 {
		return nil
	}
	return n.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: mode & 07777})
}

// Create implements vfs.Inode.
func (n *inode) Create(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.make(o, name, mode, func(dir Dir) error {
		fd, err := n.fs.host.Create(dir, name, mode&07777)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
}

// Mkdir implements vfs.Inode.
func (n *inode) Mkdir(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.make(o, name, mode, func(dir Dir) error { return n.fs.host.Mkdir(dir, name, mode) })
}

// Mknod implements vfs.Inode. Device nodes are not made on the host, but for
// whiteouts.
func (n *inode) Mknod(o vfs.Owner, name string, mode, major, minor uint32) (vfs.Inode, error) {
	if major != 0 || minor != 0 {
		return nil, unix.EPERM
	}
	return n.make(o, name, mode, func(dir Dir) error { return n.fs.host.Mknod(dir, name, mode) })
}

// Symlink implements vfs.Inode.
func (n *inode) Symlink(o vfs.Owner, name, target string) (vfs.Inode, error) {
	return n.make(o, name, 0777, func(dir Dir) error { return n.fs.host.Symlink(target, dir, name) })
}

// Link implements vfs.Inode.
func (n *inode) Link(name string, target vfs.Inode) error {
	t, ok := target.(*inode)
	if !ok || t.fs != n.fs {
		return unix.EXDEV
	}
	if t.kind == unix.S_IFDIR {
		return unix.EPERM
	}
	if n.barred.Load() || t.barred.Load() {
		return unix.EACCES
	}
	oldParent, oldName := n.fs.where(t)
	if oldParent == nil {
		return unix.ENOENT
	}
	from, err := n.fs.acquire(oldParent)
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(from)
	to, err := n.fs.acquire(n)
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(to)
	st, err := n.fs.host.Stat(Dir(from.fd), oldName)
	if err != nil {
		return err
	}
	if n.fs.identify(&st) != t.id {
		return unix.ESTALE
	}
	n.changed()
	t.changed()
	if err := n.fs.host.Link(Dir(from.fd), oldName, Dir(to.fd), name); err != nil {
		return err
	}
	n.fs.place(t, n, name)
	return nil
}

// Unlink implements vfs.Inode.
func (n *inode) Unlink(name string, victim vfs.Inode) error { return n.remove(name, victim, false) }

// Rmdir implements vfs.Inode.
func (n *inode) Rmdir(name string, victim vfs.Inode) error { return n.remove(name, victim, true) }

func (n *inode) remove(name string, victim vfs.Inode, isDir bool) error {
	if n.barred.Load() {
		return unix.EACCES
	}
	h, err := n.fs.acquire(n)
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(h)
	n.changed()
	v, ok := victim.(*inode)
	if ok {
		v.changed()
	}
	if err := n.fs.host.Unlink(Dir(h.fd), name, isDir); err != nil {
		return err
	}
	if ok {
		n.fs.unplace(v, n, name)
		n.fs.dirs.forget(&v.dir)
	}
	return nil
}

// Rename implements vfs.Inode.
func (n *inode) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	d, ok := newDir.(*inode)
	if !ok || d.fs != n.fs {
		return unix.EXDEV
	}
	if n.barred.Load() || d.barred.Load() {
		return unix.EACCES
	}
	from, err := n.fs.acquire(n)
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(from)
	to, err := n.fs.acquire(d)
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(to)
	n.changed()
	d.changed()
	replaced := n.fs.known(to, newName)
	if err := n.fs.host.Rename(Dir(from.fd), oldName, Dir(to.fd), newName, flags); err != nil {
		return err
	}
	moved := n.fs.known(to, newName)
	if moved == replaced {
		return nil // both were names of one file, and still are
	}
	if replaced != nil {
		n.fs.unplace(replaced, d, newName)
		replaced.changed()
	}
	if moved != nil {
		n.fs.place(moved, d, newName)
		n.fs.unplace(moved, n, oldName)
		moved.changed()
	}
	if flags&unix.RENAME_EXCHANGE != 0 && replaced != nil {
		n.fs.place(replaced, n, oldName)
	}
	return nil
}

// known returns the inode behind a name if somebody holds it, or nil.
func (fs *FileSystem) known(h *descriptor, name string) *inode {
	st, err := fs.host.Stat(Dir(h.fd), name)
	if err != nil {
		return nil
	}
	return fs.table.Find(fs.identify(&st))
}
