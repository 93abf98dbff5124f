package overlayfs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// overlayOn returns an overlay of an empty tmpfs over a directory.
func overlayOn(t testing.TB, lower string) (*FileSystem, vfsTree) {
	t.Helper()
	fs, err := New(tmpfs.New(tmpfs.Options{}), host(t, lower, hostfs.Options{Stable: true, AttrTTL: time.Second}))
	must(t, err)
	return fs, newVFSTree(fs)
}

func (v vfsTree) description(t testing.TB, p string, flags uint32) *vfs.FileDescription {
	t.Helper()
	d, err := v.ns.OpenAt(root, v.o, p, vfs.OpenHow{Flags: flags})
	must(t, err)
	return d
}

// A description that was opened for reading before the copy sees what is
// written after it, and the number stays.
func TestReaderFollowsCopy(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", []byte("old contents"), 0644))
	_, v := overlayOn(t, dir)
	before, err := v.stat("f")
	must(t, err)
	r := v.description(t, "f", unix.O_RDONLY)
	defer r.DecRef()
	buf := make([]byte, 3)
	if n, err := r.Read(root, buf); string(buf[:n]) != "old" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	must(t, v.write("f", 0, "new"))
	buf = make([]byte, 100)
	if n, err := r.Pread(root, buf, 0); string(buf[:n]) != "new contents" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := r.Read(root, buf); string(buf[:n]) != " contents" || err != nil {
		t.Errorf("the offset was lost: %q, %v", buf[:n], err)
	}
	after, err := v.stat("f")
	must(t, err)
	if before.Ino != after.Ino || before.DevMinor != after.DevMinor {
		t.Errorf("inode %d:%d became %d:%d", before.DevMinor, before.Ino, after.DevMinor, after.Ino)
	}
	if b, _ := os.ReadFile(dir + "/f"); string(b) != "old contents" {
		t.Errorf("the lower file holds %q", b)
	}
}

// Copying up keeps all metadata, and the directory shows no change.
func TestCopyKeepsMetadata(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b", 0751))
	must(t, os.WriteFile(dir+"/a/b/f", []byte("data"), 0644))
	must(t, os.Chown(dir+"/a/b/f", 5, 6))
	must(t, os.Chmod(dir+"/a/b/f", 0754|os.ModeSetuid))
	hasXattr := unix.Setxattr(dir+"/a/b/f", "user.k", []byte("v"), 0) == nil
	long := time.Unix(1_000_000, 7)
	for _, p := range []string{"/a/b/f", "/a/b", "/a"} {
		must(t, os.Chtimes(dir+p, long, long))
	}
	fs, v := overlayOn(t, dir)
	var before [3]vfs.Attr
	paths := []string{"a", "a/b", "a/b/f"}
	for i, p := range paths {
		var err error
		before[i], err = v.stat(p)
		must(t, err)
	}
	f, err := fs.root.Lookup("a")
	must(t, err)
	f, err = f.Lookup("b")
	must(t, err)
	f, err = f.Lookup("f")
	must(t, err)
	must(t, f.(*node).copyUp(-1))
	for i, p := range paths {
		a, err := v.stat(p)
		must(t, err)
		b := before[i]
		if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Ino != b.Ino || a.Mtime != b.Mtime || a.Atime != b.Atime {
			t.Errorf("%s: before %+v, after %+v", p, b, a)
		}
	}
	if x, err := f.GetXattr("user.k"); hasXattr && (string(x) != "v" || err != nil) {
		t.Errorf("attribute %q, %v", x, err)
	}
	// The overlay's marks are not the guest's to see or to set.
	if l, err := f.ListXattr(); err != nil || slices.ContainsFunc(l, fs.private) {
		t.Errorf("attributes %q, %v", l, err)
	}
	if _, err := f.GetXattr(trustedPrefix + xattrOrigin); err != unix.ENODATA {
		t.Error(err)
	}
	if err := f.SetXattr(trustedPrefix+xattrOpaque, []byte("y"), 0); err != unix.EPERM {
		t.Error(err)
	}
}

// A file that lost its name before it was copied up goes on working.
func TestUnlinkedLowerFile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", []byte("data"), 0644))
	fs, v := overlayOn(t, dir)
	d := v.description(t, "f", unix.O_RDONLY)
	defer d.DecRef()
	must(t, v.unlink("f"))
	a, err := d.Inode.Attr()
	if err != nil || a.Nlink != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	must(t, d.Inode.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: 0400}))
	if a, _ := d.Inode.Attr(); a.Mode&07777 != 0400 || a.Nlink != 0 {
		t.Errorf("%+v", a)
	}
	buf := make([]byte, 10)
	if n, err := d.Read(root, buf); string(buf[:n]) != "data" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := v.stat("f"); err != unix.ENOENT {
		t.Error(err)
	}
	var left []string
	f, err := fs.work.Open(overlay, unix.O_RDONLY)
	must(t, err)
	defer f.Release()
	f.Readdir(root, 0, func(e vfs.DirEntry) bool { left = append(left, e.Name); return true })
	if len(left) != 2 {
		t.Errorf("left in the work directory: %q", left)
	}
}

