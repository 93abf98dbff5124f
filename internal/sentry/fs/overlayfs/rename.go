package overlayfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// side is one end of a rename: a name in a directory, and what is there.
type side struct {
	dir   *node
	name  string
	child *node // nil if the name does not exist
	entry entry
}

func (s *side) isDir() bool { return s.child != nil && s.child.kind == unix.S_IFDIR }

// lookup fills in what is there now. fs.mu is held.
func (s *side) lookup() error {
	var err error
	s.child, s.entry, err = s.dir.child(s.name)
	if err == unix.ENOENT {
		err = nil
	}
	return err
}

// movable says EXDEV for a directory that has lower parts: a rename would
// leave them behind.
func (s *side) movable() error {
	if s.isDir() && (s.entry.upper == nil || len(s.entry.lowers) > 0) {
		return unix.EXDEV
	}
	return nil
}

// Rename implements vfs.Inode.
func (n *node) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	d, ok := newDir.(*node)
	if !ok || d.fs != n.fs {
		return unix.EXDEV
	}
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return unix.EINVAL
	}
	from, to := side{dir: n, name: oldName}, side{dir: d, name: newName}
	exchange := flags&unix.RENAME_EXCHANGE != 0
	for {
		if err := from.prepare(true); err != nil {
			return err
		}
		if err := to.prepare(exchange); err != nil {
			return err
		}
		again, err := n.fs.rename(&from, &to, flags)
		if !again {
			return err
		}
	}
}

// prepare copies up the directory, and with move also what is moved. The
// copies are made before fs.mu is taken, since they may take long.
func (s *side) prepare(move bool) error {
	if err := s.dir.copyUp(-1); err != nil {
		return err
	}
	s.dir.fs.mu.RLock()
	err := s.lookup()
	s.dir.fs.mu.RUnlock()
	if err != nil || !move {
		return err
	}
	if s.child == nil {
		return unix.ENOENT
	}
	if err := s.movable(); err != nil {
		return err
	}
	return s.child.copyUp(-1)
}

// rename moves upper parts about. again says that names changed since they
// were prepared.
func (fs *FileSystem) rename(from, to *side, flags uint32) (again bool, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := from.lookup(); err != nil {
		return false, err
	}
	if err := to.lookup(); err != nil {
		return false, err
	}
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	case from.child == nil, exchange && to.child == nil:
		return false, unix.ENOENT
	case flags&unix.RENAME_NOREPLACE != 0 && to.child != nil:
		return false, unix.EEXIST
	case from.entry.upper == nil, exchange && to.entry.upper == nil:
		return true, nil
	case from.child == to.child:
		return false, nil // two links to one file, or one name twice
	}
	if err := from.movable(); err != nil {
		return false, err
	}
	for _, s := range []*side{from, to} {
		if err := fs.mayChange(s.dir.upper()); err != nil {
			return false, err
		}
		defer fs.changed(s.dir.upper(), s.name)
		s.dir.list.Store(nil)
	}
	if exchange {
		return false, exchangeSides(from, to)
	}
	return false, replace(from, to)
}

func exchangeSides(a, b *side) error {
	if err := b.movable(); err != nil {
		return err
	}
	if err := a.hideBelow(b); err != nil {
		return err
	}
	if err := b.hideBelow(a); err != nil {
		return err
	}
	return a.dir.upper().Rename(a.name, b.dir.upper(), b.name, unix.RENAME_EXCHANGE)
}

// hideBelow makes a directory opaque that is about to move to a name under
// which the lower layers have something.
func (s *side) hideBelow(dest *side) error {
	if !s.isDir() || !dest.entry.below {
		return nil
	}
	return s.dir.fs.setOpaque(s.entry.upper)
}

func replace(from, to *side) error {
	if to.child != nil {
		switch {
		case from.isDir() && !to.isDir():
			return unix.ENOTDIR
		case !from.isDir() && to.isDir():
			return unix.EISDIR
		case to.isDir():
			if err := to.child.mustBeEmpty(); err != nil {
				return err
			}
		}
	}
	if err := from.hideBelow(to); err != nil {
		return err
	}
	// A directory can replace neither a whiteout nor a directory that holds
	// some; a file replaces both kinds of file by itself.
	if from.isDir() {
		if to.entry.whiteout != nil {
			if err := to.dir.upper().Unlink(to.name, to.entry.whiteout); err != nil {
				return err
			}
		}
		if to.child != nil && to.entry.upper != nil {
			if err := emptyOut(to.entry.upper); err != nil {
				return err
			}
		}
	}
	err := from.dir.upper().Rename(from.name, to.dir.upper(), to.name, 0)
	if err != nil {
		if from.isDir() && to.entry.whiteout != nil {
			whiteOut(to.dir.upper(), to.name)
		}
		return err
	}
	if to.child != nil && (to.entry.upper == nil || to.isDir()) {
		to.child.dead.Store(true)
	}
	if from.entry.below {
		return whiteOut(from.dir.upper(), from.name)
	}
	return nil
}
