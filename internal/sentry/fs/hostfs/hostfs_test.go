package hostfs

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// caller is a Caller without memory, user 0 by default; limit is its
// RLIMIT_FSIZE.
type caller struct {
	limit uint64
	uid   uint32
}

func (c caller) Credentials() *auth.Credentials    { return auth.New(c.uid, c.uid, nil) }
func (caller) Umask() uint32                       { return 0 }
func (c caller) FSLimit() uint64                   { return c.limit }
func (caller) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (caller) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

var root vfs.Caller = caller{limit: math.MaxUint64}

// open returns the file system of a directory of the host.
func open(t testing.TB, dir string, opts Options) *FileSystem {
	t.Helper()
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := New(Local(fd), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fs.Release()
		unix.Close(fd)
	})
	return fs
}

// walk looks up a path, component by component.
func walk(t testing.TB, fs *FileSystem, path string) vfs.Inode {
	t.Helper()
	at := fs.Root()
	for name := range strings.SplitSeq(path, "/") {
		next, err := at.Lookup(name)
		if err != nil {
			t.Fatalf("lookup of %q in %q: %v", name, path, err)
		}
		at = next
	}
	return at
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, dir vfs.Inode) []string {
	t.Helper()
	f, err := dir.Open(root, unix.O_RDONLY|unix.O_DIRECTORY)
	must(t, err)
	defer f.Release()
	var out []string
	must(t, f.Readdir(root, 0, func(e vfs.DirEntry) bool {
		out = append(out, e.Name)
		return true
	}))
	slices.Sort(out)
	return out
}

func TestAttrIsTheHosts(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", []byte("hello"), 0640))
	must(t, os.Chown(dir+"/f", 12, 34))
	must(t, os.Symlink("f", dir+"/l"))
	must(t, os.Mkdir(dir+"/d", 01755))
	fs := open(t, dir, Options{})
	for _, name := range []string{"f", "l", "d"} {
		var st unix.Stat_t
		must(t, unix.Lstat(dir+"/"+name, &st))
		a, err := walk(t, fs, name).Attr()
		must(t, err)
		if a.Ino != st.Ino || a.Mode != st.Mode || a.UID != st.Uid || a.GID != st.Gid ||
			a.Size != st.Size || uint64(a.Nlink) != st.Nlink || a.Mtime.Sec != st.Mtim.Sec ||
			int64(a.Mtime.Nsec) != st.Mtim.Nsec || unix.Mkdev(a.DevMajor, a.DevMinor) != st.Dev {
			t.Errorf("%s: %+v, host %+v", name, a, st)
		}
	}
	if target, err := walk(t, fs, "l").Readlink(root); target != "f" || err != nil {
		t.Errorf("readlink: %q, %v", target, err)
	}
}

