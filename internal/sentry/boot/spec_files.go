package boot

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/devfs"
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/overlayfs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// furnisher makes the files of a container that an OCI spec describes. It acts as
// the container's first process, before that becomes who it is to be: so what it
// mounts belongs to the container's namespaces, and what it makes to its root.
type furnisher struct {
	s    *sandbox
	c    *Container
	t    *kernel.Task
	ns   *vfs.MountNamespace
	root vfs.Path
	// trees are the roots of c.Files.Trees, mounted nowhere.
	trees []*vfs.FileDescription
	// nodes is a directory with the kernel's devices, mounted nowhere.
	nodes *vfs.FileDescription
	// later are the mounts that become read-only at the end: until then others
	// may have to be made on them.
	later []string
}

// rootOf makes the mount namespace of a container with Files: its root, and
// nothing mounted on it yet. It belongs to users.
func (s *sandbox) rootOf(c *Container, users *auth.UserNamespace) (*vfs.MountNamespace, error) {
	fs, err := hostfs.New(hostfs.Local(take(&c.Root)), hostfs.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening the root file system: %w", err)
	}
	var root vfs.FileSystem = fs
	if c.Files.Readonly && c.lacksPlaces(fs) {
		// The host's files stay as they are: what is to be mounted on, and is not
		// there, is made in a layer in memory.
		if root, err = overlayfs.New(tmpfs.New(tmpfs.Options{Size: layerSize}), fs); err != nil {
			fs.Release()
			return nil, fmt.Errorf("laying mount points over the read-only root file system: %w", err)
		}
	}
	ns := vfs.NewMountNamespaceFor(users, s.kernel.NextNamespaceID(), root, 0)
	if ns == nil {
		root.Release()
		return nil, errors.New("the root file system has no usable root directory")
	}
	return ns, nil
}

// borrowed is a file system that is mounted for a moment, and others' afterwards.
type borrowed struct{ vfs.FileSystem }

func (borrowed) Release() {}

// layerSize bounds the layer of mount points, in bytes.
const layerSize = 16 << 20

// lacksPlaces reports whether something is to be made in the root itself.
func (c *Container) lacksPlaces(fs vfs.FileSystem) bool {
	ns := vfs.NewMountNamespace(borrowed{fs}, 0)
	if ns == nil {
		return false // which whoever mounts it meets again
	}
	defer ns.DecRef()
	root := ns.Root()
	defer root.DecRef()
	var above []string
	missing := func(p string, flags vfs.ResolveFlags) bool {
		for _, a := range above {
			if p == a || strings.HasPrefix(p, a+"/") {
				return false
			}
		}
		at, err := ns.Resolve(builder{auth.New(0, 0, nil)}, vfs.Origin{Root: root, Start: root}, p, flags)
		if err == nil {
			at.DecRef()
		}
		return err != nil
	}
	for _, m := range c.Files.Mounts {
		dest := path.Clean(m.Destination)
		if missing(dest, 0) {
			return true
		}
		above = append(above, dest)
	}
	for _, p := range c.Files.nodes() {
		if missing(p, vfs.NoFollowLast) {
			return true
		}
	}
	return c.Console >= 0 && missing(consolePath, 0) || missing(c.Cwd, 0)
}

// furnish makes the mounts, devices and settings of a container. n is its first
// process, with the credentials of rootUser and with its root directory as root
// and working directory.
func (s *sandbox) furnish(c *Container, n *process) error {
	t := n.task
	f := &furnisher{s: s, c: c, t: t, ns: t.Mounts(), root: t.FS().Root()}
	defer f.close()
	if err := f.openTrees(); err != nil {
		return err
	}
	for i := range c.Files.Mounts {
		m := &c.Files.Mounts[i]
		if err := f.mount(m); err != nil {
			return fmt.Errorf("%s: mounting %s: %w", m.Field, m.Destination, err)
		}
	}
	if err := f.makeDevices(); err != nil {
		return err
	}
	if n.terminal != nil {
		if err := f.bindConsole(n.terminal.Name()); err != nil {
			return fmt.Errorf("making %s: %w", consolePath, err)
		}
	}
	if err := f.makeDirectory(c.Cwd); err != nil {
		return fmt.Errorf("process.cwd: %w", err)
	}
	for _, v := range c.Sysctls {
		if err := f.set(v); err != nil {
			return fmt.Errorf("%s: setting it to %.80q: %w", v.Field, v.Value, err)
		}
	}
	return f.finish()
}

func (f *furnisher) close() {
	for _, d := range append(f.trees, f.nodes) {
		if d != nil {
			d.DecRef()
		}
	}
	f.root.DecRef()
}

// openTrees mounts the host's trees where nobody sees them.
func (f *furnisher) openTrees() error {
	for i := range f.c.Files.Trees {
		fs, err := hostfs.New(hostfs.Local(take(&f.c.Files.Trees[i].FD)), hostfs.Options{})
		if err != nil {
			return fmt.Errorf("opening directory %d of the host: %w", i, err)
		}
		d, err := f.detached(fs)
		if err != nil {
			return err
		}
		f.trees = append(f.trees, d)
	}
	return nil
}

// detached mounts a file system nowhere, for parts of it to be bound. What it
// holds counts as the sandbox's own.
func (f *furnisher) detached(fs vfs.FileSystem) (*vfs.FileDescription, error) {
	own := vfs.NewMountNamespace(fs, 0)
	if own == nil {
		return nil, errors.New("a file system has no usable root directory")
	}
	defer own.DecRef()
	return f.ns.Detached(fs, 0, fs.Name())
}

