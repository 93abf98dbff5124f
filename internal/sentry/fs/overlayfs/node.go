package overlayfs

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// node is an inode of the overlay.
type node struct {
	vfs.NoInode
	fs   *FileSystem
	kind uint32 // unix.S_IFMT part of the mode
	ino  uint64
	// parent and name are where a node with lower parts is found. They never
	// change, since such a node cannot be renamed before it is copied up.
	parent *node
	name   string
	// lowers are the lower inodes: a directory's from the top down, of any
	// other kind one at most.
	lowers []vfs.Inode
	// up is the upper inode, set once.
	up atomic.Pointer[vfs.Inode]
	// dead is set when a node that has no upper inode loses its name.
	dead atomic.Bool
	// list is what the directory holds, if it was read and has not changed.
	list atomic.Pointer[listing]

	// copying is held by whoever copies the node up.
	copying sync.Mutex

	// refs counts vfs's references; while there are any, the layers' inodes
	// are held. Guarded by refMu.
	refMu sync.Mutex
	refs  int
}

// key says which object a node stands for: the upper inode if there is one,
// else the topmost lower one. A lower file with several links is not one
// object here, because copying it up breaks the links: its names are told
// apart by place.
type key struct {
	inode  vfs.Inode
	parent *node
	name   string
}

// node returns the node of an object with the given parts; upper may be nil,
// and then lowers is not empty.
func (fs *FileSystem) node(parent *node, name string, upper vfs.Inode, lowers []vfs.Inode) (*node, error) {
	real := upper
	if real == nil {
		real = lowers[0]
	}
	attr, err := real.Attr()
	if err != nil {
		return nil, err
	}
	k := key{inode: real}
	kind := attr.Mode & unix.S_IFMT
	if upper == nil && kind != unix.S_IFDIR && attr.Nlink > 1 {
		k.parent, k.name = parent, name
	}
	ino := fs.number(upper, attr)
	return fs.nodes.Get(k, func() *node {
		n := &node{fs: fs, kind: kind, ino: ino, parent: parent, name: name, lowers: lowers}
		if upper != nil {
			n.up.Store(&upper)
		}
		return n
	}), nil
}

// number is the inode number that the guest sees: that of the lower inode,
// also after it was copied up.
func (fs *FileSystem) number(upper vfs.Inode, attr vfs.Attr) uint64 {
	if upper != nil {
		// Some file systems keep no attributes on some kinds of file.
		if n := fs.nodes.Find(key{inode: upper}); n != nil {
			return n.ino
		}
		if v, err := upper.GetXattr(fs.prefix + xattrOrigin); err == nil && len(v) == 8 {
			return binary.LittleEndian.Uint64(v)
		}
	}
	return fs.inos.of(attr.DevMajor, attr.DevMinor, attr.Ino)
}

// upper returns the upper inode, or nil.
func (n *node) upper() vfs.Inode {
	if u := n.up.Load(); u != nil {
		return *u
	}
	return nil
}

// real is the inode that counts.
func (n *node) real() vfs.Inode {
	if u := n.up.Load(); u != nil {
		return *u
	}
	return n.lowers[0]
}

// IncRef implements vfs.Referenced.
func (n *node) IncRef() {
	n.refMu.Lock()
	defer n.refMu.Unlock()
	if n.refs++; n.refs > 1 {
		return
	}
	n.eachPart(hold)
}

// DecRef implements vfs.Referenced.
func (n *node) DecRef() {
	n.refMu.Lock()
	defer n.refMu.Unlock()
	if n.refs--; n.refs > 0 {
		return
	}
	n.eachPart(letGo)
}

func (n *node) eachPart(f func(vfs.Inode)) {
	if u := n.upper(); u != nil {
		f(u)
	}
	for _, l := range n.lowers {
		f(l)
	}
}

