package hostfs

import (
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// counted is a Host that counts its calls.
type counted struct {
	Host
	calls map[string]int
}

func (c *counted) Stat(dir Dir, name string) (unix.Statx_t, error) {
	c.calls["stat"]++
	return c.Host.Stat(dir, name)
}

func (c *counted) Walk(dir Dir, name string) (Dir, error) {
	c.calls["walk"]++
	return c.Host.Walk(dir, name)
}

func (c *counted) StatPath(dir Dir, path string) (unix.Statx_t, error) {
	c.calls["stat"]++
	return c.Host.StatPath(dir, path)
}

func (c *counted) Open(dir Dir, name string, flags int) (int, unix.Statx_t, error) {
	c.calls["open"]++
	return c.Host.Open(dir, name, flags)
}

// mounted returns a namespace that shows dir, where walks begin, and the calls
// made for it.
func mounted(t testing.TB, dir string, opts Options) (*vfs.MountNamespace, vfs.Origin, *counted) {
	fs := open(t, dir, opts)
	c := &counted{fs.host, map[string]int{}}
	fs.host = c
	ns := vfs.NewMountNamespace(fs, 0)
	r := ns.Root()
	return ns, vfs.Origin{Root: r, Start: r}, c
}

// TestHostCalls counts what a path costs: one call once its names are known,
// however many they are.
func TestHostCalls(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b/c", 0o755))
	must(t, os.WriteFile(dir+"/a/b/c/f", []byte("x"), 0o644))
	must(t, os.Symlink("f", dir+"/a/b/c/l"))
	ns, o, host := mounted(t, dir, Options{})
	stat := func(path string, flags vfs.ResolveFlags) func() error {
		return func() error {
			_, err := ns.Stat(root, o, path, flags)
			return err
		}
	}
	for _, c := range []struct {
		name        string
		call        func() error
		err         error
		stats, open int
	}{
		{"stat", stat("/a/b/c/f", 0), nil, 1, 0},
		{"stat with dots", stat("a//b/./c/f", 0), nil, 1, 0},
		{"stat of a directory", stat("/a/b/c/", 0), nil, 1, 0},
		{"lstat of a link", stat("/a/b/c/l", vfs.NoFollowLast), nil, 1, 0},
		// What the link leads to is a step of its own.
		{"stat of a link", stat("/a/b/c/l", 0), nil, 2, 0},
		{"up", stat("/a/b/../b/c/f", 0), nil, 2, 0},
		{"missing", stat("/a/b/c/n", 0), unix.ENOENT, 1, 0},
		{"below a file", stat("/a/b/c/f/g", 0), unix.ENOTDIR, 1, 0},
		{"open", func() error {
			d, err := ns.OpenAt(root, o, "/a/b/c/f", vfs.OpenHow{})
			if err == nil {
				d.DecRef()
			}
			return err
		}, nil, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			_ = c.call() // gets to know the names
			clear(host.calls)
			if err := c.call(); err != c.err {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if host.calls["stat"] != c.stats || host.calls["open"] != c.open {
				t.Errorf("calls %v, want %d stats and %d opens", host.calls, c.stats, c.open)
			}
		})
	}
}

// TestChangesByTheHost walks random paths while the host changes random
// names, and compares each result with the host's own.
func TestChangesByTheHost(t *testing.T) {
	for seed := range int64(4) {
		dir := t.TempDir()
		ns, o, _ := mounted(t, dir, Options{})
		r := rand.New(rand.NewSource(seed))
		path := func() string {
			var s []string
			for range 1 + r.Intn(4) {
				s = append(s, []string{"a", "b", "c", "a", "b", "c", "a", "b", ".", "..", ""}[r.Intn(11)])
			}
			p := strings.TrimLeft(strings.Join(s, "/"), "/")
			// The host must not go above the top, where the guest stays.
			for depth, name := 0, ""; ; {
				name, p, _ = strings.Cut(p, "/")
				if name == ".." {
					depth--
				}
				if depth < 0 || name == "" && p == "" {
					return strings.TrimLeft(strings.ReplaceAll(strings.Join(s, "/"), "..", "."), "/")
				}
				if name != "" && name != "." && name != ".." {
					depth++
				}
			}
		}
		for step := range 3000 {
			change := ""
			switch p, q := dir+"/"+path(), dir+"/"+path(); r.Intn(12) {
			case 0, 1:
				change = fmt.Sprint("mkdir ", p, unix.Mkdir(p, 0o755))
			case 2, 3:
				change = fmt.Sprint("write ", p, os.WriteFile(p, make([]byte, r.Intn(9)), 0o644))
			case 4, 5:
				change = fmt.Sprint("rename ", p, q, unix.Rename(p, q))
			case 6:
				change = fmt.Sprint("symlink ", p, unix.Symlink([]string{"a", "b/c", "../a", "c/."}[r.Intn(4)], p))
			case 7:
				change = fmt.Sprint("link ", p, q, unix.Link(p, q))
			case 8:
				change = fmt.Sprint("unlink ", p, unix.Unlink(p))
			case 9:
				change = fmt.Sprint("rmdir ", p, unix.Rmdir(p))
			}
			for range 4 {
				p := path()
				flags, at := vfs.ResolveFlags(0), 0
				if r.Intn(2) == 0 {
					flags, at = vfs.NoFollowLast, unix.AT_SYMLINK_NOFOLLOW
				}
				var want unix.Stat_t
				wantErr := unix.Fstatat(unix.AT_FDCWD, dir+"/"+p, &want, at)
				if escapes(dir, p) {
					continue
				}
				if p == "" {
					p = "."
				}
				a, err := ns.Stat(root, o, p, flags)
				if err != wantErr && !(err != nil && wantErr != nil && err == error(wantErr)) {
					t.Fatalf("seed %d, step %d: %q after %s: error %v, want %v", seed, step, p, change, err, wantErr)
				}
				if err == nil && (a.Ino != want.Ino || a.Size != want.Size || a.Mode != want.Mode || uint64(a.Nlink) != want.Nlink) {
					t.Fatalf("seed %d, step %d: %q after %s: %+v, want %+v", seed, step, p, change, a, want)
				}
			}
		}
	}
}

// escapes reports whether the host's walk of a path leads above dir, by links.
func escapes(dir, path string) bool {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	if path == "" {
		path = "."
	}
	n, err := unix.Openat2(fd, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err == nil {
		unix.Close(n)
	}
	return err == unix.EXDEV
}

// TestDirectoryComesBack has the host move a directory away and back: the guest,
// who saw it in both places, must still find what is in it.
func TestDirectoryComesBack(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b", 0o755))
	must(t, os.WriteFile(dir+"/a/b/f", nil, 0o644))
	fs := open(t, dir, Options{})
	ns := vfs.NewMountNamespace(fs, 0)
	o := vfs.Origin{Root: ns.Root(), Start: ns.Root()}
	look := func(path string) {
		t.Helper()
		// No handle of a directory stays open.
		fs.dirs.clear()
		d, err := ns.OpenAt(root, o, path, vfs.OpenHow{})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		d.DecRef()
	}
	look("a/b/f")
	must(t, os.Rename(dir+"/a", dir+"/z"))
	look("z/b/f")
	must(t, os.Rename(dir+"/z", dir+"/a"))
	look("a/b/f")
}

// TestConfirmStaysInside checks that only whole paths below a directory are
// asked for.
func TestConfirmStaysInside(t *testing.T) {
	fs := open(t, t.TempDir(), Options{})
	for _, path := range []string{"", "/", "/etc", "..", "a/../b", "a\x00", strings.Repeat("a/", statPathMax/2)} {
		if _, err := fs.host.StatPath(fs.host.Root(), path); err != unix.EINVAL && err != unix.ENAMETOOLONG {
			t.Errorf("%q: %v", path, err)
		}
		if fs.Confirm(fs.Root(), path, fs.Root(), nil) {
			t.Errorf("%q is confirmed", path)
		}
	}
}

// TestOlderAnswerIsNotKept gives an inode an answer that the host gave before
// the guest changed it.
func TestOlderAnswerIsNotKept(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", []byte("x"), 0o600))
	fs := open(t, dir, Options{})
	n := walk(t, fs, "f").(*inode)
	asked := fs.now()
	st, err := n.stat()
	must(t, err)
	must(t, n.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: 0o644}))
	n.remember(&st, asked)
	if _, ok := n.KeptAttr(); ok {
		t.Error("attributes from before a change are kept")
	}
	if mode, _, _ := n.Permissions(); mode != unix.S_IFREG|0o644 {
		t.Errorf("mode %o", mode)
	}
}

func BenchmarkStatPath(b *testing.B) {
	dir := b.TempDir()
	must(b, os.MkdirAll(dir+"/a/b/c", 0o755))
	must(b, os.WriteFile(dir+"/a/b/c/f", []byte("x"), 0o644))
	ns, o, _ := mounted(b, dir, Options{})
	b.ReportAllocs()
	for b.Loop() {
		_, err := ns.Stat(root, o, "a/b/c/f", 0)
		must(b, err)
	}
}
