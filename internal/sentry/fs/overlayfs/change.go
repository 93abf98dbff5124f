package overlayfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// make runs create in n's upper directory for a name that does not exist, and
// returns the new node.
func (n *node) make(name string, isDir bool, create func(dir vfs.Inode) (vfs.Inode, error)) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if err := n.copyUp(-1); err != nil {
		return nil, err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	_, e, err := n.child(name)
	if err == nil {
		return nil, unix.EEXIST
	}
	if err != unix.ENOENT {
		return nil, err
	}
	n.list.Store(nil)
	dir := n.upper()
	if err := n.fs.mayChange(dir); err != nil {
		return nil, err
	}
	defer n.fs.changed(dir, name)
	if e.whiteout != nil {
		if err := dir.Unlink(name, e.whiteout); err != nil {
			return nil, err
		}
	}
	made, err := create(dir)
	if err == nil && isDir && e.below {
		if err = n.fs.setOpaque(made); err != nil {
			dir.Rmdir(name, made)
		}
	}
	if err != nil {
		if e.whiteout != nil {
			whiteOut(dir, name) // as it was
		}
		return nil, err
	}
	child, err := n.fs.node(n, name, made, nil)
	if err != nil {
		return nil, err
	}
	return child, nil
}

// whiteOut hides a name of the lower layers.
func whiteOut(dir vfs.Inode, name string) error {
	_, err := dir.Mknod(vfs.Owner{}, name, unix.S_IFCHR, 0, 0)
	return err
}

// Create implements vfs.Inode.
func (n *node) Create(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.make(name, false, func(dir vfs.Inode) (vfs.Inode, error) { return dir.Create(o, name, mode) })
}

// Mkdir implements vfs.Inode.
func (n *node) Mkdir(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return n.make(name, true, func(dir vfs.Inode) (vfs.Inode, error) { return dir.Mkdir(o, name, mode) })
}

// Mknod implements vfs.Inode. EPERM for what would be a whiteout.
func (n *node) Mknod(o vfs.Owner, name string, mode, major, minor uint32) (vfs.Inode, error) {
	if mode&unix.S_IFMT == unix.S_IFCHR && major == 0 && minor == 0 {
		return nil, unix.EPERM
	}
	return n.make(name, false, func(dir vfs.Inode) (vfs.Inode, error) {
		return dir.Mknod(o, name, mode, major, minor)
	})
}

// Symlink implements vfs.Inode.
func (n *node) Symlink(o vfs.Owner, name, target string) (vfs.Inode, error) {
	return n.make(name, false, func(dir vfs.Inode) (vfs.Inode, error) { return dir.Symlink(o, name, target) })
}

// Link implements vfs.Inode.
func (n *node) Link(name string, target vfs.Inode) error {
	t, ok := target.(*node)
	if !ok || t.fs != n.fs {
		return unix.EXDEV
	}
	if t.kind == unix.S_IFDIR {
		return unix.EPERM
	}
	if err := t.copyUp(-1); err != nil {
		return err
	}
	_, err := n.make(name, false, func(dir vfs.Inode) (vfs.Inode, error) {
		return t.upper(), dir.Link(name, t.upper())
	})
	return err
}

// Tmpfile implements vfs.TmpfileMaker if the upper layer does.
func (n *node) Tmpfile(o vfs.Owner, mode uint32) (vfs.Inode, error) {
	if err := n.copyUp(-1); err != nil {
		return nil, err
	}
	dir, ok := n.upper().(vfs.TmpfileMaker)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	made, err := dir.Tmpfile(o, mode)
	if err != nil {
		return nil, err
	}
	child, err := n.fs.node(n, "", made, nil)
	if err != nil {
		return nil, err
	}
	return child, nil
}

// Unlink implements vfs.Inode.
func (n *node) Unlink(name string, _ vfs.Inode) error { return n.remove(name, false) }

// Rmdir implements vfs.Inode.
func (n *node) Rmdir(name string, _ vfs.Inode) error { return n.remove(name, true) }

func (n *node) remove(name string, wantDir bool) error {
	if err := n.copyUp(-1); err != nil {
		return err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	victim, e, err := n.child(name)
	if err != nil {
		return err
	}
	switch isDir := victim.kind == unix.S_IFDIR; {
	case wantDir && !isDir:
		return unix.ENOTDIR
	case !wantDir && isDir:
		return unix.EISDIR
	case isDir:
		if err := victim.mustBeEmpty(); err != nil {
			return err
		}
	}
	if err := n.fs.mayChange(n.upper()); err != nil {
		return err
	}
	defer n.fs.changed(n.upper(), name)
	n.list.Store(nil)
	if err := n.takeAway(name, victim, e); err != nil {
		return err
	}
	if e.below {
		return whiteOut(n.upper(), name)
	}
	return nil
}

// takeAway removes a name's upper part, if it has one. What remains below is
// for the caller to hide.
func (n *node) takeAway(name string, victim *node, e entry) error {
	if e.upper != nil {
		if victim.kind == unix.S_IFDIR {
			if err := emptyOut(e.upper); err != nil {
				return err
			}
			if err := n.upper().Rmdir(name, e.upper); err != nil {
				return err
			}
		} else if err := n.upper().Unlink(name, e.upper); err != nil {
			return err
		}
	}
	if e.upper == nil || victim.kind == unix.S_IFDIR {
		victim.dead.Store(true)
	}
	return nil
}

// mustBeEmpty returns ENOTEMPTY if a directory shows any name.
func (n *node) mustBeEmpty() error {
	l, err := n.listLocked()
	if err == nil && len(l.entries) > 0 {
		err = unix.ENOTEMPTY
	}
	return err
}

// emptyOut removes the whiteouts in an upper directory that shows no names.
func emptyOut(dir vfs.Inode) error {
	f, err := dir.Open(overlay, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Release()
	var names []string
	err = f.Readdir(overlay, 0, func(e vfs.DirEntry) bool {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		i, err := dir.Lookup(name)
		if err != nil {
			return err
		}
		if err := dir.Unlink(name, i); err != nil {
			return err
		}
	}
	return nil
}
