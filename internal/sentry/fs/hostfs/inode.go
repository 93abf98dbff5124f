package hostfs

import (
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// inode is one object of the host's tree. There is one for all of its names.
type inode struct {
	vfs.NoInode
	fs   *FileSystem
	id   identity
	kind uint32 // unix.S_IFMT part of the mode; never changes

	// at is where it was last seen, others are other names of a file. Both
	// are guarded by fs.tree.
	at     place
	others []place

	// dir is the slot of a directory's handle, files those of a regular
	// file's descriptors, by access mode (O_RDONLY, O_WRONLY, O_RDWR).
	dir   *descriptor
	files [3]*descriptor

	// barred says that nothing in it is shown; see crossing.go.
	barred atomic.Bool

	mu sync.Mutex
	// attr is what the host was asked for at attrTime, if that is not 0; mode
	// and owner are good since modeTime, if that is not 0. What was asked for
	// before notBefore is out of date.
	attr               vfs.Attr
	attrTime, modeTime time.Duration
	notBefore          time.Duration
	// target is a symbolic link's, once it was read. It cannot change.
	target string
	// fifo is what connects a FIFO's ends, once it was opened.
	fifo *pipefs.Pipe
}

// Attr implements vfs.Inode.
func (n *inode) Attr() (vfs.Attr, error) {
	ttl := n.fs.opts.AttrTTL
	if ttl > 0 {
		n.mu.Lock()
		if n.attrTime != 0 && n.fs.now()-n.attrTime < ttl {
			a := n.attr
			n.mu.Unlock()
			return a, nil
		}
		n.mu.Unlock()
	}
	asked := n.fs.now()
	st, err := n.stat()
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.remember(&st, asked), nil
}

// KeptAttr implements vfs.AttrKeeper.
func (n *inode) KeptAttr() (vfs.Attr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr, n.attrTime != 0
}

// Permissions implements vfs.Permissioner. In a tree that changes by itself
// each step of a walk revalidates, which brings the attributes, so what is
// remembered is a moment old.
func (n *inode) Permissions() (mode, uid, gid uint32) {
	if !n.fs.opts.Stable {
		n.mu.Lock()
		a, known := &n.attr, n.modeTime != 0
		mode, uid, gid = a.Mode, a.UID, a.GID
		n.mu.Unlock()
		if known {
			return mode, uid, gid
		}
	}
	a, err := n.Attr()
	if err != nil {
		return n.kind, 0, 0
	}
	return a.Mode, a.UID, a.GID
}

// remember keeps what the host said when it was asked at a time that the
// caller took before, unless something newer is known.
func (n *inode) remember(st *unix.Statx_t, asked time.Duration) vfs.Attr {
	a := attrOf(st)
	n.mu.Lock()
	if asked >= n.notBefore {
		n.attr, n.attrTime, n.modeTime, n.notBefore = a, asked, asked, asked
	}
	n.mu.Unlock()
	return a
}

// changed makes the next Attr ask the host.
func (n *inode) changed() {
	n.mu.Lock()
	n.changedLocked()
	n.mu.Unlock()
}

func (n *inode) changedLocked() { n.attrTime, n.notBefore = 0, n.fs.now() }

// changedMode is changed where it is mode or owner, too.
func (n *inode) changedMode() {
	n.mu.Lock()
	n.changedLocked()
	n.modeTime = 0
	n.mu.Unlock()
}

// trusted is how long a mode and an owner will do that nobody has the host's
// word on now: those of the directories on a path, and those of a file that is
// about to be opened and looked at.
const trusted = time.Second

// seenLately reports whether the host showed the inode a short while ago.
func (n *inode) seenLately() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.modeTime != 0 && n.fs.now()-n.modeTime < trusted
}

// written notes that c wrote to the file. The host takes set-ID bits away from
// what the sentry writes only if the sentry lacks the privilege to keep them,
// so this is done for it.
func (n *inode) written(c vfs.Caller) {
	n.mu.Lock()
	mode := n.attr.Mode
	n.changedLocked()
	n.mu.Unlock()
	if m := vfs.WritePrivileges(c, mode); m != mode {
		n.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: m & 07777})
	}
}

// stat asks the host: by an open descriptor if there is one, since that works
// for a removed file too.
func (n *inode) stat() (st unix.Statx_t, err error) {
	if d := n.anyOpen(); d != nil {
		defer n.fs.files.release(d)
		err = fstat(d.fd, &st)
		return st, err
	}
	h, name, err := n.locate()
	if err != nil {
		return st, err
	}
	defer n.fs.dirs.release(h)
	if st, err = n.fs.host.Stat(Dir(h.fd), name); err == nil && n.fs.identify(&st) != n.id {
		err = unix.ESTALE
	}
	return st, err
}

// anyOpen returns a descriptor that is open for the file anyway, or nil.
func (n *inode) anyOpen() *descriptor {
	if n.kind != unix.S_IFREG {
		return nil
	}
	c := &n.fs.files
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range n.files {
		if d != nil {
			return c.take(d)
		}
	}
	return nil
}

// locate returns the directory and name to reach the inode by. A directory is
// reached by its own handle and the empty name.
func (n *inode) locate() (*descriptor, string, error) {
	if n.kind == unix.S_IFDIR {
		h, err := n.fs.acquire(n)
		return h, "", err
	}
	parent, name := n.fs.where(n)
	if parent == nil {
		return nil, "", unix.ESTALE
	}
	h, err := n.fs.acquire(parent)
	return h, name, err
}

