package procfs

import (
	"path"
	"slices"
	"strings"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// addNetSysctls fills /proc/sys/net: the settings of the network namespace of whoever
// looks. What they are, network.Namespace knows.
func (fs *FS) addNetSysctls(net *genfs.Dir) {
	dirs := map[string]*genfs.Dir{".": net}
	var dir func(name string) *genfs.Dir
	dir = func(name string) *genfs.Dir {
		d := dirs[name]
		if d == nil {
			d = dir(path.Dir(name)).AddDir(path.Base(name))
			dirs[name] = d
		}
		return d
	}
	for _, name := range network.SysctlNames() {
		d := dir(path.Dir(name))
		d.Add(path.Base(name), fs.netSysctl(d.Ino, name))
	}
	for _, name := range network.LinkSysctlDirs() {
		d := dir(path.Dir(name))
		base := path.Base(name)
		d.Add(base, &netLinksDir{fs: fs, path: name, ino: genfs.Ino(d.Ino, base), parent: d.Ino})
	}
	fs.addValue(net.AddDir("unix"), "max_dgram_qlen", "512")
}

// networkOf is the network of who looks, or nil.
func networkOf(c vfs.Caller) *network.Namespace {
	if t := taskOf(c); t != nil {
		return t.Network()
	}
	return nil
}

// netSysctl is a file of a setting, as its caller sees it.
type netSysctl struct {
	*genfs.File
	caller vfs.Caller
}

func (fs *FS) netSysctl(parent uint64, name string) *netSysctl {
	perm := uint32(0o644)
	if network.WriteOnly(name) {
		perm = 0o200
	}
	return &netSysctl{File: &genfs.File{
		Super: &fs.sysctlSuper, Ino: genfs.Ino(parent, path.Base(name)), Perm: perm,
		Content: func(c vfs.Caller, b []byte) ([]byte, error) {
			n := networkOf(c)
			if n == nil {
				return nil, unix.EINVAL
			}
			v, err := n.Sysctl(name)
			if err != nil {
				return nil, err
			}
			return append(append(b, v...), '\n'), nil
		},
		Store: func(c vfs.Caller, data []byte) error {
			n := networkOf(c)
			if n == nil {
				return unix.EINVAL
			}
			return n.SetSysctl(name, strings.TrimRight(string(data), "\x00"))
		},
	}}
}

// For implements vfs.ServedInode.
func (s *netSysctl) For(c vfs.Caller) vfs.Inode { return &netSysctl{s.File, c} }

// owner is the user namespace that the caller's network belongs to.
func (s *netSysctl) owner() *auth.UserNamespace {
	if t := taskOf(s.caller); t != nil {
		return t.NetworkOwner()
	}
	return auth.Initial
}

// Attr implements vfs.Inode: the file belongs to the root of that user namespace.
func (s *netSysctl) Attr() (vfs.Attr, error) {
	a, err := s.File.Attr()
	if uid, gid := s.owner().ToUID(0), s.owner().ToGID(0); uid != auth.NoID && gid != auth.NoID {
		a.UID, a.GID = uid, gid
	}
	return a, err
}

// Access implements vfs.Accesser: with CAP_NET_ADMIN over the network the owner's
// permissions count.
func (s *netSysctl) Access(cred *auth.Credentials, mask uint32) error {
	a, err := s.Attr()
	if err != nil {
		return err
	}
	if mask&unix.R_OK != 0 && a.Mode&0o400 == 0 {
		return unix.EACCES // no capability lets read what only takes something
	}
	if mask&unix.X_OK == 0 && cred.CanIn(s.owner(), unix.CAP_NET_ADMIN) {
		return nil
	}
	return vfs.ModeAllows(cred, a.Mode, a.UID, a.GID, mask)
}

// netLinksDir is a directory with one for each interface, as its caller sees it, such
// as /proc/sys/net/ipv4/conf.
type netLinksDir struct {
	closedDir
	fs          *FS
	path        string // below /proc/sys/net
	ino, parent uint64
	caller      vfs.Caller
}

// For implements vfs.ServedInode.
func (d *netLinksDir) For(c vfs.Caller) vfs.Inode {
	n := *d
	n.caller = c
	return &n
}

// Attr implements vfs.Inode.
func (d *netLinksDir) Attr() (vfs.Attr, error) {
	return d.fs.super.Attr(d.ino, unix.S_IFDIR|0o555), nil
}

// general are the entries that are no interfaces.
func (d *netLinksDir) general() []string {
	if strings.HasSuffix(d.path, "neigh") {
		return []string{"default"}
	}
	return []string{"all", "default"}
}

func (d *netLinksDir) has(name string) bool {
	if slices.Contains(d.general(), name) {
		return true
	}
	n := networkOf(d.caller)
	if n == nil {
		return false
	}
	_, ok := n.LinkByName(name)
	return ok
}

// Lookup implements vfs.Inode.
func (d *netLinksDir) Lookup(name string) (vfs.Inode, error) {
	if !d.has(name) {
		return nil, unix.ENOENT
	}
	return &netLinkDir{fs: d.fs, dir: d.path, name: name, ino: genfs.Ino(d.ino, name), parent: d.ino}, nil
}

// current implements volatile.
func (d *netLinksDir) current(name string, child vfs.Inode) bool {
	return (child != nil) == d.has(name)
}

// Open implements vfs.Inode.
func (d *netLinksDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister. An interface's key comes from its index.
func (d *netLinksDir) List(c vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	put := func(key int64, name string) bool {
		return key <= after || emit(key, vfs.DirEntry{Ino: genfs.Ino(d.ino, name), Type: unix.DT_DIR, Name: name})
	}
	const firstLink = 2
	for i, name := range d.general() {
		if !put(int64(i+1), name) {
			return nil
		}
	}
	n := networkOf(c)
	if n == nil {
		return nil
	}
	for _, l := range n.Links() {
		if !put(firstLink+int64(l.Index), l.Name) {
			return nil
		}
	}
	return nil
}

// netLinkDir is the directory of one interface, or of all.
type netLinkDir struct {
	closedDir
	fs          *FS
	dir, name   string
	ino, parent uint64
}

// Attr implements vfs.Inode.
func (d *netLinkDir) Attr() (vfs.Attr, error) { return d.fs.super.Attr(d.ino, unix.S_IFDIR|0o555), nil }

// Lookup implements vfs.Inode.
func (d *netLinkDir) Lookup(name string) (vfs.Inode, error) {
	if !slices.Contains(network.LinkSysctlNames(d.dir), name) {
		return nil, unix.ENOENT
	}
	return d.fs.netSysctl(d.ino, path.Join(d.dir, d.name, name)), nil
}

// Open implements vfs.Inode.
func (d *netLinkDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *netLinkDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	for i, name := range network.LinkSysctlNames(d.dir) {
		if int64(i) >= after && !emit(int64(i+1), vfs.DirEntry{Ino: genfs.Ino(d.ino, name), Type: unix.DT_REG, Name: name}) {
			return nil
		}
	}
	return nil
}
