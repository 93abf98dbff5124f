// Package procfs is the file system of proc(5): what programs read to learn
// of processes and of the system.
//
// Each PID namespace has a file system of its own, which shows what can be seen
// from it, by the numbers that it has there.
//
// A process's directory is looked up anew each time that its number is walked
// to, since processes end and numbers are used again; everything in it is
// generated when it is read.
//
// Lock order: a generated file's lock (package genfs), then the locks of
// kernel and mm.
package procfs

import (
	"math"
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// magic is proc's number for statfs(2).
const magic = 0x9fa0

// Config is what /proc tells of the machine.
type Config struct {
	Kernel *kernel.Kernel
	// CPUInfo is /proc/cpuinfo's content, from HostCPUInfo. If it is empty a
	// minimal one is made.
	CPUInfo string
	// Cmdline is what /proc/cmdline shows.
	Cmdline string
}

// FS is the file system.
type FS struct {
	k *kernel.Kernel
	// pids is the PID namespace that is shown.
	pids   *kernel.PIDNamespace
	config Config
	super  *genfs.Super
	// sysctlSuper is super for /proc/sys, whose files are no records.
	sysctlSuper genfs.Super
	root        *root
	bootID      string
	load        *loadAverage
	// values are the settings in /proc/sys, which all instances share.
	values *values
}

// New returns the file system and makes it the one that mount(2) mounts.
func New(c Config) *FS {
	if c.CPUInfo == "" {
		c.CPUInfo = minimalCPUInfo(kernel.CPUs())
	}
	fs := &FS{k: c.Kernel, pids: c.Kernel.PIDs(), config: c, super: genfs.NewSuper(vfs.AnonymousDevice()),
		bootID: newUUID(), load: new(loadAverage), values: new(values)}
	fs.load.last = c.Kernel.BootTime()
	fs.root = newRoot(fs)
	c.Kernel.AddFileSystem(fs)
	// The type is registered for all kernels of the process.
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: "proc", Nested: true, Revealing: true,
		Mount: func(r vfs.MountRequest) (vfs.FileSystem, error) {
			t := taskOf(r.Caller)
			if t == nil {
				return nil, unix.ENODEV
			}
			first, ok := t.Kernel().FileSystem("proc").(*FS)
			if !ok {
				return nil, unix.ENODEV
			}
			if !t.Credentials().CanIn(t.PIDs().Owner(), unix.CAP_SYS_ADMIN) {
				return nil, unix.EPERM
			}
			return first.showing(t.PIDs()), nil
		}})
	return fs
}

// showing is the file system of another PID namespace.
func (fs *FS) showing(pids *kernel.PIDNamespace) vfs.FileSystem {
	if pids == fs.pids {
		return fs
	}
	return pids.Proc(func() vfs.FileSystem {
		n := &FS{k: fs.k, pids: pids, config: fs.config, super: genfs.NewSuper(vfs.AnonymousDevice()),
			bootID: fs.bootID, load: fs.load, values: fs.values}
		n.root = newRoot(n)
		return n
	})
}

// Name implements vfs.FileSystem.
func (fs *FS) Name() string { return "proc" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: magic, BlockSize: genfs.Blksize, FragSize: genfs.Blksize, NameLen: 255}, nil
}

// Release implements vfs.FileSystem.
func (fs *FS) Release() {}

// volatile is implemented by the inodes of directories whose names come and
// go: current reports whether child is still what name leads to.
type volatile interface {
	current(name string, child vfs.Inode) bool
}

// Revalidate implements vfs.Revalidator.
func (fs *FS) Revalidate(dir vfs.Inode, name string, child vfs.Inode) bool {
	if d, ok := dir.(volatile); ok {
		return d.current(name, child)
	}
	return child != nil
}

// root is /proc: fixed entries, and a directory for each process.
type root struct {
	*genfs.Dir
	noNewNames
	fs *FS
}

// firstPIDKey is where the numbered entries begin in the order of /proc's
// listing, after the fixed ones.
const firstPIDKey = 256

func (r *root) Lookup(name string) (vfs.Inode, error) {
	if pid, ok := parseID(name); ok {
		// A thread's number works too, though it is not listed.
		if g := r.fs.pids.ThreadGroup(pid); g != nil {
			return newTaskDir(r.fs, r.Ino, subject{pids: r.fs.pids, group: g}), nil
		}
		if t := r.fs.pids.Task(pid); t != nil {
			return newTaskDir(r.fs, r.Ino, subject{pids: r.fs.pids, group: t.ThreadGroup(), of: pid}), nil
		}
		return nil, unix.ENOENT
	}
	return r.Dir.Lookup(name)
}

func (r *root) current(name string, child vfs.Inode) bool {
	pid, ok := parseID(name)
	if !ok {
		return child != nil
	}
	d, ok := child.(*taskDir)
	return ok && d.alive() && (d.group == r.fs.pids.ThreadGroup(pid) || d.of == pid && r.fs.pids.Task(pid) != nil)
}

func (r *root) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: r.Ino, Parent: r.Parent, Lister: r}, nil
}

// Attr counts the processes among the links, as Linux does.
func (r *root) Attr() (vfs.Attr, error) {
	a, err := r.Dir.Attr()
	a.Nlink += uint32(r.fs.pids.ThreadGroupCount())
	return a, err
}

// List implements genfs.Lister.
func (r *root) List(c vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	more := true
	if after < firstPIDKey {
		err := r.Dir.List(c, after, func(key int64, e vfs.DirEntry) bool {
			more = emit(key, e)
			return more
		})
		if err != nil {
			return err
		}
	}
	if !more {
		return nil
	}
	id := int32(min(max(after-firstPIDKey, 0), math.MaxInt32))
	for {
		groups := r.fs.pids.ThreadGroupsAfter(id, listedAtOnce)
		for _, g := range groups {
			id = g.IDIn(r.fs.pids)
			name := strconv.Itoa(int(id))
			if !emit(firstPIDKey+int64(id), vfs.DirEntry{Ino: genfs.Ino(r.Ino, name), Type: unix.DT_DIR, Name: name}) {
				return nil
			}
		}
		if len(groups) < listedAtOnce {
			return nil
		}
	}
}

// listedAtOnce is how many processes are looked up at once to be listed: some of
// what fits into the buffer that a C library gives.
const listedAtOnce = 256

// parseID parses the name of a process or thread: a positive decimal number
// without leading zeros.
func parseID(name string) (int32, bool) {
	if len(name) == 0 || len(name) > 10 || name[0] < '1' || name[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(name, 10, 32)
	return int32(n), err == nil
}

// taskOf is the task behind a Caller, or nil for a caller that is none.
func taskOf(c vfs.Caller) *kernel.Task {
	t, _ := c.(*kernel.Task)
	return t
}