// setUpper makes u the upper inode of a node that had none.
func (n *node) setUpper(u vfs.Inode) {
	n.refMu.Lock()
	if n.refs > 0 {
		hold(u)
	}
	n.up.Store(&u)
	n.refMu.Unlock()
	n.fs.nodes.Put(key{inode: u}, n)
}

// Attr implements vfs.Inode.
func (n *node) Attr() (vfs.Attr, error) {
	a, err := n.real().Attr()
	if err != nil {
		return a, err
	}
	n.fs.show(&a, n.ino, len(n.lowers) > 0)
	if n.dead.Load() && n.upper() == nil {
		a.Nlink = 0
	}
	return a, nil
}

// show turns a layer's attributes into the overlay's.
func (fs *FileSystem) show(a *vfs.Attr, ino uint64, below bool) {
	a.DevMajor, a.DevMinor, a.Ino = 0, fs.dev, ino
	if below && a.Mode&unix.S_IFMT == unix.S_IFDIR && a.Nlink > 1 {
		// Subdirectories of all layers are not worth counting; 1 tells
		// find(1) and its like not to rely on the number.
		a.Nlink = 1
	}
}

// Permissions implements vfs.Permissioner.
func (n *node) Permissions() (mode, uid, gid uint32) {
	real := n.real()
	if p, ok := real.(vfs.Permissioner); ok {
		return p.Permissions()
	}
	a, err := real.Attr()
	if err != nil {
		return n.kind, 0, 0
	}
	return a.Mode, a.UID, a.GID
}

// SetAttr implements vfs.Inode.
func (n *node) SetAttr(a vfs.SetAttr) error {
	size := int64(-1)
	if a.Which&vfs.SetSize != 0 {
		size = a.Size
	}
	if err := n.copyUp(size); err != nil {
		return err
	}
	return n.upper().SetAttr(a)
}

// Readlink implements vfs.Inode.
func (n *node) Readlink(c vfs.Caller) (string, error) { return n.real().Readlink(c) }

// Open implements vfs.Inode.
func (n *node) Open(c vfs.Caller, flags uint32) (vfs.File, error) {
	switch n.kind {
	case unix.S_IFDIR:
		return &dir{node: n}, nil
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFREG:
		if flags&unix.O_ACCMODE == unix.O_RDONLY && n.upper() == nil {
			return openLower(n, c, flags)
		}
	}
	if n.fs.work == nil && n.kind != unix.S_IFREG {
		return n.lowers[0].Open(c, flags)
	}
	// The ends of a FIFO must meet in one inode, and a lower layer may be one
	// whose special files are the host's.
	if err := n.copyUp(-1); err != nil {
		return nil, err
	}
	return n.upper().Open(c, flags)
}

// private reports whether an extended attribute is the overlay's own.
func (fs *FileSystem) private(name string) bool { return strings.HasPrefix(name, fs.prefix) }

// GetXattr implements vfs.Inode.
func (n *node) GetXattr(name string) ([]byte, error) {
	if n.fs.private(name) {
		return nil, unix.ENODATA
	}
	return n.real().GetXattr(name)
}

// SetXattr implements vfs.Inode.
func (n *node) SetXattr(name string, value []byte, flags uint32) error {
	if n.fs.private(name) {
		return unix.EPERM
	}
	if err := n.copyUp(-1); err != nil {
		return err
	}
	return n.upper().SetXattr(name, value, flags)
}

// RemoveXattr implements vfs.Inode.
func (n *node) RemoveXattr(name string) error {
	if _, err := n.GetXattr(name); err != nil {
		return err
	}
	if err := n.copyUp(-1); err != nil {
		return err
	}
	return n.upper().RemoveXattr(name)
}

// ListXattr implements vfs.Inode.
func (n *node) ListXattr() ([]string, error) {
	all, err := n.real().ListXattr()
	var out []string
	for _, name := range all {
		if !n.fs.private(name) {
			out = append(out, name)
		}
	}
	return out, err
}
