package fuse

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// lookup asks for a name. ENOENT also for what the server says is not there.
func (n *call) lookup(name string) (entry, error) {
	return n.askEntry(opLookup, body(nil).str(name))
}

// askEntry makes a request that is answered by an entry. If the caller is
// killed meanwhile, the server's reference is given back.
func (n *call) askEntry(op uint32, b body) (entry, error) {
	r, err := n.fs.cn.call(n.c, op, n.inode, b, n.forgetEntry)
	if err != nil {
		return entry{}, err
	}
	if len(r) != entryOutSize {
		return entry{}, unix.EIO
	}
	e, err := parseEntry(r)
	if err == nil && e.node == 0 {
		err = unix.ENOENT
		if op != opLookup {
			err = unix.EIO
		}
	}
	return e, err
}

// forgetEntry gives back the reference of an entry that nobody waits for.
func (n *inode) forgetEntry(reply []byte) {
	if e, err := parseEntry(reply); err == nil && e.node != 0 {
		n.fs.cn.forget(e.node, 1)
	}
}

// child makes the inode of an entry. EIO if it is not of the type that was to be made
// (0 for any).
func (n *call) child(name string, e *entry, kind uint32) (*inode, error) {
	got := n.fs.intern(e)
	if kind != 0 && got.kind != kind {
		got.giveUp()
		return nil, unix.EIO
	}
	got.name(n.inode, name, e.nameValid)
	return got, nil
}

// Lookup implements vfs.Inode.
func (n *call) Lookup(name string) (vfs.Inode, error) {
	if err := n.admitted(); err != nil {
		return nil, err
	}
	e, err := n.lookup(name)
	if err != nil {
		return nil, err
	}
	return n.made(n.child(name, &e, 0))
}

// made keeps a nil *inode from becoming an Inode.
func (n *call) made(got *inode, err error) (vfs.Inode, error) {
	if err != nil {
		return nil, err
	}
	return got, nil
}

// make makes a request that creates a name.
func (n *call) make(op uint32, b body, name string, kind uint32) (vfs.Inode, error) {
	e, err := n.askEntry(op, b)
	if err != nil {
		return nil, err
	}
	n.changed()
	return n.made(n.child(name, &e, kind))
}

// Create implements vfs.Inode.
func (n *call) Create(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.Mknod(o, name, unix.S_IFREG|mode, 0, 0)
}

// CreateOpen implements vfs.OpenCreator. A server that lacks CREATE has the
// file made and opened in two steps.
func (n *call) CreateOpen(o vfs.Owner, name string, mode, flags uint32) (vfs.Inode, vfs.File, error) {
	b := body(nil).u32(flags|unix.O_CREAT, unix.S_IFREG|mode&0o7777, n.c.Umask(), 0).str(name)
	r, err := n.fs.cn.call(n.c, opCreate, n.inode, b, n.forgetCreated)
	if err == unix.ENOSYS {
		ino, err := n.Create(o, name, mode)
		return ino, nil, err // vfs opens it
	}
	if err != nil {
		return nil, nil, err
	}
	n.changed()
	if len(r) != entryOutSize+openOutSize {
		return nil, nil, unix.EIO
	}
	e, err := parseEntry(r)
	if err != nil || e.node == 0 {
		return nil, nil, unix.EIO
	}
	got, err := n.child(name, &e, unix.S_IFREG)
	if err != nil {
		return nil, nil, err
	}
	handle, how, _ := parseOpen(r[entryOutSize:])
	return got, newFile(got, handle, flags, how, true), nil
}

// forgetCreated gives back what CREATE obtained for nobody.
func (n *inode) forgetCreated(reply []byte) {
	if len(reply) != entryOutSize+openOutSize {
		return
	}
	if e, err := parseEntry(reply); err == nil && e.node != 0 {
		made := n.fs.intern(&e)
		handle, how, _ := parseOpen(reply[entryOutSize:])
		newFile(made, handle, 0, how, true).Release()
		made.giveUp()
	}
}

// Mkdir implements vfs.Inode.
func (n *call) Mkdir(_ vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.make(opMkdir, body(nil).u32(mode&0o7777, n.c.Umask()).str(name), name, unix.S_IFDIR)
}

// Mknod implements vfs.Inode.
func (n *call) Mknod(_ vfs.Owner, name string, mode, major, minor uint32) (vfs.Inode, error) {
	b := body(nil).u32(mode, encodeDevice(major, minor), n.c.Umask(), 0).str(name)
	return n.make(opMknod, b, name, mode&unix.S_IFMT)
}

