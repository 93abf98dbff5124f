package tmpfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// symlink is a symbolic link.
type symlink struct {
	node
	target string
	freed  atomic.Bool
}

// shortTarget is the longest target that costs nothing beside the inode, as
// on Linux.
const shortTarget = 128

// newSymlink makes a link; the page of a long target has been charged.
func (fs *FS) newSymlink(o vfs.Owner, target string) *symlink {
	s := &symlink{target: target}
	s.init(fs, o, unix.S_IFLNK|0o777)
	return s
}

func (s *symlink) free() {
	if len(s.target) > shortTarget && s.freed.CompareAndSwap(false, true) {
		s.fs.uncharge(1)
	}
}

// DecRef is half of vfs.Referenced.
func (s *symlink) DecRef() { s.decRef(s) }

// Attr implements vfs.Inode.
func (s *symlink) Attr() (vfs.Attr, error) {
	a, err := s.node.Attr()
	a.Size = int64(len(s.target))
	return a, err
}

// Open implements vfs.Inode.
func (s *symlink) Open(vfs.Caller, uint32) (vfs.File, error) { return nil, unix.ELOOP }

// Readlink implements vfs.Inode.
func (s *symlink) Readlink(vfs.Caller) (string, error) { return s.target, nil }

// special is a FIFO, a socket or a device node.
type special struct {
	node
	major, minor uint32

	once sync.Once
	fifo *pipefs.Pipe
}

func (fs *FS) newSpecial(o vfs.Owner, mode, major, minor uint32) *special {
	s := &special{major: major, minor: minor}
	s.init(fs, o, mode)
	return s
}

// DecRef is half of vfs.Referenced.
func (s *special) DecRef() { s.decRef(s) }

// Attr implements vfs.Inode.
func (s *special) Attr() (vfs.Attr, error) {
	a, err := s.node.Attr()
	a.RdevMajor, a.RdevMinor = s.major, s.minor
	return a, err
}

// Open implements vfs.Inode.
func (s *special) Open(c vfs.Caller, flags uint32) (vfs.File, error) {
	switch kind := s.mode.Load() & unix.S_IFMT; kind {
	case unix.S_IFIFO:
		s.once.Do(func() { s.fifo = pipefs.NewFIFO() })
		return s.fifo.Open(c, flags)
	case unix.S_IFCHR, unix.S_IFBLK:
		return vfs.OpenDevice(c, kind, s.major, s.minor, flags)
	}
	return nil, unix.ENXIO
}
