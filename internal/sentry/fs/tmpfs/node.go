package tmpfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// node is what all inodes have in common.
type node struct {
	vfs.NoInode
	fs  *FS
	ino uint64

	// mode (with the file type), uid and gid are read without a lock by the
	// path walk, and written under mu.
	mode, uid, gid atomic.Uint32
	// nlink is written under fs.mu.
	nlink atomic.Uint32
	// refs counts dentries and open files; a node without links ends with
	// the last.
	refs atomic.Int64

	mu                         sync.Mutex
	atime, mtime, ctime, btime vfs.Time
	xattrs                     xattrs
}

func (n *node) init(fs *FS, o vfs.Owner, mode uint32) {
	n.fs, n.ino = fs, fs.lastIno.Add(1)
	n.mode.Store(mode)
	n.uid.Store(o.UID)
	n.gid.Store(o.GID)
	n.nlink.Store(1)
	now := vfs.Now()
	n.atime, n.mtime, n.ctime, n.btime = now, now, now, now
}

// inode is what a directory entry leads to.
type inode interface {
	vfs.Inode
	base() *node
	// free gives back the contents; it may be called more than once.
	free()
}

func (n *node) base() *node { return n }
func (n *node) free()       {}

// Permissions implements vfs.Permissioner.
func (n *node) Permissions() (mode, uid, gid uint32) {
	return n.mode.Load(), n.uid.Load(), n.gid.Load()
}

// IncRef is half of vfs.Referenced; the kinds have DecRef.
func (n *node) IncRef() { n.refs.Add(1) }

// decRef drops a reference and frees i, the node's inode, if nothing leads to
// it any more.
func (n *node) decRef(i inode) {
	if n.refs.Add(-1) == 0 && n.nlink.Load() == 0 {
		n.end(i)
	}
}

// end frees a node that nothing leads to any more.
func (n *node) end(i inode) {
	i.free()
	n.mu.Lock()
	n.xattrs.clear(n.fs)
	n.mu.Unlock()
}

// unlinked drops one link of i and frees what is then unused. fs.mu is held.
func unlinked(i inode, links uint32) {
	n := i.base()
	n.fs.unchargeInode()
	n.touch(changed)
	if n.nlink.Add(-links) == 0 && n.refs.Load() == 0 {
		n.end(i)
	}
}

// Attr implements vfs.Inode for what has no size.
func (n *node) Attr() (vfs.Attr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return vfs.Attr{
		DevMinor: n.fs.dev, Ino: n.ino,
		Mode: n.mode.Load(), UID: n.uid.Load(), GID: n.gid.Load(), Nlink: n.nlink.Load(),
		BlockSize: pageSize,
		Atime:     n.atime, Mtime: n.mtime, Ctime: n.ctime, Btime: n.btime,
	}, nil
}

// SetAttr implements vfs.Inode for what has no size.
func (n *node) SetAttr(s vfs.SetAttr) error {
	if s.Which&vfs.SetSize != 0 {
		return unix.EINVAL
	}
	n.setAttr(s)
	return nil
}

func (n *node) setAttr(s vfs.SetAttr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.Which&vfs.SetMode != 0 {
		n.mode.Store(n.mode.Load()&unix.S_IFMT | s.Mode&0o7777)
	}
	if s.Which&vfs.SetUID != 0 {
		n.uid.Store(s.UID)
	}
	if s.Which&vfs.SetGID != 0 {
		n.gid.Store(s.GID)
	}
	now := vfs.Now()
	if s.Which&vfs.SetSize != 0 {
		n.mtime = now
	}
	if s.Which&vfs.SetAtime != 0 {
		n.atime = s.Atime
	}
	if s.Which&vfs.SetMtime != 0 {
		n.mtime = s.Mtime
	}
	n.ctime = now
}

// What touch sets to the present time.
type touched int

const (
	changed  touched = iota // ctime
	modified                // mtime and ctime
)

func (n *node) touch(t touched) {
	now := vfs.Now()
	n.mu.Lock()
	if t == modified {
		n.mtime = now
	}
	n.ctime = now
	n.mu.Unlock()
}

// accessed sets atime as the relatime mount option does: only if it is not
// after the last change. (That it is a day old is looked at by open.)
func (n *node) accessed() {
	n.mu.Lock()
	if !n.mtime.Before(n.atime) || !n.ctime.Before(n.atime) {
		n.atime = vfs.Now()
	}
	n.mu.Unlock()
}

// opened sets atime if it is more than a day old, as relatime does.
func (n *node) opened() {
	const day = 24 * 60 * 60
	n.mu.Lock()
	if now := vfs.Now(); now.Sec-n.atime.Sec > day {
		n.atime = now
	}
	n.mu.Unlock()
}

// written sets the times after c has written, and drops set-user-ID.
func (n *node) written(c vfs.Caller) {
	now := vfs.Now()
	n.mu.Lock()
	n.mtime, n.ctime = now, now
	if m := n.mode.Load(); m&(unix.S_ISUID|unix.S_ISGID) != 0 {
		n.mode.Store(vfs.WritePrivileges(c, m))
	}
	n.mu.Unlock()
}
