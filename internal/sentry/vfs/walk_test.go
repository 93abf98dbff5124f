package vfs_test

import (
	"strings"
	"testing"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const resolve = vfs.ResolveShift

// tree builds /a/b/c/, files and links of all kinds, and a mount on /mnt.
func tree(t testing.TB) *world {
	w := newWorld(t)
	w.mkdir("/a", "/a/b", "/a/b/c", "/mnt", "/jail", "/jail/in")
	w.write("/a/file", "hello")
	w.symlink("b/c", "/a/rel")
	w.symlink("/a/b", "/abs")
	w.symlink("loop2", "/loop1")
	w.symlink("loop1", "/loop2")
	w.symlink("../..", "/a/b/up2")
	w.symlink("nowhere", "/dangling")
	w.symlink("a/file", "/tofile")
	w.symlink("/a", "/jail/out")
	w.symlink("a/", "/slash")
	mnt := w.resolve("/mnt")
	w.must(w.ns.Mount(tmpfs.New(tmpfs.Options{}), mnt, 0, "none"))
	mnt.DecRef()
	w.mkdir("/mnt/d")
	w.symlink("/a", "/mnt/abs")
	return w
}

func TestResolve(t *testing.T) {
	w := tree(t)
	long := strings.Repeat("x", 256)
	for _, tt := range []struct {
		path  string
		flags vfs.ResolveFlags
		want  string
	}{
		{"/", 0, "/"},
		{"", 0, "ENOENT"},
		{"", vfs.EmptyPath, "/"},
		{".", 0, "/"},
		{"..", 0, "/"},
		{"///a//b/./c/", 0, "/a/b/c"},
		{"a/../a/b/../b", 0, "/a/b"},
		{"a/missing/x", 0, "ENOENT"},
		{"a/file", 0, "/a/file"},
		{"a/file/", 0, "ENOTDIR"},
		{"a/file/.", 0, "ENOTDIR"},
		{"a/file/..", 0, "ENOTDIR"},
		{"a/file", vfs.WantDirectory, "ENOTDIR"},
		{"a/rel", 0, "/a/b/c"},
		{"a/rel", vfs.NoFollowLast, "/a/rel"},
		{"a/rel/", vfs.NoFollowLast, "/a/b/c"},
		{"a/rel/..", 0, "/a/b"},
		{"abs/c", 0, "/a/b/c"},
		{"slash", 0, "/a"},
		{"slash/b", 0, "/a/b"},
		{"a/b/up2", 0, "/"},
		{"loop1", 0, "ELOOP"},
		{"loop1", vfs.NoFollowLast, "/loop1"},
		{"loop1/x", 0, "ELOOP"},
		{"dangling", 0, "ENOENT"},
		{"tofile", 0, "/a/file"},
		{"tofile/", 0, "ENOTDIR"},
		{"tofile/x", 0, "ENOTDIR"},
		{long, 0, "ENAMETOOLONG"},
		{long[:255], 0, "ENOENT"},
		{strings.Repeat("./", 2047), 0, "/"},
		{strings.Repeat("./", 2048), 0, "ENAMETOOLONG"},
		{"mnt/d", 0, "/mnt/d"},
		{"mnt/..", 0, "/"},
		{"mnt/d/../../a", 0, "/a"},
		{"mnt/abs/b", 0, "/a/b"},
		{"mnt/d", unix.RESOLVE_NO_XDEV << resolve, "EXDEV"},
		{"abs", unix.RESOLVE_NO_SYMLINKS << resolve, "ELOOP"},
		{"a/b", unix.RESOLVE_NO_SYMLINKS << resolve, "/a/b"},
	} {
		if got := w.name(root, w.at, tt.path, tt.flags); got != tt.want {
			t.Errorf("Resolve(%.40q, %#x) = %s, want %s", tt.path, tt.flags, got, tt.want)
		}
		// Again, now that everything is in the cache.
		if got := w.name(root, w.at, tt.path, tt.flags); got != tt.want {
			t.Errorf("cached: Resolve(%.40q, %#x) = %s, want %s", tt.path, tt.flags, got, tt.want)
		}
	}
}

func TestResolveScoped(t *testing.T) {
	w := tree(t)
	jail, mnt := w.resolve("/jail"), w.resolve("/mnt")
	for _, tt := range []struct {
		name  string
		start vfs.Path
		root  vfs.Path
		path  string
		res   vfs.ResolveFlags
		want  string
	}{
		{"chroot keeps ..", jail, jail, "../../in", 0, "/jail/in"},
		{"chroot keeps absolute", jail, jail, "/in", 0, "/jail/in"},
		{"chroot keeps links", jail, jail, "/out", 0, "ENOENT"},
		{"chroot at a mount", mnt, mnt, "/../d/..", 0, "/mnt"},
		{"beneath", jail, w.at.Root, "in", unix.RESOLVE_BENEATH, "/jail/in"},
		{"beneath and back", jail, w.at.Root, "in/..", unix.RESOLVE_BENEATH, "/jail"},
		{"beneath up", jail, w.at.Root, "..", unix.RESOLVE_BENEATH, "EXDEV"},
		{"beneath absolute", jail, w.at.Root, "/jail", unix.RESOLVE_BENEATH, "EXDEV"},
		{"beneath link out", jail, w.at.Root, "out", unix.RESOLVE_BENEATH, "EXDEV"},
		{"in root", jail, w.at.Root, "/../in", unix.RESOLVE_IN_ROOT, "/jail/in"},
		{"in root link", jail, w.at.Root, "out", unix.RESOLVE_IN_ROOT, "ENOENT"},
		{"no xdev up", mnt, w.at.Root, "..", unix.RESOLVE_NO_XDEV, "EXDEV"},
	} {
		got := w.name(root, vfs.Origin{Root: tt.root, Start: tt.start}, tt.path, tt.res<<resolve)
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSymlinkLimit(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.symlink("d", "/l0")
	for i := 1; i <= 40; i++ {
		w.symlink("l"+itoa(i-1), "/l"+itoa(i))
	}
	if got := w.name(root, w.at, "/l39", 0); got != "/d" {
		t.Errorf("40 links: %s", got)
	}
	if got := w.name(root, w.at, "/l40", 0); got != "ELOOP" {
		t.Errorf("41 links: %s", got)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// TestRemovedDirectory: what was open or the working directory lives on.
func TestRemovedDirectory(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a", "/a/b")
	b := w.resolve("/a/b")
	w.must(w.ns.RmdirAt(root, w.at, "/a/b"))
	o := vfs.Origin{Root: w.at.Root, Start: b}
	if got := w.name(root, o, ".", 0); got != "/a/b (deleted)" {
		t.Errorf("name is %q", got)
	}
	if got := w.name(root, o, "..", 0); got != "/a" {
		t.Errorf(".. is %q", got)
	}
	if err := w.ns.MkdirAt(root, o, "x", 0o777); err != unix.ENOENT {
		t.Errorf("mkdir in a removed directory: %v", err)
	}
	_, err := w.ns.OpenAt(root, o, "x", vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o600})
	if err != unix.ENOENT {
		t.Errorf("create in a removed directory: %v", err)
	}
	b.DecRef()
	w.mkdir("/a/b")
	if got := w.name(root, w.at, "/a/b", 0); got != "/a/b" {
		t.Errorf("new directory is %q", got)
	}
}

func TestNegativeEntries(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if got := w.name(root, w.at, "/f", 0); got != "ENOENT" {
			t.Fatalf("before: %s", got)
		}
		w.write("/f", "x")
		if got := w.name(root, w.at, "/f", 0); got != "/f" {
			t.Fatalf("made: %s", got)
		}
		w.must(w.ns.UnlinkAt(root, w.at, "/f"))
	}
}

// TestCacheBound: a guest that looks up names without end does not fill the
// host's memory.
func TestCacheBound(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a moment")
	}
	w := newWorld(t)
	w.mkdir("/d")
	for i := range 50000 {
		if got := w.name(root, w.at, "/d/"+itoa(i), 0); got != "ENOENT" {
			t.Fatal(got)
		}
	}
	if n := vfs.CachedDentries(w.fs); n > 17000 {
		t.Errorf("%d dentries cached", n)
	}
	if got := w.name(root, w.at, "/d/..", 0); got != "/" {
		t.Error(got)
	}
}

// TestCacheGrows: a tree of a few more names than the cache holds at first, gone
// through time and again, is soon all in it, since its names come back as soon
// as they have left. Names without end do not make it grow beyond its bound,
// even if they come back.
func TestCacheGrows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a moment")
	}
	w := newWorld(t)
	w.mkdir("/d")
	through := func(names int) int {
		for i := range names {
			if got := w.name(root, w.at, "/d/"+itoa(i), 0); got != "ENOENT" {
				t.Fatal(got)
			}
		}
		return vfs.CachedDentries(w.fs)
	}
	if n := through(20000); n > 17000 {
		t.Errorf("%d dentries cached of names that were asked for once", n)
	}
	for range 3 {
		through(20000)
	}
	if n := vfs.CachedDentries(w.fs); n < 20000 {
		t.Errorf("%d dentries cached of a tree of 20,000 names", n)
	}
	for range 4 {
		if n := through(40000); n > 33500 {
			t.Errorf("%d dentries cached", n)
		}
	}
}