// openFile returns a shared descriptor of a regular file; it must be released
// to fs.files.
func (n *inode) openFile(access int) (*descriptor, error) {
	if n.barred.Load() {
		return nil, unix.EACCES
	}
	slot := &n.files[access]
	if d := n.fs.files.get(slot); d != nil {
		return d, nil
	}
	h, name, err := n.locate()
	if err != nil {
		return nil, err
	}
	defer n.fs.dirs.release(h)
	// To open a device may do things by itself.
	if !n.seenLately() {
		if st, err := n.fs.host.Stat(Dir(h.fd), name); err != nil {
			return nil, err
		} else if n.fs.identify(&st) != n.id {
			return nil, unix.ESTALE
		}
	}
	asked := n.fs.now()
	fd, st, err := n.fs.host.Open(Dir(h.fd), name, access)
	if err != nil {
		return nil, err
	}
	if n.fs.identify(&st) != n.id {
		unix.Close(fd)
		return nil, unix.ESTALE
	}
	n.remember(&st, asked)
	return n.fs.files.put(slot, fd), nil
}

// SetAttr implements vfs.Inode.
func (n *inode) SetAttr(a vfs.SetAttr) error {
	if n.barred.Load() {
		return unix.EACCES
	}
	defer n.changedMode()
	if a.Which&vfs.SetSize != 0 {
		if err := n.truncate(a.Size); err != nil {
			return err
		}
	}
	if d := n.anyOpen(); d != nil {
		defer n.fs.files.release(d)
		return setByFD(d.fd, &a)
	}
	h, name, err := n.locate()
	if err != nil {
		return err
	}
	defer n.fs.dirs.release(h)
	host, dir := n.fs.host, Dir(h.fd)
	if uid, gid, ok := owners(&a); ok {
		if err := host.Chown(dir, name, uid, gid); err != nil {
			return err
		}
	}
	// After the owner, because a change of owner clears set-ID bits.
	if a.Which&vfs.SetMode != 0 {
		if err := host.Chmod(dir, name, a.Mode&07777); err != nil {
			return err
		}
	}
	if ts, ok := times(&a); ok {
		return host.Utimes(dir, name, &ts)
	}
	return nil
}

// setByFD makes the changes but that of the size on an open file.
func setByFD(fd int, a *vfs.SetAttr) error {
	if uid, gid, ok := owners(a); ok {
		if err := unix.Fchown(fd, int(int32(uid)), int(int32(gid))); err != nil {
			return err
		}
	}
	if a.Which&vfs.SetMode != 0 {
		if err := unix.Fchmod(fd, a.Mode&07777); err != nil {
			return err
		}
	}
	if ts, ok := times(a); ok {
		return futimens(fd, &ts)
	}
	return nil
}

func owners(a *vfs.SetAttr) (uid, gid uint32, ok bool) {
	uid, gid = ^uint32(0), ^uint32(0)
	if a.Which&vfs.SetUID != 0 {
		uid = a.UID
	}
	if a.Which&vfs.SetGID != 0 {
		gid = a.GID
	}
	return uid, gid, a.Which&(vfs.SetUID|vfs.SetGID) != 0
}

func times(a *vfs.SetAttr) (ts [2]unix.Timespec, ok bool) {
	ts[0].Nsec, ts[1].Nsec = unix.UTIME_OMIT, unix.UTIME_OMIT
	if a.Which&vfs.SetAtime != 0 {
		ts[0] = unix.Timespec{Sec: a.Atime.Sec, Nsec: int64(a.Atime.Nsec)}
	}
	if a.Which&vfs.SetMtime != 0 {
		ts[1] = unix.Timespec{Sec: a.Mtime.Sec, Nsec: int64(a.Mtime.Nsec)}
	}
	return ts, a.Which&(vfs.SetAtime|vfs.SetMtime) != 0
}

func (n *inode) truncate(size int64) error {
	if n.kind == unix.S_IFDIR {
		return unix.EISDIR
	}
	if n.kind != unix.S_IFREG {
		return unix.EINVAL
	}
	d := n.fs.files.get(&n.files[unix.O_RDWR])
	if d == nil {
		var err error
		if d, err = n.openFile(unix.O_WRONLY); err != nil {
			return err
		}
	}
	defer n.fs.files.release(d)
	return retry(func() error { return unix.Ftruncate(d.fd, size) })
}

// Open implements vfs.Inode. Nodes that stand for something outside of the
// file system are not opened on the host: a FIFO connects guests with each
// other only, devices are vfs's to open, and sockets cannot be.
func (n *inode) Open(c vfs.Caller, flags uint32) (vfs.File, error) {
	switch n.kind {
	case unix.S_IFREG:
		d, err := n.openFile(int(flags & unix.O_ACCMODE % 3))
		if err != nil {
			return nil, err
		}
		return &file{inode: n, d: d}, nil
	case unix.S_IFDIR:
		return n.openDir()
	case unix.S_IFIFO:
		return n.pipe().Open(c, flags)
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	}
	return nil, unix.ENXIO
}

// pipe returns what connects the ends of a FIFO.
func (n *inode) pipe() *pipefs.Pipe {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fifo == nil {
		n.fifo = pipefs.NewFIFO()
	}
	return n.fifo
}

// Readlink implements vfs.Inode.
func (n *inode) Readlink(vfs.Caller) (string, error) {
	if n.kind != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	n.mu.Lock()
	target := n.target
	n.mu.Unlock()
	if target != "" {
		return target, nil
	}
	h, name, err := n.locate()
	if err != nil {
		return "", err
	}
	defer n.fs.dirs.release(h)
	target, err = n.fs.host.Readlink(Dir(h.fd), name)
	if err != nil {
		return "", err
	}
	// Keep it only if it is surely this link's.
	if st, err := n.fs.host.Stat(Dir(h.fd), name); err != nil || n.fs.identify(&st) != n.id {
		return "", unix.ESTALE
	}
	n.mu.Lock()
	n.target = target
	n.mu.Unlock()
	return target, nil
}