func TestChange(t *testing.T) {
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	top := fs.Root()
	f, err := top.Create(vfs.Owner{UID: 7, GID: 8}, "f", 04755)
	must(t, err)
	d, err := top.Mkdir(vfs.Owner{}, "d", 0711)
	must(t, err)
	if _, err := top.Create(vfs.Owner{}, "f", 0600); err != unix.EEXIST {
		t.Errorf("create twice: %v", err)
	}
	must(t, d.Link("g", f))
	must(t, f.SetAttr(vfs.SetAttr{Which: vfs.SetMtime, Mtime: vfs.Time{Sec: 5, Nsec: 6}}))
	must(t, f.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: 100}))
	var st unix.Stat_t
	must(t, unix.Lstat(dir+"/d/g", &st))
	if st.Mode != unix.S_IFREG|04755 || st.Uid != 7 || st.Gid != 8 || st.Nlink != 2 || st.Size != 100 {
		t.Errorf("host shows %+v", st)
	}
	// One inode, whatever the name.
	if g, _ := d.Lookup("g"); g != f {
		t.Error("a link leads to another inode")
	}
	_, err = top.Symlink(vfs.Owner{}, "s", "../../../etc")
	must(t, err)
	_, err = top.Mknod(vfs.Owner{}, "p", unix.S_IFIFO|0600, 0, 0)
	must(t, err)
	if _, err := top.Mknod(vfs.Owner{}, "c", unix.S_IFCHR|0600, 1, 3); err != unix.EPERM {
		t.Errorf("device node made: %v", err)
	}
	must(t, top.Rename("f", d, "h", 0))
	if _, err := os.Lstat(dir + "/d/h"); err != nil {
		t.Error(err)
	}
	// An inode is found where it went, also inside a directory that moved.
	must(t, top.Rename("d", top, "e", 0))
	if _, err := f.Attr(); err != nil {
		t.Errorf("after two renames: %v", err)
	}
	if err := top.Rmdir("e", d); err != unix.ENOTEMPTY {
		t.Errorf("rmdir: %v", err)
	}
	must(t, d.Unlink("h", f))
	must(t, d.Unlink("g", f))
	must(t, top.Rmdir("e", d))
	if got := names(t, top); !slices.Equal(got, []string{".", "..", "p", "s"}) {
		t.Errorf("left: %q", got)
	}
}

// What the guest removed goes on working for those who have it open.
func TestRemovedFileStaysOpen(t *testing.T) {
	fs := open(t, t.TempDir(), Options{})
	f, err := fs.Root().Create(vfs.Owner{}, "f", 0600)
	must(t, err)
	o, err := f.Open(root, unix.O_RDWR)
	must(t, err)
	defer o.Release()
	must(t, fs.Root().Unlink("f", f))
	if n, _, err := o.Write(root, []byte("abc"), 0, 0); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	a, err := f.Attr()
	if err != nil || a.Nlink != 0 || a.Size != 3 {
		t.Errorf("%+v, %v", a, err)
	}
	must(t, f.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: 0400}))
	// A new file of the name is another inode.
	must(t, os.WriteFile(filepath.Join(hostPath(t, fs), "f"), nil, 0600))
	if g := walk(t, fs, "f"); g == f {
		t.Error("a new file has the old one's inode")
	}
}

func hostPath(t testing.TB, fs *FileSystem) string {
	t.Helper()
	p, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fs.rootDir.fd))
	must(t, err)
	return p
}

func TestNothingOutsideIsReached(t *testing.T) {
	top := t.TempDir()
	must(t, os.WriteFile(top+"/secret", []byte("s"), 0600))
	dir := top + "/tree"
	must(t, os.Mkdir(dir, 0755))
	must(t, os.Symlink("/", dir+"/abs"))
	must(t, os.Symlink("..", dir+"/up"))
	must(t, os.Symlink("../secret", dir+"/file"))
	must(t, unix.Mkfifo(dir+"/fifo", 0600))
	must(t, unix.Mknod(dir+"/null", unix.S_IFCHR|0600, int(unix.Mkdev(1, 3))))
	fs := open(t, dir, Options{})
	for _, name := range []string{"", ".", "..", "../secret", "/etc", "a/b", "up/secret", "x\x00", strings.Repeat("n", 256)} {
		if _, err := fs.Root().Lookup(name); err == nil {
			t.Errorf("lookup of %q worked", name)
		}
		if _, err := fs.Root().Create(vfs.Owner{}, name, 0600); err == nil {
			t.Errorf("create of %q worked", name)
		}
		if _, err := fs.Root().Mkdir(vfs.Owner{}, name, 0700); err == nil {
			t.Errorf("mkdir of %q worked", name)
		}
	}
	for _, name := range []string{"abs", "up", "file", "fifo", "null"} {
		n := walk(t, fs, name)
		// A FIFO opens, but is not the host's; see TestFIFO.
		if _, err := n.Open(root, unix.O_RDWR); err == nil && name != "fifo" {
			t.Errorf("open of %q worked", name)
		}
		if _, err := n.Lookup("secret"); err != unix.ENOTDIR {
			t.Errorf("lookup in %q: %v", name, err)
		}
		if _, err := fs.host.Walk(fs.host.Root(), name); err == nil {
			t.Errorf("walk to %q worked", name)
		}
		if _, _, err := fs.host.Open(fs.host.Root(), name, unix.O_RDONLY); err == nil {
			t.Errorf("host open of %q worked", name)
		}
		// A mode or owner set through a link must not reach its target.
		n.SetAttr(vfs.SetAttr{Which: vfs.SetMode | vfs.SetUID, Mode: 0777, UID: 99})
	}
	var st unix.Stat_t
	must(t, unix.Stat(top+"/secret", &st))
	if st.Mode&0777 != 0600 || st.Uid == 99 {
		t.Errorf("the file outside was changed: %+v", st)
	}
}

