package fuse

import (
	"sync"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// inode is a node of the server's as vfs holds it: it answers from memory.
type inode struct {
	vfs.NoInode
	fs             *FileSystem
	id, generation uint64
	// kind is the file type, which never changes.
	kind uint32

	// Guarded by FileSystem.mu. refs are vfs's references, of which loans have
	// not been claimed by IncRef yet; lookups are those that the server counts.
	refs, loans int
	lookups     uint64

	mu sync.Mutex
	// attr is what the server said last; it holds until attrUntil.
	attr      vfs.Attr
	attrUntil time.Time
	// The name that was seen last, and how long it holds.
	parent    *inode
	called    string
	nameUntil time.Time
	epoch     uint64

	// fifo is a FIFO's pipe, once it was opened.
	fifo     *pipefs.Pipe
	fifoOnce sync.Once
}

// IncRef implements vfs.Referenced: it takes over what intern counted.
func (n *inode) IncRef() {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.loans > 0 {
		n.loans--
	} else {
		n.refs++
	}
}

// DecRef implements vfs.Referenced: with the last reference the server may
// forget the node.
func (n *inode) DecRef() {
	fs := n.fs
	fs.mu.Lock()
	n.refs--
	if n.refs > 0 || n.id == rootID {
		fs.mu.Unlock()
		return
	}
	if fs.nodes[n.id] == n {
		delete(fs.nodes, n.id)
	}
	times := n.lookups
	n.lookups = 0
	// The message goes out under the lock: a later entry for the same node
	// must not overtake it.
	fs.cn.forget(n.id, times)
	fs.mu.Unlock()
}

// hold takes one more reference, for who has one.
func (n *inode) hold() {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.refs++
}

// giveUp drops the reference that intern gave, unclaimed.
func (n *inode) giveUp() {
	n.IncRef()
	n.DecRef()
}

// Attr implements vfs.Inode, from memory.
func (n *inode) Attr() (vfs.Attr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr, nil
}

// KeptAttr implements vfs.AttrKeeper.
func (n *inode) KeptAttr() (vfs.Attr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr, now().Before(n.attrUntil)
}

// learn keeps what the server said.
func (n *inode) learn(a vfs.Attr, valid time.Duration) {
	a.DevMinor = n.fs.dev
	a.UID, a.GID = n.fs.cn.ns.ToUID(a.UID), n.fs.cn.ns.ToGID(a.GID)
	if a.Mode&unix.S_IFMT != n.kind {
		return // nonsense; the caller has noticed, or it is about a new node
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attr, n.attrUntil = a, now().Add(valid)
}

// changed makes the next one who wants the attributes ask.
func (n *inode) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attrUntil = time.Time{}
}

// grown notes that the file is at least so large.
func (n *inode) grown(size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attr.Size = max(n.attr.Size, size)
	n.attrUntil = time.Time{}
}

// name notes where the node was seen, and for how long that holds.
func (n *inode) name(parent *inode, called string, valid time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parent, n.called, n.nameUntil, n.epoch = parent, called, now().Add(valid), n.fs.epoch.Load()
}

// named reports whether the server's word for a name still holds.
func (n *inode) named(parent *inode, called string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.parent == parent && n.called == called && n.epoch == n.fs.epoch.Load() && now().Before(n.nameUntil)
}

// For implements vfs.ServedInode.
func (n *inode) For(c vfs.Caller) vfs.Inode { return &call{n, c} }

// Open implements vfs.Inode.
func (n *inode) Open(c vfs.Caller, flags uint32) (vfs.File, error) { return (&call{n, c}).open(flags) }

// Readlink implements vfs.Inode.
func (n *inode) Readlink(c vfs.Caller) (string, error) { return (&call{n, c}).readlink() }

// call is an inode as somebody uses it, who waits for the server.
type call struct {
	*inode
	c vfs.Caller
}

// ask asks the server about the inode.
func (n *call) ask(op uint32, b body) ([]byte, error) { return n.fs.cn.call(n.c, op, n.inode, b, nil) }

// admitted reports whether who calls may use the file system at all.
func (n *call) admitted() error {
	if n.c == nil {
		return nil
	}
	return n.fs.admits(n.c.Credentials())
}

// request is ask for who may use the file system.
func (n *call) request(op uint32, b body) ([]byte, error) {
	if err := n.admitted(); err != nil {
		return nil, err
	}
	return n.ask(op, b)
}

// Attr implements vfs.Inode.
func (n *call) Attr() (vfs.Attr, error) {
	if err := n.admitted(); err != nil {
		return vfs.Attr{}, err
	}
	if a, ok := n.KeptAttr(); ok {
		return a, nil
	}
	b, err := n.ask(opGetattr, body(nil).u32(0, 0).u64(0))
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.take(b)
}

// take keeps the attributes of an answer and returns them.
func (n *call) take(b []byte) (vfs.Attr, error) {
	a, valid, err := parseAttrOut(b)
	if err != nil || a.Mode&unix.S_IFMT != n.kind {
		return vfs.Attr{}, unix.EIO
	}
	n.learn(a, valid)
	return n.inode.Attr()
}

// SetAttr implements vfs.Inode.
func (n *call) SetAttr(s vfs.SetAttr) error {
	var valid uint32
	for _, w := range [...]struct {
		which vfs.Which
		bit   uint32
	}{
		{vfs.SetMode, setMode}, {vfs.SetUID, setUID}, {vfs.SetGID, setGID}, {vfs.SetSize, setSize},
		{vfs.SetAtime, setAtime}, {vfs.SetMtime, setMtime},
	} {
		if s.Which&w.which != 0 {
			valid |= w.bit
		}
	}
	ns := n.fs.cn.ns
	if s.Which&vfs.SetUID != 0 && !ns.Maps(auth.UserID, s.UID) || s.Which&vfs.SetGID != 0 && !ns.Maps(auth.GroupID, s.GID) {
		return unix.EOVERFLOW
	}
	b := body(nil).u32(valid, 0).u64(0, uint64(s.Size), 0, uint64(s.Atime.Sec), uint64(s.Mtime.Sec), 0)
	b = b.u32(s.Atime.Nsec, s.Mtime.Nsec, 0, n.kind|s.Mode&0o7777, 0, ns.FromUID(s.UID), ns.FromGID(s.GID), 0)
	r, err := n.request(opSetattr, b)
	if err != nil {
		return err
	}
	_, err = n.take(r)
	return err
}

// Access implements vfs.Accesser: without default_permissions it is for the
// server to refuse what it does not want.
func (n *call) Access(cred *auth.Credentials, mask uint32) error {
	if err := n.fs.admits(cred); err != nil {
		return err
	}
	program := mask&unix.X_OK != 0 && n.kind == unix.S_IFREG
	foreign := mask&unix.W_OK != 0 && n.fs.cn.ns != auth.Initial
	if !n.fs.opts.defaultPermissions && !program && !foreign {
		return nil
	}
	a, err := n.Attr()
	if err != nil {
		return err
	}
	if foreign && (a.UID == auth.NoID || a.GID == auth.NoID) {
		return unix.EACCES // nobody can write what belongs to nobody
	}
	if n.fs.opts.defaultPermissions {
		return vfs.ModeAllows(cred, a.Mode, a.UID, a.GID, mask)
	}
	if program && a.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

// AskAccess implements vfs.AccessAsker.
func (n *call) AskAccess(mask uint32) error {
	if n.fs.opts.defaultPermissions {
		return nil
	}
	_, err := n.ask(opAccess, body(nil).u32(mask, 0))
	if err == unix.ENOSYS {
		return nil
	}
	return err
}

// readlink returns a link's target. EIO for one that no path can be.
func (n *call) readlink() (string, error) {
	if n.kind != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	b, err := n.ask(opReadlink, nil)
	if err != nil {
		return "", err
	}
	if len(b) == 0 || len(b) >= unix.PathMax {
		return "", unix.EIO
	}
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), nil
		}
	}
	return string(b), nil
}
