package vfs_test

import (
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func (w *world) mount(path string, flags uint64) {
	w.Helper()
	p := w.resolve(path)
	defer p.DecRef()
	w.must(w.ns.Mount(tmpfs.New(tmpfs.Options{}), p, flags, "src"))
}

func (w *world) bind(from, at string, flags uint64) {
	w.Helper()
	f, a := w.resolve(from), w.resolve(at)
	defer f.DecRef()
	defer a.DecRef()
	w.must(w.ns.Bind(f, a, flags))
}

func (w *world) umount(path string, flags uint32) error {
	w.Helper()
	p := w.resolve(path)
	defer p.DecRef()
	return w.ns.Unmount(p, flags)
}

func (w *world) points() (points []string) {
	for _, m := range w.ns.Mounts(w.at.Root) {
		points = append(points, m.Point+" "+m.Root)
	}
	return points
}

func TestMountOver(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m", "/m/below")
	w.mount("/m", 0)
	w.mkdir("/m/one")
	w.mount("/m", 0)
	if got := w.name(root, w.at, "/m/one", 0); got != "ENOENT" {
		t.Errorf("the second mount does not cover: %s", got)
	}
	w.must(w.umount("/m", 0))
	if got := w.name(root, w.at, "/m/one", 0); got != "/m/one" {
		t.Errorf("the first mount is gone: %s", got)
	}
	w.must(w.umount("/m", 0))
	if got := w.name(root, w.at, "/m/below", 0); got != "/m/below" {
		t.Errorf("the directory is gone: %s", got)
	}
	if err := w.umount("/m", 0); err != unix.EINVAL {
		t.Errorf("umount of a directory: %v", err)
	}
	if err := w.umount("/", 0); err != unix.EINVAL {
		t.Errorf("umount of the root: %v", err)
	}
}

func TestMountBusy(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.mount("/m", 0)
	w.mkdir("/m/sub")
	if err := w.ns.RmdirAt(root, w.at, "/m"); err != unix.EBUSY {
		t.Errorf("rmdir of a mount point: %v", err)
	}
	held := w.resolve("/m/sub")
	if err := w.umount("/m", 0); err != unix.EBUSY {
		t.Errorf("umount with a working directory in it: %v", err)
	}
	w.mount("/m/sub", 0)
	held.DecRef()
	if err := w.umount("/m", 0); err != unix.EBUSY {
		t.Errorf("umount with a mount on it: %v", err)
	}
	held = w.resolve("/m/sub")
	w.must(w.umount("/m", unix.MNT_DETACH))
	if got := w.name(root, w.at, "/m/sub", 0); got != "ENOENT" {
		t.Errorf("detached, but %s is there", got)
	}
	// What is held goes on working.
	w.must(w.ns.MkdirAt(root, vfs.Origin{Root: w.at.Root, Start: held}, "x", 0o777))
	if _, ok := w.ns.PathName(w.at.Root, held); ok {
		t.Error("a detached mount has a name")
	}
	held.DecRef()
	w.must(w.ns.RmdirAt(root, w.at, "/m"))
}

func TestBind(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a", "/a/b", "/a/m", "/to", "/rec")
	w.write("/a/file", "x")
	w.write("/target", "")
	w.mount("/a/m", 0)
	w.mkdir("/a/m/inner")
	w.bind("/a", "/to", 0)
	w.bind("/a", "/rec", unix.MS_REC)
	w.bind("/a/file", "/target", 0)
	for path, want := range map[string]string{
		"/to/b": "/to/b", "/to/..": "/", "/to/m/inner": "ENOENT",
		"/rec/m/inner": "/rec/m/inner", "/rec/m/inner/../..": "/rec", "/target": "/target",
	} {
		if got := w.name(root, w.at, path, 0); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	w.write("/to/new", "y")
	if got := w.name(root, w.at, "/rec/new", 0); got != "/rec/new" {
		t.Errorf("not the same files: %s", got)
	}
	if err := w.ns.RenameAt(root, w.at, "/a/file", w.at, "/to/file2", 0); err != unix.EXDEV {
		t.Errorf("rename between binds: %v", err)
	}
	want := map[string]bool{"/ /": true, "/a/m /": true, "/to /a": true, "/rec /a": true, "/rec/m /": true, "/target /a/file": true}
	got := w.points()
	for _, p := range got {
		if !want[p] {
			t.Errorf("unexpected mount %q", p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("mounts are %q", got)
	}
	dir, file := w.resolve("/a/b"), w.resolve("/a/file")
	if err := w.ns.Bind(dir, file, 0); err != unix.ENOTDIR {
		t.Errorf("directory on a file: %v", err)
	}
	dir.DecRef()
	file.DecRef()
}

func TestReadOnlyMount(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.mount("/m", 0)
	w.write("/m/f", "x")
	w.mkdir("/m/d")
	d := openFile(w, "/m/f")
	m := w.resolve("/m")
	if err := w.ns.Remount(m, unix.MS_RDONLY); err != unix.EBUSY {
		t.Errorf("remount with a writer: %v", err)
	}
	d.DecRef()
	w.must(w.ns.Remount(m, unix.MS_RDONLY|unix.MS_NOEXEC))
	f := w.resolve("/m/f")
	open := func(path string, flags uint32) error {
		d, err := w.ns.OpenAt(root, w.at, path, vfs.OpenHow{Flags: flags, Mode: 0o600})
		if err == nil {
			d.DecRef()
		}
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"read", open("/m/f", unix.O_RDONLY), "ok"},
		{"write", open("/m/f", unix.O_RDWR), "EROFS"},
		{"truncate at open", open("/m/f", unix.O_RDONLY|unix.O_TRUNC), "EROFS"},
		{"O_CREAT of what is there", open("/m/f", unix.O_RDONLY|unix.O_CREAT), "ok"},
		{"create", open("/m/g", unix.O_RDONLY|unix.O_CREAT), "EROFS"},
		{"O_EXCL of what is there", open("/m/f", unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL), "EEXIST"},
		{"mkdir", w.ns.MkdirAt(root, w.at, "/m/x", 0o777), "EROFS"},
		{"mkdir of what is there", w.ns.MkdirAt(root, w.at, "/m/d", 0o777), "EEXIST"},
		{"unlink", w.ns.UnlinkAt(root, w.at, "/m/f"), "EROFS"},
		{"unlink of what is not there", w.ns.UnlinkAt(root, w.at, "/m/g"), "ENOENT"},
		{"rename", w.ns.RenameAt(root, w.at, "/m/f", w.at, "/m/g", 0), "EROFS"},
		{"chmod", vfs.Chmod(root, f, 0), "EROFS"},
		{"truncate", vfs.Truncate(root, f, 0), "EROFS"},
		{"access W_OK", vfs.Access(root, f, unix.W_OK), "EROFS"},
		{"access X_OK", vfs.Access(root, f, unix.X_OK), "EACCES"},
	} {
		if got := errno(tt.err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	f.DecRef()
	w.must(w.ns.Remount(m, 0))
	w.must(open("/m/f", unix.O_RDWR))
	m.DecRef()
}

func TestMove(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m", "/n")
	w.mount("/m", 0)
	w.mkdir("/m/in", "/m/deep")
	m, n, in := w.resolve("/m"), w.resolve("/n"), w.resolve("/m/in")
	if err := w.ns.Move(m, in); err != unix.ELOOP {
		t.Errorf("move into itself: %v", err)
	}
	if err := w.ns.Move(in, n); err != unix.EINVAL {
		t.Errorf("move of a directory: %v", err)
	}
	w.must(w.ns.Move(m, n))
	m.DecRef()
	n.DecRef()
	if name, _ := w.ns.PathName(w.at.Root, in); name != "/n/in" {
		t.Errorf("what was held is now at %s", name)
	}
	in.DecRef()
	if got := w.name(root, w.at, "/m/in", 0); got != "ENOENT" {
		t.Errorf("old place: %s", got)
	}
	w.must(w.umount("/n", 0))
}

func TestPivotRoot(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/new", "/old-only")
	w.mount("/new", 0)
	w.mkdir("/new/put", "/new/bin")
	n, put := w.resolve("/new"), w.resolve("/new/put")
	if err := w.ns.PivotRoot(w.at.Root, n, w.at.Root); err != unix.EBUSY {
		t.Errorf("put old root onto itself: %v", err)
	}
	w.must(w.ns.PivotRoot(w.at.Root, n, put))
	r := w.ns.Root()
	o := vfs.Origin{Root: r, Start: r}
	for path, want := range map[string]string{"/bin": "ok", "/put/old-only": "ok", "/old-only": "ENOENT", "/put/..": "ok"} {
		p, err := w.ns.Resolve(root, o, path, 0)
		if errno(err) != want {
			t.Errorf("%s: %v", path, err)
		}
		p.DecRef()
	}
	old, err := w.ns.Resolve(root, o, "/put", 0)
	w.must(err)
	w.must(w.ns.Unmount(old, unix.MNT_DETACH))
	old.DecRef()
	if p, err := w.ns.Resolve(root, o, "/put/old-only", 0); err != unix.ENOENT {
		t.Errorf("old root is still at %v: %v", p, err)
	}
}

func TestCloneNamespace(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.mount("/m", 0)
	w.mkdir("/m/x")
	c, err := w.ns.Clone(1, auth.Initial)
	w.must(err)
	r := c.Root()
	o := vfs.Origin{Root: r, Start: r}
	w.must(w.umount("/m", 0))
	p, err := c.Resolve(root, o, "/m/x", 0)
	w.must(err)
	p.DecRef()
	r.DecRef()
	c.DecRef()
	if got := w.name(root, w.at, "/m/x", 0); got != "ENOENT" {
		t.Errorf("unmounted, but %s is there", got)
	}
}