// While somebody swaps a directory for a link out of the tree, the walk finds
// what is in the tree or nothing.
func TestRenameRace(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/outside", 0755))
	must(t, os.WriteFile(top+"/outside/f", []byte("outside"), 0644))
	dir := top + "/tree"
	must(t, os.MkdirAll(dir+"/d", 0755))
	must(t, os.WriteFile(dir+"/d/f", []byte("inside"), 0644))
	must(t, os.Symlink("../outside", dir+"/l"))
	fs := open(t, dir, Options{})
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, dir+"/d", unix.AT_FDCWD, dir+"/l", unix.RENAME_EXCHANGE)
			}
		}
	}()
	found := 0
	for i := 0; i < 1_000_000 && found < 200; i++ {
		d, err := fs.Root().Lookup("d")
		if err != nil {
			continue
		}
		f, err := d.Lookup("f")
		if err != nil {
			continue
		}
		o, err := f.Open(root, unix.O_RDONLY)
		if err != nil {
			continue
		}
		var buf [16]byte
		n, err := o.Read(root, buf[:], 0)
		o.Release()
		if err != nil || string(buf[:n]) != "inside" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		found++
		fs.dirs.clear() // walk again next time
	}
	close(stop)
	<-done
	if found == 0 {
		t.Error("never found the directory")
	}
}

// A directory whose handle was given up is found again from the top; one that
// was replaced by another is not.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b/c", 0755))
	must(t, os.WriteFile(dir+"/a/b/c/f", []byte("x"), 0644))
	fs := open(t, dir, Options{})
	c := walk(t, fs, "a/b/c")
	fs.dirs.clear()
	if _, err := c.Lookup("f"); err != nil {
		t.Fatal(err)
	}
	fs.dirs.clear()
	must(t, os.Rename(dir+"/a/b", dir+"/gone"))
	must(t, os.MkdirAll(dir+"/a/b/c", 0755))
	if _, err := c.Lookup("f"); err != unix.ESTALE {
		t.Errorf("lookup in a replaced directory: %v", err)
	}
	if fs.Revalidate(fs.Root(), "a", walk(t, fs, "a")) != true {
		t.Error("a is not valid")
	}
	if fs.Revalidate(walk(t, fs, "a"), "b/c", nil) {
		t.Error("nonsense is valid")
	}
	if fs.Revalidate(walk(t, fs, "a/b"), "c", c) {
		t.Error("the old c is valid")
	}
}