// FuzzWalk: no path may panic, leak, or lead out of the root.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{"/", "..", "a/../..", "out/b", "in/../../../a", "a//./b/up2/..", "loop1/x", "in/x/", "\x00", "l/m/n"} {
		f.Add(s, "target/../..", uint8(0))
	}
	f.Fuzz(func(t *testing.T, path, target string, flags uint8) {
		w := tree(t)
		jail := w.resolve("/jail")
		defer func() { // the mounts go with their last users
			jail.DecRef()
			w.at.Root.DecRef()
		}()
		o := vfs.Origin{Root: jail, Start: jail}
		_ = w.ns.SymlinkAt(root, target, o, "l")
		for _, p := range []string{path, "l/" + path, path + "/l"} {
			for _, fl := range []vfs.ResolveFlags{vfs.ResolveFlags(flags & 7), vfs.ResolveFlags(flags) << resolve} {
				got, err := w.ns.Resolve(root, o, p, fl)
				if err != nil {
					continue
				}
				name, _ := w.ns.PathName(w.at.Root, got)
				if name != "/jail" && !strings.HasPrefix(name, "/jail/") {
					t.Fatalf("%q led to %q", p, name)
				}
				got.DecRef()
			}
			_ = w.ns.MkdirAt(root, o, p, 0o755)
			_ = w.ns.RenameAt(root, o, p, o, "m", 0)
			_ = w.ns.RmdirAt(root, o, p)
			_ = w.ns.UnlinkAt(root, o, p)
		}
		d, err := w.ns.OpenAt(root, o, path, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o600})
		if err == nil {
			name, _ := w.ns.PathName(w.at.Root, d.Path)
			if !strings.HasPrefix(name, "/jail/") {
				t.Fatalf("created %q", name)
			}
			d.DecRef()
		}
		// Nothing of the walk may hold the mount: it can be taken off.
		mnt := w.resolve("/mnt")
		if err := w.ns.Unmount(mnt, 0); err != nil {
			t.Fatalf("mount is busy: %v", err)
		}
		mnt.DecRef()
	})
}

