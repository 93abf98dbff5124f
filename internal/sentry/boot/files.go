package boot

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/devfs"
	_ "coffer/internal/sentry/fs/fuse" // a type that mount(2) knows, and its device
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/overlayfs"
	"coffer/internal/sentry/fs/sysfs"
	"coffer/internal/sentry/fs/tmpfs"
	_ "coffer/internal/sentry/fs/tun" // a device
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// builder is the vfs.Caller that assembles the tree: root, before there is any
// task.
type builder struct{ cred *auth.Credentials }

func (b builder) Credentials() *auth.Credentials    { return b.cred }
func (builder) Umask() uint32                       { return 0 }
func (builder) FSLimit() uint64                     { return ^uint64(0) }
func (builder) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (builder) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

// tree is a mount namespace that is being assembled.
type tree struct {
	builder
	ns   *vfs.MountNamespace
	root vfs.Path
}

// files makes the mounts of a sandbox: the host's root under a layer
// in memory, the file systems of the kernel's own, and what was bound.
func (s *sandbox) files(c *Container) (*vfs.MountNamespace, error) {
	// A file system in memory may take half of it, so that programs have the
	// other half. 0 is tmpfs's own default, half of the host's.
	size := s.limit / 2
	rootFS, err := overlay(&c.Root, size)
	if err != nil {
		return nil, fmt.Errorf("laying the writable layer over the root file system: %w", err)
	}
	t := &tree{builder: builder{auth.New(0, 0, nil)}, ns: vfs.NewMountNamespace(rootFS, 0)}
	if t.ns == nil {
		return nil, errors.New("the root file system has no usable root directory")
	}
	t.root = t.ns.Root()
	defer t.root.DecRef()

	dev := tmpfs.New(tmpfs.Options{Size: 16 << 20, Mode: 0o755})
	if err := devfs.Populate(dev.Root()); err != nil {
		return nil, fmt.Errorf("filling /dev: %w", err)
	}
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	for _, m := range []struct {
		path  string
		fs    vfs.FileSystem
		flags uint64
		name  string
	}{
		{"/proc", s.proc, safe | unix.MS_NOEXEC, "proc"},
		{"/sys", s.kernel.FileSystem("sysfs"), safe | unix.MS_NOEXEC | unix.MS_RDONLY, "sysfs"},
		{"/sys/fs/cgroup", s.kernel.FileSystem(sysfs.CgroupTypeName), safe | unix.MS_NOEXEC | unix.MS_RDONLY, "cgroup2"},
		{"/dev", dev, unix.MS_NOSUID, "devtmpfs"},
		{"/dev/pts", s.pts, unix.MS_NOSUID | unix.MS_NOEXEC, "devpts"},
		{"/dev/shm", inMemory(size), safe, "tmpfs"},
		{"/tmp", inMemory(size), safe, "tmpfs"},
	} {
		if err := t.mount(m.path, m.fs, m.flags, m.name); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", m.path, err)
		}
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if err := t.bind(m, size); err != nil {
			return nil, fmt.Errorf("binding to %s: %w (%s)", m.Path, err, s.advice.Mount)
		}
	}
	for i := range c.Written {
		if err := t.write(&c.Written[i]); err != nil {
			return nil, fmt.Errorf("writing %s: %w", c.Written[i].Path, err)
		}
	}
	return t.ns, nil
}

// addFileSystems adds those that show the machine to all containers alike.
func (s *sandbox) addFileSystems() {
	s.kernel.AddFileSystem(sysfs.New(sysfs.Config{CPUs: kernel.CPUs(), Memory: s.memory, Caches: sysfs.DefaultCaches}))
	whole := sysfs.NewCgroup(
		func() sysfs.Limits {
			return sysfs.Limits{Memory: s.kernel.MemoryLimit(), Tasks: uint64(s.kernel.MaxTasks()), CPUs: kernel.CPUs()}
		},
		func() sysfs.Usage { return usage(s.kernel.ThreadGroups(), s.kernel.TaskCount()) },
	)
	s.kernel.AddFileSystem(whole)
	// In a container with limits of its own, mount(2) shows these.
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: sysfs.CgroupTypeName, Nested: true, Mount: func(r vfs.MountRequest) (vfs.FileSystem, error) {
		if t, ok := r.Caller.(*kernel.Task); ok {
			if own := t.ThreadGroup().Cgroup().View(); own != nil {
				return own, nil
			}
		}
		return whole, nil
	}})
}