func TestSparseCopy(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", nil, 0644))
	must(t, os.Truncate(dir+"/f", 64<<20))
	f, err := os.OpenFile(dir+"/f", os.O_WRONLY, 0)
	must(t, err)
	want := bytes.Repeat([]byte("x"), 5000)
	f.WriteAt(want, 10<<20+123)
	f.Close()
	_, v := overlayOn(t, dir)
	must(t, v.chmod("f", 0600))
	a, err := v.stat("f")
	must(t, err)
	if a.Size != 64<<20 || a.Blocks > 1000 {
		t.Errorf("size %d, %d blocks", a.Size, a.Blocks)
	}
	d := v.description(t, "f", unix.O_RDONLY)
	defer d.DecRef()
	got := make([]byte, 5002)
	if n, err := d.Pread(root, got, 10<<20+122); n != len(got) || err != nil || !bytes.Equal(got[1:5001], want) || got[0] != 0 || got[5001] != 0 {
		t.Errorf("%d, %v, or other contents", n, err)
	}
}

func TestWhiteoutCannotBeMade(t *testing.T) {
	_, v := overlayOn(t, t.TempDir())
	if err := v.ns.MknodAt(root, v.o, "w", unix.S_IFCHR|0600, 0, 0); err != unix.EPERM {
		t.Error(err)
	}
	must(t, v.ns.MknodAt(root, v.o, "null", unix.S_IFCHR|0600, 1, 3))
	if l, err := v.list("."); !slices.Equal(l, []string{"null"}) || err != nil {
		t.Errorf("%q, %v", l, err)
	}
}

// Removing what was read neither skips nor repeats an entry.
func TestReaddirWhileRemoving(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		must(t, os.WriteFile(fmt.Sprintf("%s/lower%02d", dir, i), nil, 0644))
	}
	_, v := overlayOn(t, dir)
	for i := range 100 {
		must(t, v.create(fmt.Sprintf("upper%02d", i), 0644, ""))
	}
	d := v.description(t, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	defer d.DecRef()
	seen := map[string]bool{}
	for {
		n := 0
		var batch []string
		must(t, d.Readdir(root, func(e vfs.DirEntry) bool {
			if n++; n > 9 {
				return false
			}
			if seen[e.Name] {
				t.Errorf("%s twice", e.Name)
			}
			seen[e.Name] = true
			batch = append(batch, e.Name)
			return true
		}))
		if n == 0 {
			break
		}
		for _, name := range batch {
			if name != "." && name != ".." {
				must(t, v.unlink(name))
			}
		}
	}
	if len(seen) != 202 {
		t.Errorf("saw %d entries", len(seen))
	}
	if l, _ := v.list("."); len(l) != 0 {
		t.Errorf("left: %q", l)
	}
}

// Many copy up one file at once: all write to one copy.
func TestConcurrentCopy(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b", 0755))
	must(t, os.WriteFile(dir+"/a/b/f", make([]byte, 1<<20), 0644))
	_, v := overlayOn(t, dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d, err := v.ns.OpenAt(root, v.o, "a/b/f", vfs.OpenHow{Flags: unix.O_RDWR})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.DecRef()
			if _, err := d.Pwrite(root, []byte{byte(i + 1)}, int64(i)); err != nil {
				t.Error(err)
			}
			v.create(fmt.Sprintf("a/b/%d", i), 0600, "")
			v.list("a/b")
		})
	}
	wg.Wait()
	data, err := v.read("a/b/f")
	must(t, err)
	if data[:9] != "\x01\x02\x03\x04\x05\x06\x07\x08\x00" {
		t.Errorf("%q", data[:9])
	}
	if l, err := v.list("a/b"); len(l) != 9 || err != nil {
		t.Errorf("%q, %v", l, err)
	}
}

func TestStatFS(t *testing.T) {
	fs, _ := overlayOn(t, t.TempDir())
	st, err := fs.StatFS()
	if err != nil || st.Type != magic {
		t.Errorf("%+v, %v", st, err)
	}
}

func benchTree(b *testing.B) vfsTree {
	dir := b.TempDir()
	must(b, os.MkdirAll(dir+"/usr/share/doc", 0755))
	must(b, os.WriteFile(dir+"/usr/share/doc/f", make([]byte, 1<<16), 0644))
	_, v := overlayOn(b, dir)
	return v
}

func BenchmarkStat(b *testing.B) {
	v := benchTree(b)
	b.ReportAllocs()
	for b.Loop() {
		p, err := v.ns.Resolve(root, v.o, "usr/share/doc/f", 0)
		must(b, err)
		if _, err := p.Attr(); err != nil {
			b.Fatal(err)
		}
		p.DecRef()
	}
}

func BenchmarkOpenClose(b *testing.B) {
	v := benchTree(b)
	b.ReportAllocs()
	for b.Loop() {
		v.description(b, "usr/share/doc/f", unix.O_RDONLY).DecRef()
	}
}

func BenchmarkRead4K(b *testing.B) {
	d := benchTree(b).description(b, "usr/share/doc/f", unix.O_RDONLY)
	defer d.DecRef()
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := d.Pread(root, buf, 4096); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	v := benchTree(b)
	b.ReportAllocs()
	for b.Loop() {
		must(b, v.create("usr/share/doc/new", 0600, ""))
		must(b, v.unlink("usr/share/doc/new"))
	}
}
