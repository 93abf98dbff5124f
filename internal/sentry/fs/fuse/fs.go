package fuse

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// options are those of mount(2)'s data.
type options struct {
	fd                 int32
	rootMode           uint32
	uid, gid           uint32
	defaultPermissions bool
	allowOther         bool
	maxRead            uint32
	hasFD, hasMode     bool
	hasUser, hasGroup  bool
}

// parseOptions decodes "fd=N,rootmode=OCTAL,user_id=N,group_id=N" and what may
// follow. EINVAL for what is unknown or missing.
func parseOptions(data string) (options, error) {
	o := options{maxRead: ^uint32(0)}
	for _, opt := range strings.Split(data, ",") {
		name, value, has := strings.Cut(opt, "=")
		base := 10
		if name == "rootmode" {
			base = 8
		}
		n, err := strconv.ParseUint(value, base, 32)
		if has != (err == nil) {
			return o, unix.EINVAL
		}
		switch {
		case opt == "":
		case opt == "default_permissions":
			o.defaultPermissions = true
		case opt == "allow_other":
			o.allowOther = true
		case !has:
			return o, unix.EINVAL
		case name == "fd" && n <= 1<<31-1:
			o.fd, o.hasFD = int32(n), true
		case name == "rootmode" && validType(uint32(n)):
			o.rootMode, o.hasMode = uint32(n), true
		case name == "user_id" && n != 1<<32-1:
			o.uid, o.hasUser = uint32(n), true
		case name == "group_id" && n != 1<<32-1:
			o.gid, o.hasGroup = uint32(n), true
		case name == "max_read":
			o.maxRead = uint32(n)
		default:
			return o, unix.EINVAL
		}
	}
	if !o.hasFD || !o.hasMode || !o.hasUser || !o.hasGroup {
		return o, unix.EINVAL
	}
	return o, nil
}

// FileSystem is what a server serves. It implements vfs.FileSystem.
type FileSystem struct {
	cn   *connection
	opts options
	name string
	dev  uint32
	root *inode
	// epoch is counted up when the server says that a name is out of date:
	// then all are asked for again.
	epoch atomic.Uint64

	mu    sync.Mutex
	nodes map[uint64]*inode
}

// mount makes a file system of the device that the options name.
func mount(r vfs.MountRequest) (vfs.FileSystem, error) {
	o, err := parseOptions(r.Data)
	if err != nil {
		return nil, err
	}
	dev, desc, err := deviceAt(r.Caller, o.fd)
	if err != nil {
		return nil, unix.EINVAL
	}
	defer desc.DecRef()
	ns := r.Caller.Credentials().UserNS
	o.uid, o.gid = ns.ToUID(o.uid), ns.ToGID(o.gid)
	if dev.ns != ns || o.uid == auth.NoID || o.gid == auth.NoID {
		return nil, unix.EINVAL
	}
	fs := &FileSystem{cn: newConnection(ns), opts: o, name: "fuse", dev: vfs.AnonymousDevice(), nodes: map[uint64]*inode{}}
	if r.Subtype != "" {
		fs.name += "." + r.Subtype
	}
	fs.cn.notified = fs
	fs.root = &inode{fs: fs, id: rootID, kind: o.rootMode & unix.S_IFMT}
	fs.root.attr = vfs.Attr{DevMinor: fs.dev, Ino: rootID, Mode: o.rootMode, Nlink: 1, UID: o.uid, GID: o.gid, BlockSize: 4096}
	fs.nodes[rootID] = fs.root
	if err := dev.connect(fs.cn); err != nil {
		return nil, err
	}
	fs.cn.start()
	return fs, nil
}

// Name implements vfs.FileSystem.
func (fs *FileSystem) Name() string { return fs.name }

// Root implements vfs.FileSystem.
func (fs *FileSystem) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem, for who cannot wait.
func (fs *FileSystem) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: unix.FUSE_SUPER_MAGIC}, nil
}

// StatFSFor implements vfs.ServedFileSystem. Who may not use the file system
// learns its type only.
func (fs *FileSystem) StatFSFor(c vfs.Caller) (vfs.StatFS, error) {
	s, _ := fs.StatFS()
	if fs.admits(c.Credentials()) != nil {
		return s, nil
	}
	b, err := fs.cn.call(c, opStatfs, fs.root, nil, nil)
	if err != nil {
		return s, err
	}
	return parseStatfs(b)
}

// Release implements vfs.FileSystem: with the last mount the connection ends.
func (fs *FileSystem) Release() { fs.cn.abort() }

// Abort implements vfs.Aborter.
func (fs *FileSystem) Abort() { fs.cn.abort() }

// ShowOptions implements vfs.OptionShower.
func (fs *FileSystem) ShowOptions() string {
	s := fmt.Sprintf("user_id=%d,group_id=%d", fs.cn.ns.FromUID(fs.opts.uid), fs.cn.ns.FromGID(fs.opts.gid))
	if fs.opts.defaultPermissions {
		s += ",default_permissions"
	}
	if fs.opts.allowOther {
		s += ",allow_other"
	}
	if fs.opts.maxRead != ^uint32(0) {
		s += fmt.Sprintf(",max_read=%d", fs.opts.maxRead)
	}
	return s
}

// admits reports whether somebody may use the file system at all: without
// allow_other only who mounted it, so that it cannot trap or spy on others, and
// with it nobody from outside of the user namespace that it was mounted in.
func (fs *FileSystem) admits(cred *auth.Credentials) error {
	o := &fs.opts
	if o.allowOther && cred.UserNS.Within(fs.cn.ns) || cred.EUID == o.uid && cred.SUID == o.uid && cred.RUID == o.uid &&
		cred.EGID == o.gid && cred.SGID == o.gid && cred.RGID == o.gid {
		return nil
	}
	return unix.EACCES
}

// Revalidate implements vfs.Revalidator. dir is what For returned.
func (fs *FileSystem) Revalidate(dir vfs.Inode, name string, child vfs.Inode) bool {
	d, ok := dir.(*call)
	n, isNode := child.(*inode)
	if !ok || !isNode {
		return false // what is not there is looked up again
	}
	if n.named(d.inode, name) {
		return true
	}
	e, err := d.lookup(name)
	if err != nil {
		return false
	}
	got := fs.intern(&e)
	// The cache has a reference of its own.
	defer got.giveUp()
	if got != n {
		return false
	}
	n.name(d.inode, name, e.nameValid)
	return true
}

// intern returns the inode of an entry, with one more reference of the
// server's counted and one of vfs's that the next IncRef takes over. A number
// that the server gives to another object than before becomes a new inode.
func (fs *FileSystem) intern(e *entry) *inode {
	fs.mu.Lock()
	n := fs.nodes[e.node]
	if n == nil || n.generation != e.generation || n.kind != e.attr.Mode&unix.S_IFMT {
		n = &inode{fs: fs, id: e.node, generation: e.generation, kind: e.attr.Mode & unix.S_IFMT}
		fs.nodes[e.node] = n
	}
	n.lookups++
	n.refs++
	n.loans++
	fs.mu.Unlock()
	n.learn(e.attr, e.attrValid)
	return n
}

// expire makes the next one who wants a node's attributes ask. ENOENT if
// there is no such node.
func (fs *FileSystem) expire(id uint64) error {
	fs.mu.Lock()
	n := fs.nodes[id]
	fs.mu.Unlock()
	if n == nil {
		return unix.ENOENT
	}
	n.changed()
	return nil
}

// now is the clock of all time-outs.
func now() time.Time { return time.Now() }