func (f *furnisher) origin() vfs.Origin { return vfs.Origin{Root: f.root, Start: f.root} }

func (f *furnisher) resolve(p string, flags vfs.ResolveFlags) (vfs.Path, error) {
	return f.ns.Resolve(f.t, f.origin(), p, flags)
}

// mount makes one mount.
func (f *furnisher) mount(m *FileMount) error {
	var fs vfs.FileSystem
	from, err := f.source(m)
	if err != nil {
		return err
	}
	defer from.DecRef()
	at, made, err := f.place(m.Destination, from.Valid() && !from.IsDir())
	if err != nil {
		return err
	}
	defer at.DecRef()
	flags := m.Set
	if from.Valid() {
		err = f.ns.Bind(from, at, 0)
	} else {
		if fs, err = f.fileSystem(m, at, made); err != nil {
			return err
		}
		if m.CopyUp {
			if err := copyUp(f.t, at.Inode(), fs.Root()); err != nil {
				fs.Release()
				return fmt.Errorf("filling it with what was there (tmpcopyup): %w", err)
			}
		}
		if flags&unix.MS_RDONLY != 0 {
			f.later = append(f.later, m.Destination)
			flags &^= unix.MS_RDONLY
		}
		err = f.ns.Mount(fs, at, flags, m.Source)
	}
	if err != nil {
		return err
	}
	top, err := f.resolve(m.Destination, 0)
	if err != nil {
		return err
	}
	defer top.DecRef()
	if from.Valid() {
		if err := f.ns.SetAttributes(top, vfs.Attributes{Set: flags, Clear: ^flags}, false); err != nil {
			return fmt.Errorf("setting its options: %w", err)
		}
	}
	if m.RecursiveSet|m.RecursiveClear != 0 {
		a := vfs.Attributes{Set: m.RecursiveSet, Clear: m.RecursiveClear}
		if err := f.ns.SetAttributes(top, a, true); err != nil {
			return fmt.Errorf("setting its recursive options: %w", err)
		}
	}
	for _, p := range m.Propagation {
		if err := f.ns.SetPropagation(top, p); err != nil {
			return fmt.Errorf("setting its propagation: %w", err)
		}
	}
	return nil
}

// source is what a mount of the host's files shows; not valid for others.
func (f *furnisher) source(m *FileMount) (vfs.Path, error) {
	if m.Type != "" {
		return vfs.Path{}, nil
	}
	top := f.trees[m.Tree].Path
	if m.File == "" {
		top.IncRef()
		return top, nil
	}
	return f.ns.Resolve(f.t, vfs.Origin{Root: top, Start: top}, m.File, vfs.NoFollowLast)
}

// fileSystem makes what is to be mounted at a place; made says that the place was
// not there before.
func (f *furnisher) fileSystem(m *FileMount, at vfs.Path, made bool) (vfs.FileSystem, error) {
	data := m.Data
	switch m.Type {
	case "cgroup", "cgroup2":
		return f.t.ThreadGroup().Cgroup().View(), nil
	case "tmpfs":
		data = f.tmpfsOptions(data, at, made)
	}
	kind, subtype, err := vfs.FindFileSystemType(m.Type)
	if err != nil {
		return nil, fmt.Errorf("there is no file system %q", m.Type)
	}
	fs, err := kind.Mount(vfs.MountRequest{Caller: f.t, Source: m.Source, Flags: m.Set, Subtype: subtype, Data: data})
	if err == unix.EINVAL {
		return nil, fmt.Errorf("%s does not take the options %q", m.Type, data)
	}
	return fs, err
}

// tmpfsOptions adds to a tmpfs's options: the mode of the directory that it
// covers, as runc does it, and a size such that one file system cannot fill a
// sandbox with a memory limit.
func (f *furnisher) tmpfsOptions(data string, at vfs.Path, made bool) string {
	has := func(key string) bool {
		for o := range strings.SplitSeq(data, ",") {
			if strings.HasPrefix(o, key+"=") {
				return true
			}
		}
		return false
	}
	add := func(key, value string) {
		if data != "" {
			data += ","
		}
		data += key + "=" + value
	}
	if a, err := at.Attr(); err == nil && !made && !has("mode") {
		add("mode", strconv.FormatUint(uint64(a.Mode&0o7777), 8))
	}
	if limit := f.s.limit / 2; limit > 0 {
		if !has("size") && !has("nr_blocks") {
			add("size", strconv.FormatInt(limit, 10))
		}
		if !has("nr_inodes") {
			add("nr_inodes", strconv.FormatInt(limit/4096, 10))
		}
	}
	return data
}

// node finds one of the kernel's devices.
func (f *furnisher) node(name string) (vfs.Path, error) {
	if f.nodes == nil {
		dev := tmpfs.New(tmpfs.Options{Size: 1 << 20, Mode: 0o755})
		if err := devfs.Populate(dev.Root()); err != nil {
			return vfs.Path{}, err
		}
		var err error
		if f.nodes, err = f.detached(dev); err != nil {
			return vfs.Path{}, err
		}
	}
	top := f.nodes.Path
	return f.ns.Resolve(f.t, vfs.Origin{Root: top, Start: top}, name, vfs.NoFollowLast)
}