// Symlink implements vfs.Inode.
func (n *call) Symlink(_ vfs.Owner, name, target string) (vfs.Inode, error) {
	return n.make(opSymlink, body(nil).str(name).str(target), name, unix.S_IFLNK)
}

// Link implements vfs.Inode.
func (n *call) Link(name string, target vfs.Inode) error {
	old, ok := target.(*inode)
	if !ok {
		return unix.EXDEV
	}
	got, err := n.make(opLink, body(nil).u64(old.id).str(name), name, old.kind)
	if err == unix.ENOSYS {
		err = unix.EPERM
	}
	if err != nil {
		return err
	}
	// vfs has the name lead to target. If the server thinks otherwise, it is
	// asked again.
	if got.(*inode) != old {
		n.fs.epoch.Add(1)
	}
	got.(*inode).giveUp()
	return nil
}

// gone notes that a name and maybe its object are no more.
func (n *call) gone(victim vfs.Inode, err error) error {
	if err != nil {
		return err
	}
	n.changed()
	if v, ok := victim.(*inode); ok {
		v.mu.Lock()
		if v.attr.Nlink > 0 {
			v.attr.Nlink--
		}
		v.mu.Unlock()
		v.changed()
	}
	return nil
}

// Unlink implements vfs.Inode.
func (n *call) Unlink(name string, victim vfs.Inode) error {
	_, err := n.ask(opUnlink, body(nil).str(name))
	return n.gone(victim, err)
}

// Rmdir implements vfs.Inode.
func (n *call) Rmdir(name string, victim vfs.Inode) error {
	_, err := n.ask(opRmdir, body(nil).str(name))
	return n.gone(victim, err)
}

// Rename implements vfs.Inode. EINVAL for flags that the server's version of the
// protocol lacks.
func (n *call) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	to, ok := newDir.(*inode)
	if !ok {
		return unix.EXDEV
	}
	op, b := uint32(opRename), body(nil).u64(to.id)
	if flags != 0 {
		if n.fs.cn.terms().minor < 23 {
			return unix.EINVAL
		}
		op, b = opRename2, b.u32(flags, 0)
	}
	_, err := n.ask(op, b.str(oldName).str(newName))
	if err == unix.ENOSYS {
		err = unix.EINVAL
	}
	if err != nil {
		return err
	}
	n.changed()
	to.changed()
	n.fs.epoch.Add(1)
	return nil
}

// maxXattr is XATTR_SIZE_MAX, and XATTR_LIST_MAX.
const maxXattr = 65536

// unsupported is the error for attributes that the server lacks.
func unsupported(err error) error {
	if err == unix.ENOSYS {
		return unix.EOPNOTSUPP
	}
	return err
}

// GetXattr implements vfs.Inode.
func (n *call) GetXattr(name string) ([]byte, error) {
	b, err := n.request(opGetxattr, body(nil).u32(maxXattr, 0).str(name))
	if err == nil && len(b) > maxXattr {
		err = unix.EIO
	}
	return b, unsupported(err)
}

// SetXattr implements vfs.Inode.
func (n *call) SetXattr(name string, value []byte, flags uint32) error {
	b := append(body(nil).u32(uint32(len(value)), flags).str(name), value...)
	_, err := n.request(opSetxattr, b)
	n.changed()
	return unsupported(err)
}

// RemoveXattr implements vfs.Inode.
func (n *call) RemoveXattr(name string) error {
	_, err := n.request(opRemovexattr, body(nil).str(name))
	n.changed()
	return unsupported(err)
}

// ListXattr implements vfs.Inode.
func (n *call) ListXattr() ([]string, error) {
	b, err := n.request(opListxattr, body(nil).u32(maxXattr, 0))
	if err != nil {
		return nil, unsupported(err)
	}
	return parseNames(b)
}

// parseNames splits a LISTXATTR answer. EIO if it is not names with NULs.
func parseNames(b []byte) ([]string, error) {
	if len(b) > maxXattr || len(b) > 0 && b[len(b)-1] != 0 {
		return nil, unix.EIO
	}
	var names []string
	for start, i := 0, 0; i < len(b); i++ {
		if b[i] == 0 {
			if i == start {
				return nil, unix.EIO
			}
			names = append(names, string(b[start:i]))
			start = i + 1
		}
	}
	return names, nil
}
