package vfs_test

import (
	"slices"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func (w *world) propagate(path string, flags uint64) error {
	w.Helper()
	p := w.resolve(path)
	defer p.DecRef()
	return w.ns.SetPropagation(p, flags)
}

// TestPropagation mounts on one place and sees where else it appears.
func TestPropagation(t *testing.T) {
	tests := []struct {
		name  string
		types map[string]uint64 // what becomes of the three binds of one mount
		on    string
		want  []string
	}{
		{"private", nil, "/a/d", []string{"/a/d"}},
		{"shared", map[string]uint64{"/a": unix.MS_SHARED}, "/c/d", []string{"/a/d", "/b/d", "/c/d"}},
		{"down to a slave", map[string]uint64{"/a": unix.MS_SHARED, "/b": unix.MS_SLAVE}, "/a/d", []string{"/a/d", "/b/d", "/c/d"}},
		{"not up from it", map[string]uint64{"/a": unix.MS_SHARED, "/b": unix.MS_SLAVE}, "/b/d", []string{"/b/d"}},
		{"not to one that left", map[string]uint64{"/a": unix.MS_SHARED, "/b": unix.MS_PRIVATE}, "/a/d", []string{"/a/d", "/c/d"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.mkdir("/a", "/b", "/c")
			w.mount("/a", 0)
			w.mkdir("/a/d")
			if k := tt.types["/a"]; k != 0 {
				w.must(w.propagate("/a", k))
			}
			w.bind("/a", "/b", 0)
			w.bind("/a", "/c", 0)
			for _, at := range []string{"/b", "/c"} {
				if k := tt.types[at]; k != 0 {
					w.must(w.propagate(at, k))
				}
			}
			before := w.points()
			w.mount(tt.on, 0)
			var got []string
			for _, p := range w.points() {
				if !slices.Contains(before, p) {
					got = append(got, p[:len(p)-len(" /")])
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("appeared at %v, want %v", got, tt.want)
			}
			w.must(w.umount(tt.on, 0))
			if after := w.points(); !slices.Equal(after, before) {
				t.Errorf("after unmounting: %v, before %v", after, before)
			}
		})
	}
}

// TestPropagationSlides mounts where a slave has something already: that goes
// on top.
func TestPropagationSlides(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a", "/b")
	w.mount("/a", 0)
	w.mkdir("/a/d")
	w.must(w.propagate("/a", unix.MS_SHARED))
	w.bind("/a", "/b", 0)
	w.must(w.propagate("/b", unix.MS_SLAVE))
	w.mount("/b/d", 0)
	w.mkdir("/b/d/top")
	w.mount("/a/d", 0)
	w.mkdir("/a/d/floor")
	if got := w.name(root, w.at, "/b/d/top", 0); got != "/b/d/top" {
		t.Errorf("what was there first is covered: %s", got)
	}
	w.must(w.umount("/b/d", 0))
	if got := w.name(root, w.at, "/b/d/floor", 0); got != "/b/d/floor" {
		t.Errorf("what came by propagation is not below: %s", got)
	}
}

// TestLocked copies a namespace for a less privileged one.
func TestLocked(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m", "/free")
	w.mount("/m", unix.MS_RDONLY)
	users, err := auth.New(1000, 1000, nil).NewUserNamespace(1)
	w.must(err)
	at := w.ns.Root()
	c, err := w.ns.Clone(2, users, &at)
	w.must(err)
	defer c.DecRef()
	defer at.DecRef()
	o := vfs.Origin{Root: at, Start: at}
	m, err := c.Resolve(root, o, "/m", 0)
	w.must(err)
	defer m.DecRef()
	free, err := c.Resolve(root, o, "/free", 0)
	w.must(err)
	defer free.DecRef()
	for _, tt := range []struct {
		name string
		do   func() error
		want error
	}{
		{"umount", func() error { return c.Unmount(m, unix.MNT_DETACH) }, unix.EINVAL},
		{"make writable", func() error { return c.Remount(m, 0) }, unix.EPERM},
		{"other access times", func() error { return c.Remount(m, unix.MS_RDONLY|unix.MS_NOATIME) }, unix.EPERM},
		{"more restrictions", func() error { return c.Remount(m, unix.MS_RDONLY|unix.MS_NOEXEC) }, nil},
		{"move", func() error { return c.Move(m, free) }, unix.EINVAL},
		{"copy of what it covers", func() error { return c.Bind(at, free, 0) }, unix.EINVAL},
		{"own mount", func() error { return c.Mount(tmpfs.New(tmpfs.Options{}), free, 0, "none") }, nil},
	} {
		if err := tt.do(); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestDetachedTree gives up trees that nobody attaches, and keeps those that
// somebody does.
func TestDetachedTree(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a", "/b")
	w.mount("/a", 0)
	w.mkdir("/a/x")
	p := w.resolve("/a")
	d, err := w.ns.CopyTree(p, true)
	w.must(err)
	d.DecRef()
	d, err = w.ns.CopyTree(p, true)
	w.must(err)
	p.DecRef()
	from, err := d.Place()
	w.must(err)
	at := w.resolve("/b")
	w.must(w.ns.MoveMount(from, at))
	if err := w.ns.MoveMount(from, at); err != unix.ELOOP && err != unix.EBUSY {
		t.Errorf("moved onto itself: %v", err)
	}
	at.DecRef()
	from.DecRef()
	d.DecRef()
	w.must(w.umount("/a", 0))
	if got := w.name(root, w.at, "/b/x", 0); got != "/b/x" {
		t.Errorf("the attached tree is gone: %s", got)
	}
	w.must(w.umount("/b", 0))
}
