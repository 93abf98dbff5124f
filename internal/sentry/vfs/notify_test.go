package vfs_test

import (
	"slices"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

type recorder struct{ events []string }

func (r *recorder) HandleEvent(e vfs.Event) {
	names := map[uint32]string{
		unix.IN_CREATE: "create", unix.IN_DELETE: "delete", unix.IN_DELETE_SELF: "delete self", unix.IN_OPEN: "open",
		unix.IN_CLOSE_WRITE: "close write", unix.IN_CLOSE_NOWRITE: "close", unix.IN_MODIFY: "modify", unix.IN_ACCESS: "access",
		unix.IN_ATTRIB: "attrib", unix.IN_MOVED_FROM: "from", unix.IN_MOVED_TO: "to", unix.IN_MOVE_SELF: "move self",
	}
	s := names[e.Mask&^unix.IN_ISDIR]
	if e.Mask&unix.IN_ISDIR != 0 {
		s += " dir"
	}
	if e.Name != "" {
		s += " " + e.Name
	}
	r.events = append(r.events, s)
}

func (r *recorder) take() []string {
	e := r.events
	r.events = nil
	return e
}

func TestNotify(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.write("/d/f", "x")
	var dir, file recorder
	d, f := w.resolve("/d"), w.resolve("/d/f")
	vfs.Watch(d.Inode(), &dir)
	vfs.Watch(f.Inode(), &file)
	for _, tt := range []struct {
		name      string
		do        func()
		dir, file []string
	}{
		{"write", func() { w.write("/d/f", "y") },
			[]string{"modify f", "open f", "modify f", "close write f"}, []string{"modify", "open", "modify", "close write"}},
		{"create", func() { w.write("/d/g", "") }, []string{"create g", "open g", "close write g"}, nil},
		{"mkdir", func() { w.mkdir("/d/s") }, []string{"create dir s"}, nil},
		{"rename", func() { w.must(w.ns.RenameAt(root, w.at, "/d/f", w.at, "/d/h", 0)) }, []string{"from f", "to h"}, []string{"move self"}},
		{"chmod", func() { w.must(vfs.Chmod(root, f, 0)) }, []string{"attrib h"}, []string{"attrib"}},
		{"unlink", func() { w.must(w.ns.UnlinkAt(root, w.at, "/d/h")) }, []string{"delete h"}, []string{"attrib", "delete self"}},
		{"rmdir", func() { w.must(w.ns.RmdirAt(root, w.at, "/d/s")) }, []string{"delete dir s"}, nil},
	} {
		tt.do()
		if got := dir.take(); !slices.Equal(got, tt.dir) {
			t.Errorf("%s: directory got %q, want %q", tt.name, got, tt.dir)
		}
		if got := file.take(); !slices.Equal(got, tt.file) {
			t.Errorf("%s: file got %q, want %q", tt.name, got, tt.file)
		}
	}
	vfs.Unwatch(d.Inode(), &dir)
	vfs.Unwatch(f.Inode(), &file)
	w.write("/d/k", "")
	if got := dir.take(); got != nil {
		t.Errorf("after Unwatch: %q", got)
	}
}
