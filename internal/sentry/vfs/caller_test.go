package vfs_test

import (
	"math"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// caller is a task that exists only for its credentials.
type caller struct {
	cred  *auth.Credentials
	umask uint32
	limit uint64
}

func (c *caller) Credentials() *auth.Credentials      { return c.cred }
func (c *caller) Umask() uint32                       { return c.umask }
func (c *caller) FSLimit() uint64                     { return c.limit }
func (c *caller) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (c *caller) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }
func user(uid, gid uint32, groups ...uint32) *caller {
	return &caller{auth.New(uid, gid, groups), 0o022, math.MaxUint64}
}

var root = user(0, 0)

// world is a namespace on an empty tmpfs, with a walk that starts at its root.
type world struct {
	testing.TB
	fs *tmpfs.FS
	ns *vfs.MountNamespace
	at vfs.Origin
}

func newWorld(t testing.TB) *world {
	fs := tmpfs.New(tmpfs.Options{Mode: 0o755})
	ns := vfs.NewMountNamespace(fs, 0)
	r := ns.Root()
	t.Cleanup(ns.DecRef) // there can only be so many mounts at once
	return &world{t, fs, ns, vfs.Origin{Root: r, Start: r}}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// mkdir makes directories, symlink links, and write files, as root.
func (w *world) mkdir(paths ...string) {
	w.Helper()
	for _, p := range paths {
		w.must(w.ns.MkdirAt(root, w.at, p, 0o777))
	}
}

func (w *world) symlink(target, path string) {
	w.Helper()
	w.must(w.ns.SymlinkAt(root, target, w.at, path))
}

func (w *world) write(path, content string) {
	w.Helper()
	d, err := w.ns.OpenAt(root, w.at, path, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: 0o644})
	w.must(err)
	_, err = d.Write(root, []byte(content))
	w.must(err)
	d.DecRef()
}

func (w *world) resolve(path string) vfs.Path {
	w.Helper()
	p, err := w.ns.Resolve(root, w.at, path, 0)
	w.must(err)
	return p
}

// name resolves a path and gives its name, or the error's text.
func (w *world) name(c vfs.Caller, o vfs.Origin, path string, flags vfs.ResolveFlags) string {
	p, err := w.ns.Resolve(c, o, path, flags)
	if err != nil {
		return unix.ErrnoName(err.(unix.Errno))
	}
	defer p.DecRef()
	name, _ := w.ns.PathName(w.at.Root, p)
	return name
}

func errno(err error) string {
	if err == nil {
		return "ok"
	}
	return unix.ErrnoName(err.(unix.Errno))
}
