package overlayfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// entry is what the layers have under one name in one directory.
type entry struct {
	// upper is the upper inode of an existing name.
	upper vfs.Inode
	// whiteout is the upper layer's whiteout of the name.
	whiteout vfs.Inode
	// lowers are the lower parts that show through.
	lowers []vfs.Inode
	// below says that the lower layers have the name, whether or not it
	// shows: removing it takes a whiteout, and a directory made in its place
	// must be opaque.
	below bool
}

func (e *entry) exists() bool { return e.upper != nil || len(e.lowers) > 0 }

// Lookup implements vfs.Inode.
func (n *node) Lookup(name string) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	child, _, err := n.child(name)
	if err != nil {
		return nil, err
	}
	return child, nil
}

// Glance implements vfs.Glancer for names that only one lower layer can have.
func (n *node) Glance(name string) (a vfs.Attr, ok bool, err error) {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if len(n.lowers) != 1 {
		return a, false, nil
	}
	if up := n.upper(); up != nil {
		if _, err := up.Lookup(name); err != unix.ENOENT {
			return a, false, nil
		}
	}
	lower, ok := n.lowers[0].(vfs.Glancer)
	if !ok {
		return a, false, nil
	}
	a, ok, err = lower.Glance(name)
	if !ok || err != nil {
		return a, ok, err
	}
	if a.Mode&unix.S_IFMT == unix.S_IFCHR {
		return a, false, nil // it may be a whiteout
	}
	n.fs.show(&a, n.fs.inos.of(a.DevMajor, a.DevMinor, a.Ino), true)
	return a, true, nil
}

// child looks a name up in all layers; fs.mu is held. Without an error the
// name exists; with ENOENT the entry still tells what is there.
func (n *node) child(name string) (*node, entry, error) {
	e, err := n.search(name)
	if err != nil {
		return nil, e, err
	}
	if !e.exists() {
		return nil, e, unix.ENOENT
	}
	child, err := n.fs.node(n, name, e.upper, e.lowers)
	return child, e, err
}

// search finds the parts of a name.
func (n *node) search(name string) (e entry, err error) {
	// more says that what was found so far lets lower parts show.
	more := true
	kind := uint32(0)
	if up := n.upper(); up != nil {
		i, err := up.Lookup(name)
		switch {
		case err == unix.ENOENT:
		case err != nil:
			return e, err
		default:
			k, white, err := classify(i)
			if err != nil {
				return e, err
			}
			if white {
				e.whiteout, more = i, false
			} else {
				e.upper, kind = i, k
				more = k == unix.S_IFDIR && !n.fs.opaque(i)
			}
		}
	}
	for level, l := range n.lowers {
		i, err := l.Lookup(name)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return e, err
		}
		k, white, err := classify(i)
		if err != nil {
			return e, err
		}
		if white {
			return e, nil
		}
		e.below = true
		if !more || kind != 0 && k != unix.S_IFDIR {
			return e, nil
		}
		e.lowers = append(e.lowers, i)
		// Below the last layer there is nothing to hide.
		if k != unix.S_IFDIR || level < len(n.lowers)-1 && n.fs.opaque(i) {
			return e, nil
		}
		kind = k
	}
	return e, nil
}

// classify returns an inode's type, and whether it is a whiteout.
func classify(i vfs.Inode) (kind uint32, whiteout bool, err error) {
	if p, ok := i.(vfs.Permissioner); ok {
		mode, _, _ := p.Permissions()
		if kind = mode & unix.S_IFMT; kind != unix.S_IFCHR {
			return kind, false, nil
		}
	}
	a, err := i.Attr()
	kind = a.Mode & unix.S_IFMT
	return kind, kind == unix.S_IFCHR && a.RdevMajor == 0 && a.RdevMinor == 0, err
}

// opaque reports whether a directory hides what lies below it.
func (fs *FileSystem) opaque(dir vfs.Inode) bool {
	v, err := dir.GetXattr(fs.prefix + xattrOpaque)
	return err == nil && len(v) == 1 && v[0] == 'y'
}

func (fs *FileSystem) setOpaque(dir vfs.Inode) error {
	return dir.SetXattr(fs.prefix+xattrOpaque, []byte{'y'}, 0)
}