// usage is what processes use together.
func usage(groups []*kernel.ThreadGroup, tasks int) sysfs.Usage {
	u := sysfs.Usage{Memory: kernel.MemoryUsed(groups), Tasks: tasks}
	for _, g := range groups {
		user, system := g.CPUTime()
		u.User += uint64(user)
		u.System += uint64(system)
	}
	return u
}

// inMemory makes a file system of so many bytes, and of as many files as it
// has pages, which is what Linux gives a machine of twice that memory: empty
// files take memory too. 0 is tmpfs's own default.
func inMemory(size int64) *tmpfs.FS {
	return tmpfs.New(tmpfs.Options{Size: size, Inodes: size / 4096})
}

// memory is what /sys tells of the sandbox's memory, in bytes.
func (s *sandbox) memory() (total, free uint64) {
	i := s.kernel.MemoryInfo()
	return i.Total, i.Free
}

// overlay lays a file system in memory over a host directory.
func overlay(place *int, size int64) (vfs.FileSystem, error) {
	lower, err := hostfs.New(hostfs.Local(*place), hostfs.Options{Stable: true})
	if err != nil {
		return nil, err
	}
	take(place)
	return overlayfs.New(inMemory(size), lower)
}

// bind shows a host directory or file at m.Path.
func (t *tree) bind(m *Mount, size int64) error {
	var fs vfs.FileSystem
	var err error
	if m.Overlay {
		fs, err = overlay(&m.FD, size)
	} else {
		fs, err = hostfs.New(hostfs.Local(m.FD), hostfs.Options{})
		if err == nil {
			take(&m.FD)
		}
	}
	if err != nil {
		return err
	}
	flags := uint64(unix.MS_NOSUID | unix.MS_NODEV)
	if !m.Write && !m.Overlay {
		flags |= unix.MS_RDONLY
	}
	if m.Name == "" {
		return t.mount(m.Path, fs, flags, "hostfs")
	}
	// A file: mount its directory out of sight, bind the file from there.
	const place = "/.coffer-bind"
	if err := t.mount(place, fs, flags, "hostfs"); err != nil {
		return err
	}
	dir, err := t.resolve(place)
	if err != nil {
		return err
	}
	defer func() {
		t.ns.Unmount(dir, unix.MNT_DETACH)
		dir.DecRef()
		t.ns.RmdirAt(t, t.origin(), place)
	}()
	from, err := t.ns.Resolve(t, vfs.Origin{Root: t.root, Start: dir}, m.Name, vfs.NoFollowLast)
	if err != nil {
		return err
	}
	defer from.DecRef()
	if err := t.ensure(m.Path, true); err != nil {
		return err
	}
	at, err := t.resolve(m.Path)
	if err != nil {
		return err
	}
	defer at.DecRef()
	return t.ns.Bind(from, at, flags)
}

func (t *tree) origin() vfs.Origin { return vfs.Origin{Root: t.root, Start: t.root} }

func (t *tree) resolve(p string) (vfs.Path, error) { return t.ns.Resolve(t, t.origin(), p, 0) }

// mount puts a file system on p, a directory that is made if it is missing.
func (t *tree) mount(p string, fs vfs.FileSystem, flags uint64, source string) error {
	if err := t.ensure(p, false); err != nil {
		fs.Release()
		return err
	}
	at, err := t.resolve(p)
	if err != nil {
		fs.Release()
		return err
	}
	defer at.DecRef()
	return t.ns.Mount(fs, at, flags, source)
}

// write makes a file, in place of one that is there.
func (t *tree) write(f *WrittenFile) error {
	p := path.Clean(f.Path)
	if dir := path.Dir(p); dir != "/" {
		if err := t.ensure(dir, false); err != nil {
			return err
		}
	}
	if err := t.ns.UnlinkAt(t, t.origin(), p); err != nil && err != unix.ENOENT {
		return err
	}
	d, err := t.ns.OpenAt(t, t.origin(), p, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY, Mode: 0o644})
	if err != nil {
		return err
	}
	defer d.DecRef()
	_, err = d.Write(t, f.Data)
	return err
}

// ensure makes a mount point, and the directories that lead to it.
func (t *tree) ensure(p string, file bool) error {
	done := "/"
	parts := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for i, part := range parts {
		done = path.Join(done, part)
		err := t.ns.MkdirAt(t, t.origin(), done, 0o755)
		if last := i == len(parts)-1; last && file && err == nil {
			// It was not there: a file is wanted, not a directory.
			if err = t.ns.RmdirAt(t, t.origin(), done); err == nil {
				err = t.ns.MknodAt(t, t.origin(), done, unix.S_IFREG|0o644, 0, 0)
			}
		}
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("making %s: %w", done, err)
		}
	}
	return nil
}