func BenchmarkResolve(b *testing.B) {
	w := newWorld(b)
	w.mkdir("/usr", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/perl")
	w.write("/usr/lib/x86_64-linux-gnu/perl/File", "x")
	b.ReportAllocs()
	for b.Loop() {
		p, err := w.ns.Resolve(root, w.at, "/usr/lib/x86_64-linux-gnu/perl/File", 0)
		if err != nil {
			b.Fatal(err)
		}
		p.DecRef()
	}
}

func BenchmarkStat(b *testing.B) {
	w := newWorld(b)
	w.mkdir("/tmp")
	w.write("/tmp/f", "x")
	user := user(1000, 1000)
	b.ReportAllocs()
	for b.Loop() {
		p, err := w.ns.Resolve(user, w.at, "/tmp/f", 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Attr(); err != nil {
			b.Fatal(err)
		}
		p.DecRef()
	}
}

func BenchmarkOpenClose(b *testing.B) {
	w := newWorld(b)
	w.mkdir("/tmp")
	w.write("/tmp/f", "x")
	b.ReportAllocs()
	for b.Loop() {
		d, err := w.ns.OpenAt(root, w.at, "/tmp/f", vfs.OpenHow{Flags: unix.O_RDONLY})
		if err != nil {
			b.Fatal(err)
		}
		d.DecRef()
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		d, err := w.ns.OpenAt(root, w.at, "/f", vfs.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, Mode: 0o600})
		if err != nil {
			b.Fatal(err)
		}
		d.DecRef()
		if err := w.ns.UnlinkAt(root, w.at, "/f"); err != nil {
			b.Fatal(err)
		}
	}
}
