package procfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// noNewNames are the methods of a directory in which names are not made: on
// Linux their look-up fails before that, so the error is ENOENT.
type noNewNames struct{}

// closedDir is such a directory, that can do nothing else. What it embeds is
// nested so that noNewNames' methods win.
type closedDir struct {
	nothing
	noNewNames
}

type nothing struct{ vfs.NoInode }

// Create implements vfs.Inode, as all methods here.
func (noNewNames) Create(vfs.Owner, string, uint32) (vfs.Inode, error) { return nil, unix.ENOENT }
func (noNewNames) Mkdir(vfs.Owner, string, uint32) (vfs.Inode, error)  { return nil, unix.ENOENT }
func (noNewNames) Mknod(vfs.Owner, string, uint32, uint32, uint32) (vfs.Inode, error) {
	return nil, unix.ENOENT
}
func (noNewNames) Symlink(vfs.Owner, string, string) (vfs.Inode, error) { return nil, unix.ENOENT }
func (noNewNames) Link(string, vfs.Inode) error                         { return unix.ENOENT }
