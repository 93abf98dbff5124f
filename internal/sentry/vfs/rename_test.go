package vfs_test

import (
	"math/rand"
	"sync"
	"testing"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func TestRename(t *testing.T) {
	for _, tt := range []struct {
		old, new string
		flags    uint32
		want     string
	}{
		{"/a/file", "/x", 0, "ok"},
		{"/a/file", "/a/file", 0, "ok"},
		{"/a/file", "/a/b", 0, "EISDIR"},
		{"/a/b", "/a/file", 0, "ENOTDIR"},
		{"/a/b", "/e", 0, "ok"},
		{"/e", "/a", 0, "ENOTEMPTY"},
		{"/a", "/a/b/x", 0, "EINVAL"},
		{"/a", "/a/b", 0, "EINVAL"},
		{"/a/b", "/a", 0, "ENOTEMPTY"},
		{"/a/b/c", "/a", 0, "ENOTEMPTY"},
		{"/missing", "/x", 0, "ENOENT"},
		{"/a/file", "/missing/x", 0, "ENOENT"},
		{"/a/file", "/x/", 0, "ENOTDIR"},
		{"/a/file/", "/x", 0, "ENOTDIR"},
		{"/a/b/", "/x/", 0, "ok"},
		{"/a/.", "/x", 0, "EBUSY"},
		{"/a/b/..", "/x", 0, "EBUSY"},
		{"/a/b", "/", 0, "EBUSY"},
		{"/a/b", "/", unix.RENAME_NOREPLACE, "EEXIST"},
		{"/a/file", "/e", unix.RENAME_NOREPLACE, "EEXIST"},
		{"/a/file", "/x", unix.RENAME_NOREPLACE, "ok"},
		{"/a/file", "/x", unix.RENAME_EXCHANGE, "ENOENT"},
		{"/a/file", "/e", unix.RENAME_EXCHANGE, "ok"},
		{"/a", "/e", unix.RENAME_EXCHANGE, "ok"},
		{"/a", "/a/b", unix.RENAME_EXCHANGE, "EINVAL"},
		{"/a/b", "/a", unix.RENAME_EXCHANGE, "EINVAL"},
		{"/a/file", "/e", unix.RENAME_EXCHANGE | unix.RENAME_NOREPLACE, "EINVAL"},
		{"/a/file", "/x", unix.RENAME_WHITEOUT, "ok"},
		{"/a/file", "/mnt/x", 0, "EXDEV"},
		{"/mnt", "/x", 0, "EBUSY"},
		{"/e", "/mnt", 0, "EBUSY"},
		{"/hard1", "/hard2", 0, "ok"},
	} {
		w := newWorld(t)
		w.mkdir("/a", "/a/b", "/a/b/c", "/e", "/mnt")
		w.write("/a/file", "x")
		w.write("/hard1", "x")
		h := w.resolve("/hard1")
		w.must(w.ns.LinkAt(root, h, w.at, "/hard2"))
		mnt := w.resolve("/mnt")
		w.must(w.ns.Mount(tmpfs.New(tmpfs.Options{}), mnt, 0, "none"))
		err := w.ns.RenameAt(root, w.at, tt.old, w.at, tt.new, tt.flags)
		if got := errno(err); got != tt.want {
			t.Errorf("rename(%s, %s, %d): %s, want %s", tt.old, tt.new, tt.flags, got, tt.want)
		}
	}
}

// TestRenameMoves looks at what a rename leaves behind.
func TestRenameMoves(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a", "/a/b", "/z")
	w.write("/a/b/f", "x")
	b := w.resolve("/a/b")
	w.must(w.ns.RenameAt(root, w.at, "/a/b", w.at, "/z/n", 0))
	if name, _ := w.ns.PathName(w.at.Root, b); name != "/z/n" {
		t.Errorf("held directory is now %s", name)
	}
	if got := w.name(root, vfs.Origin{Root: w.at.Root, Start: b}, "..", 0); got != "/z" {
		t.Errorf("its parent is %s", got)
	}
	if got := w.name(root, w.at, "/a/b", 0); got != "ENOENT" {
		t.Errorf("old name is %s", got)
	}
	if got := w.name(root, w.at, "/z/n/f", 0); got != "/z/n/f" {
		t.Errorf("file is %s", got)
	}
	b.DecRef()
	w.must(w.ns.RenameAt(root, w.at, "/z/n/f", w.at, "/z/g", unix.RENAME_WHITEOUT))
	p := w.resolve("/z/n/f")
	a, err := p.Attr()
	w.must(err)
	if a.Mode&unix.S_IFMT != unix.S_IFCHR || a.RdevMajor|a.RdevMinor != 0 {
		t.Errorf("whiteout is %+v", a)
	}
}

// TestRenameRace renames directories into each other at random, from several
// goroutines, and checks that they are still one tree afterwards.
func TestRenameRace(t *testing.T) {
	w := newWorld(t)
	names := []string{"a", "b", "c", "d"}
	for _, n := range names {
		w.mkdir("/"+n, "/"+n+"/"+n+n)
	}
	paths := []string{}
	for _, a := range append(names, "aa", "bb", "cc", "dd") {
		paths = append(paths, "/"+a)
		for _, b := range append(names, "aa", "bb", "cc", "dd") {
			paths = append(paths, "/"+a+"/"+b)
		}
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(g)))
			for range 3000 {
				old, new := paths[r.Intn(len(paths))], paths[r.Intn(len(paths))]
				flags := uint32(0)
				if r.Intn(4) == 0 {
					flags = unix.RENAME_EXCHANGE
				}
				w.ns.RenameAt(root, w.at, old, w.at, new, flags)
				if r.Intn(3) == 0 {
					w.ns.MkdirAt(root, w.at, new, 0o777)
				}
				if r.Intn(6) == 0 {
					w.ns.RmdirAt(root, w.at, old)
				}
				if p, err := w.ns.Resolve(root, w.at, new+"/..", 0); err == nil {
					w.ns.PathName(w.at.Root, p)
					p.DecRef()
				}
			}
		}()
	}
	wg.Wait()
	seen := map[uint64]bool{}
	var walk func(at vfs.Path) int
	walk = func(at vfs.Path) int {
		d, err := w.ns.Open(root, at, unix.O_RDONLY)
		w.must(err)
		defer d.DecRef()
		n, dirs := 1, uint32(0)
		w.must(d.Readdir(root, func(e vfs.DirEntry) bool {
			if e.Name == "." || e.Name == ".." {
				return true
			}
			if seen[e.Ino] {
				t.Fatalf("directory %d is in two places", e.Ino)
			}
			seen[e.Ino] = true
			dirs++
			p, err := w.ns.Resolve(root, vfs.Origin{Root: w.at.Root, Start: at}, e.Name, 0)
			w.must(err)
			n += walk(p)
			p.DecRef()
			return true
		}))
		if a, _ := at.Attr(); a.Nlink != dirs+2 {
			t.Errorf("%d links, %d directories", a.Nlink, dirs)
		}
		return n
	}
	n := walk(w.at.Root)
	s, _ := w.fs.StatFS()
	if used := int(s.Files - s.FilesFree); used != n {
		t.Errorf("%d inodes are charged, %d directories are there", used, n)
	}
}