func TestManyDirectories(t *testing.T) {
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	fs.dirs.maxIdle = 8
	var all []vfs.Inode
	for i := range 50 {
		d, err := fs.Root().Mkdir(vfs.Owner{}, fmt.Sprint(i), 0755)
		must(t, err)
		_, err = d.Create(vfs.Owner{}, "f", 0600)
		must(t, err)
		all = append(all, d)
	}
	if fs.dirs.nIdle > 8 {
		t.Errorf("%d idle handles", fs.dirs.nIdle)
	}
	for i, d := range all {
		if _, err := d.Lookup("f"); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestReadWrite(t *testing.T) {
	fs := open(t, t.TempDir(), Options{})
	n, err := fs.Root().Create(vfs.Owner{}, "f", 0600)
	must(t, err)
	f, err := n.Open(root, unix.O_RDWR)
	must(t, err)
	defer f.Release()
	for _, step := range []struct {
		p        string
		off      int64
		flags    uint32
		limit    uint64
		n        int
		end      int64
		err      error
		contents string
	}{
		{"hello", 0, 0, math.MaxUint64, 5, 5, nil, "hello"},
		{"J", 0, 0, math.MaxUint64, 1, 1, nil, "Jello"},
		{"!!", 0, unix.O_APPEND, math.MaxUint64, 2, 7, nil, "Jello!!"},
		{"??", 2, unix.O_SYNC, math.MaxUint64, 2, 4, nil, "Je??o!!"},
		{"abc", 6, 0, 8, 2, 8, nil, "Je??o!ab"},
		{"abc", 8, 0, 8, 0, 0, unix.EFBIG, "Je??o!ab"},
		{"abc", 0, unix.O_APPEND, 8, 0, 0, unix.EFBIG, "Je??o!ab"},
		{"abc", -1, 0, math.MaxUint64, 0, 0, unix.EINVAL, "Je??o!ab"},
	} {
		n, end, err := f.Write(caller{limit: step.limit}, []byte(step.p), step.off, step.flags)
		if n != step.n || end != step.end || err != step.err {
			t.Errorf("write %q at %d: %d, %d, %v", step.p, step.off, n, end, err)
		}
		buf := make([]byte, 100)
		n, err = f.Read(root, buf, 0)
		if err != nil || string(buf[:n]) != step.contents {
			t.Errorf("write %q at %d: contents %q, %v", step.p, step.off, buf[:n], err)
		}
	}
	for _, s := range []struct {
		off     int64
		whence  int
		present int64
		want    int64
		err     error
	}{
		{3, unix.SEEK_SET, 1, 3, nil},
		{3, unix.SEEK_CUR, 1, 4, nil},
		{-1, unix.SEEK_END, 0, 7, nil},
		{0, unix.SEEK_HOLE, 0, 8, nil},
		{100, unix.SEEK_DATA, 0, 0, unix.ENXIO},
		{-1, unix.SEEK_SET, 0, 0, unix.EINVAL},
		{math.MaxInt64, unix.SEEK_CUR, 1, 0, unix.EOVERFLOW},
		{0, 9, 0, 0, unix.EINVAL},
	} {
		got, err := f.Seek(s.whence, s.off, s.present)
		if err != s.err || err == nil && got != s.want {
			t.Errorf("seek %+v: %d, %v", s, got, err)
		}
	}
	if _, err := f.MapFD(); err != nil {
		t.Error(err)
	}
}

// File systems through which the host's kernel speaks show nothing; others
// that are mounted in the tree do.
func TestMountsInTheTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := t.TempDir()
	for _, d := range []string{"proc", "sys", "tmp"} {
		must(t, os.Mkdir(dir+"/"+d, 0755))
	}
	must(t, os.WriteFile(dir+"/file", nil, 0644))
	for target, fstype := range map[string]string{"proc": "proc", "sys": "sysfs", "tmp": "tmpfs"} {
		if err := unix.Mount("none", dir+"/"+target, fstype, 0, ""); err != nil {
			t.Skip(err)
		}
		defer unix.Unmount(dir+"/"+target, unix.MNT_DETACH)
	}
	must(t, unix.Mount("/proc/version", dir+"/file", "", unix.MS_BIND, ""))
	defer unix.Unmount(dir+"/file", unix.MNT_DETACH)
	must(t, os.WriteFile(dir+"/tmp/f", []byte("x"), 0644))
	for _, opts := range []Options{{}, {Stable: true}} {
		fs := open(t, dir, opts)
		for _, d := range []string{"proc", "sys"} {
			n := walk(t, fs, d)
			if got := names(t, n); len(got) != 2 {
				t.Errorf("%s holds %q", d, got)
			}
			for _, name := range []string{"self", "1", "version", "kernel"} {
				if _, err := n.Lookup(name); err != unix.ENOENT {
					t.Errorf("%s/%s: %v", d, name, err)
				}
			}
			if _, err := n.Mkdir(vfs.Owner{}, "x", 0700); err != unix.EACCES {
				t.Errorf("mkdir in %s: %v", d, err)
			}
		}
		if _, err := walk(t, fs, "file").Open(root, unix.O_RDONLY); err != unix.EACCES {
			t.Errorf("open of a file of procfs: %v", err)
		}
		if got := names(t, walk(t, fs, "tmp")); !slices.Contains(got, "f") {
			t.Errorf("the tmpfs holds %q", got)
		}
	}
}

// A FIFO of the tree connects guests, and nobody on the host.
func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/p", 0600))
	fd, err := unix.Open(dir+"/p", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	n := walk(t, open(t, dir, Options{}), "p")
	f, err := n.Open(root, unix.O_RDWR|unix.O_NONBLOCK)
	must(t, err)
	defer f.Release()
	if n, _, err := f.Write(root, []byte("abc"), 0, 0); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	buf := make([]byte, 10)
	if n, err := unix.Read(fd, buf); n > 0 {
		t.Errorf("the host reads %d bytes, %v", n, err)
	}
	if n, err := f.Read(root, buf, 0); string(buf[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// Who lacks the privilege takes set-ID bits away by writing.
func TestWriteClearsSetID(t *testing.T) {
	fs := open(t, t.TempDir(), Options{})
	n, err := fs.Root().Create(vfs.Owner{}, "f", 06775)
	must(t, err)
	f, err := n.Open(root, unix.O_WRONLY)
	must(t, err)
	defer f.Release()
	for _, s := range []struct {
		c    caller
		mode uint32
	}{{caller{limit: math.MaxUint64}, 06775}, {caller{limit: math.MaxUint64, uid: 5}, 0775}} {
		_, _, err := f.Write(s.c, []byte("x"), 0, 0)
		must(t, err)
		if a, err := n.Attr(); a.Mode&07777 != s.mode || err != nil {
			t.Errorf("uid %d: %o, %v", s.c.uid, a.Mode, err)
		}
	}
}

func TestReaddirOffsets(t *testing.T) {
	dir := t.TempDir()
	want := []string{".", ".."}
	for i := range 700 {
		name := fmt.Sprintf("a-long-name-so-that-several-reads-are-needed-%03d", i)
		want = append(want, name)
		must(t, os.WriteFile(dir+"/"+name, nil, 0600))
	}
	fs := open(t, dir, Options{})
	f, err := fs.Root().Open(root, unix.O_RDONLY|unix.O_DIRECTORY)
	must(t, err)
	defer f.Release()
	// A few entries at a time, removing what was read.
	var got []string
	off := int64(0)
	for {
		n := 0
		must(t, f.Readdir(root, off, func(e vfs.DirEntry) bool {
			if n == 7 {
				return false
			}
			n++
			off = e.Next
			got = append(got, e.Name)
			return true
		}))
		if n == 0 {
			break
		}
		for _, name := range got[len(got)-n:] {
			os.Remove(dir + "/" + name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("read %d entries, want %d", len(got), len(want))
	}
	if got := names(t, fs.Root()); len(got) != 2 {
		t.Errorf("left: %q", got)
	}
}

func TestXattr(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", nil, 0600))
	if err := unix.Setxattr(dir+"/f", "user.a", []byte("1"), 0); err != nil {
		t.Skip("the host's file system has no extended attributes: ", err)
	}
	f := walk(t, open(t, dir, Options{}), "f")
	if v, err := f.GetXattr("user.a"); string(v) != "1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	big := bytes.Repeat([]byte("x"), 1000)
	must(t, f.SetXattr("user.b", big, 0))
	if v, err := f.GetXattr("user.b"); !bytes.Equal(v, big) || err != nil {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	if err := f.SetXattr("user.b", nil, unix.XATTR_CREATE); err != unix.EEXIST {
		t.Error(err)
	}
	if _, err := f.GetXattr("user.none"); err != unix.ENODATA {
		t.Error(err)
	}
	if err := f.SetXattr("security.capability", []byte("x"), 0); err != unix.EOPNOTSUPP {
		t.Error(err)
	}
	must(t, f.RemoveXattr("user.a"))
	if l, err := f.ListXattr(); !slices.Equal(l, []string{"user.b"}) || err != nil {
		t.Errorf("%q, %v", l, err)
	}
}

func TestChmodWithoutFchmodat2(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", nil, 0600))
	must(t, os.Symlink("f", dir+"/l"))
	fs := open(t, dir, Options{})
	l := fs.host.(*local)
	must(t, l.chmodOpen(l.root, "f", 0644))
	if err := l.chmodOpen(l.root, "l", 0777); err == nil {
		t.Error("chmod followed a link")
	}
	must(t, l.chmodOpen(l.root, "", 0711))
	for name, want := range map[string]os.FileMode{"/f": 0644, "": 0711 | os.ModeDir} {
		if st, err := os.Lstat(dir + name); err != nil || st.Mode() != want {
			t.Errorf("%q: %v, %v", name, st.Mode(), err)
		}
	}
}

// FuzzName: no name leads out of the tree or panics, and one that the host
// takes is what a listing shows.
func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "..", ".", "", "/", "a/b", "../x", "\x00", strings.Repeat("x", 255), "…", "-", " "} {
		f.Add(s)
	}
	fs := open(f, f.TempDir(), Options{})
	top := fs.Root()
	f.Fuzz(func(t *testing.T, name string) {
		n, err := top.Create(vfs.Owner{}, name, 0600)
		if err != nil {
			if _, err := top.Lookup(name); err == nil {
				t.Errorf("%q can be looked up but not made", name)
			}
			return
		}
		if got := names(t, top); !slices.Contains(got, name) {
			t.Errorf("made %q, listed %q", name, got)
		}
		must(t, top.Unlink(name, n))
	})
}

func FuzzDirent(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04abc\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			e, n, ok := parseDirent(b)
			if !ok {
				return
			}
			if n <= 0 || n > len(b) || e.Name == "" || strings.Contains(e.Name, "\x00") {
				t.Fatalf("%+v of length %d", e, n)
			}
			b = b[n:]
		}
	})
}

func BenchmarkStat(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(dir+"/f", nil, 0600))
	for _, opts := range []Options{{}, {Stable: true, AttrTTL: 1e9}} {
		b.Run(fmt.Sprintf("ttl=%v", opts.AttrTTL), func(b *testing.B) {
			f := walk(b, open(b, dir, opts), "f")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Attr(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(dir+"/f", nil, 0600))
	fs := open(b, dir, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.Root().Lookup("f"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenClose(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(dir+"/f", nil, 0600))
	for _, opts := range []Options{{}, {Stable: true}} {
		b.Run(fmt.Sprintf("stable=%v", opts.Stable), func(b *testing.B) {
			n := walk(b, open(b, dir, opts), "f")
			b.ReportAllocs()
			for b.Loop() {
				f, err := n.Open(root, unix.O_RDONLY)
				must(b, err)
				f.Release()
			}
		})
	}
}

func BenchmarkRead4K(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(dir+"/f", make([]byte, 1<<20), 0600))
	f, err := walk(b, open(b, dir, Options{}), "f").Open(root, unix.O_RDONLY)
	must(b, err)
	defer f.Release()
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := f.Read(root, buf, 8192); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}
