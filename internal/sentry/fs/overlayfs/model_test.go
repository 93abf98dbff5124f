package overlayfs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

type caller struct{}

var cred = auth.New(0, 0, nil)

func (caller) Credentials() *auth.Credentials      { return cred }
func (caller) Umask() uint32                       { return 0 }
func (caller) FSLimit() uint64                     { return math.MaxUint64 }
func (caller) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (caller) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

var root vfs.Caller = caller{}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree is a file tree that operations are done on: the host's, or ours.
// Paths are relative to its top.
type tree interface {
	mkdir(path string, mode uint32) error
	create(path string, mode uint32, data string) error
	write(path string, flags uint32, data string) error
	read(path string) (string, error)
	symlink(target, path string) error
	mkfifo(path string) error
	link(old, path string) error
	unlink(path string) error
	rmdir(path string) error
	rename(old, new string, flags uint32) error
	chmod(path string, mode uint32) error
	truncate(path string, size int64) error
	stat(path string) (vfs.Attr, error)
	readlink(path string) (string, error)
	list(path string) ([]string, error)
}

// hostTree is a directory of the host.
type hostTree string

func (h hostTree) at(p string) string { return string(h) + "/" + p }
func (h hostTree) mkdir(p string, mode uint32) error {
	return unix.Mkdir(h.at(p), mode)
}
func (h hostTree) create(p string, mode uint32, data string) error {
	return h.open(p, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode, data)
}
func (h hostTree) write(p string, flags uint32, data string) error {
	return h.open(p, unix.O_WRONLY|int(flags), 0, data)
}
func (h hostTree) open(p string, flags int, mode uint32, data string) error {
	fd, err := unix.Open(h.at(p), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(data))
	return err
}
func (h hostTree) read(p string) (string, error) {
	b, err := os.ReadFile(h.at(p))
	return string(b), err
}
func (h hostTree) symlink(target, p string) error { return unix.Symlink(target, h.at(p)) }
func (h hostTree) mkfifo(p string) error          { return unix.Mkfifo(h.at(p), 0600) }
func (h hostTree) link(old, p string) error {
	return unix.Linkat(unix.AT_FDCWD, h.at(old), unix.AT_FDCWD, h.at(p), 0)
}
func (h hostTree) unlink(p string) error { return unix.Unlink(h.at(p)) }
func (h hostTree) rmdir(p string) error  { return unix.Rmdir(h.at(p)) }
func (h hostTree) rename(old, new string, flags uint32) error {
	return unix.Renameat2(unix.AT_FDCWD, h.at(old), unix.AT_FDCWD, h.at(new), uint(flags))
}
func (h hostTree) chmod(p string, mode uint32) error { return unix.Chmod(h.at(p), mode) }
func (h hostTree) truncate(p string, size int64) error {
	return unix.Truncate(h.at(p), size)
}
func (h hostTree) stat(p string) (vfs.Attr, error) {
	var st unix.Stat_t
	err := unix.Lstat(h.at(p), &st)
	return vfs.Attr{Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid, Size: st.Size, Ino: st.Ino}, err
}
func (h hostTree) readlink(p string) (string, error) { return os.Readlink(h.at(p)) }
func (h hostTree) list(p string) ([]string, error) {
	des, err := os.ReadDir(h.at(p))
	var out []string
	for _, d := range des {
		out = append(out, d.Name())
	}
	return out, err
}

// vfsTree is a file system of ours, reached through vfs as by a guest.
type vfsTree struct {
	ns *vfs.MountNamespace
	o  vfs.Origin
}

func newVFSTree(fs vfs.FileSystem) vfsTree {
	ns := vfs.NewMountNamespace(fs, 0)
	return vfsTree{ns, vfs.Origin{Root: ns.Root(), Start: ns.Root()}}
}

func (v vfsTree) mkdir(p string, mode uint32) error { return v.ns.MkdirAt(root, v.o, p, mode) }
func (v vfsTree) create(p string, mode uint32, data string) error {
	return v.open(p, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode, data)
}
func (v vfsTree) write(p string, flags uint32, data string) error {
	return v.open(p, unix.O_WRONLY|flags, 0, data)
}
func (v vfsTree) open(p string, flags, mode uint32, data string) error {
	d, err := v.ns.OpenAt(root, v.o, p, vfs.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_NONBLOCK, Mode: mode})
	if err != nil {
		return err
	}
	defer d.DecRef()
	_, err = d.Write(root, []byte(data))
	return err
}
func (v vfsTree) read(p string) (string, error) {
	d, err := v.ns.OpenAt(root, v.o, p, vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK})
	if err != nil {
		return "", err
	}
	defer d.DecRef()
	buf := make([]byte, 1<<20)
	n, err := d.Read(root, buf)
	return string(buf[:n]), err
}
func (v vfsTree) symlink(target, p string) error { return v.ns.SymlinkAt(root, target, v.o, p) }
func (v vfsTree) mkfifo(p string) error {
	return v.ns.MknodAt(root, v.o, p, unix.S_IFIFO|0600, 0, 0)
}
func (v vfsTree) at(p string, flags vfs.ResolveFlags, f func(vfs.Path) error) error {
	at, err := v.ns.Resolve(root, v.o, p, flags)
	if err != nil {
		return err
	}
	defer at.DecRef()
	return f(at)
}
func (v vfsTree) link(old, p string) error {
	return v.at(old, vfs.NoFollowLast, func(at vfs.Path) error { return v.ns.LinkAt(root, at, v.o, p) })
}
func (v vfsTree) unlink(p string) error { return v.ns.UnlinkAt(root, v.o, p) }
func (v vfsTree) rmdir(p string) error  { return v.ns.RmdirAt(root, v.o, p) }
func (v vfsTree) rename(old, new string, flags uint32) error {
	return v.ns.RenameAt(root, v.o, old, v.o, new, flags)
}
func (v vfsTree) chmod(p string, mode uint32) error {
	return v.at(p, 0, func(at vfs.Path) error { return vfs.Chmod(root, at, mode) })
}
func (v vfsTree) truncate(p string, size int64) error {
	return v.at(p, 0, func(at vfs.Path) error { return vfs.Truncate(root, at, size) })
}
func (v vfsTree) stat(p string) (vfs.Attr, error) {
	st, err := v.ns.Stat(root, v.o, p, vfs.NoFollowLast)
	if e := v.glance(p, st.Attr, err); e != nil {
		return st.Attr, e
	}
	return st.Attr, err
}

// glance checks that a glance at p, if it tells anything, tells the same.
func (v vfsTree) glance(p string, want vfs.Attr, wantErr error) error {
	return v.at(filepath.Dir(p), 0, func(at vfs.Path) error {
		dir, ok := at.Inode().(vfs.Glancer)
		if !ok || filepath.Base(p) == "." {
			return nil
		}
		a, ok, err := dir.Glance(filepath.Base(p))
		if a.Atime = want.Atime; ok && (a != want && err == nil || err != wantErr) {
			return fmt.Errorf("a glance at %s tells %+v, %v; stat %+v, %v", p, a, err, want, wantErr)
		}
		return nil
	})
}
func (v vfsTree) readlink(p string) (s string, err error) {
	err = v.at(p, vfs.NoFollowLast, func(at vfs.Path) error {
		s, err = at.Inode().Readlink(root)
		return err
	})
	return s, err
}
func (v vfsTree) list(p string) (out []string, err error) {
	d, err := v.ns.OpenAt(root, v.o, p, vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY})
	if err != nil {
		return nil, err
	}
	defer d.DecRef()
	inos := map[string]uint64{}
	err = d.Readdir(root, func(e vfs.DirEntry) bool {
		if e.Name != "." && e.Name != ".." {
			out = append(out, e.Name)
			inos[e.Name] = e.Ino
		}
		return true
	})
	for name, ino := range inos {
		if a, err := v.stat(p + "/" + name); err == nil && a.Ino != ino {
			return nil, fmt.Errorf("%s/%s: listed as inode %d, is %d", p, name, ino, a.Ino)
		}
	}
	slices.Sort(out)
	return out, err
}

// dump describes all that a tree shows.
func dump(t *testing.T, tr tree) string {
	var b strings.Builder
	var walk func(p string)
	walk = func(p string) {
		a, err := tr.stat(p)
		must(t, err)
		fmt.Fprintf(&b, "%s %o %d:%d", p, a.Mode, a.UID, a.GID)
		switch a.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := tr.read(p)
			must(t, err)
			fmt.Fprintf(&b, " %d links, %d bytes: %q\n", a.Nlink, a.Size, data)
		case unix.S_IFLNK:
			target, err := tr.readlink(p)
			must(t, err)
			fmt.Fprintf(&b, " -> %s\n", target)
		case unix.S_IFDIR:
			names, err := tr.list(p)
			must(t, err)
			fmt.Fprintf(&b, " %q\n", names)
			for _, name := range names {
				walk(p + "/" + name)
			}
		default:
			fmt.Fprintln(&b)
		}
	}
	walk(".")
	return b.String()
}

// gen makes random operations on a small set of names, so that they meet.
type gen struct{ *rand.Rand }

func (g gen) path() string {
	names := []string{"a", "b", "c", "d"}
	p := names[g.IntN(len(names))]
	for range g.IntN(3) {
		p += "/" + names[g.IntN(len(names))]
	}
	return p
}

// op returns one operation and its description.
func (g gen) op() (string, func(tree) error) {
	p, q, mode := g.path(), g.path(), uint32(g.IntN(8)*0111|0600)
	data := strings.Repeat(string(rune('a'+g.IntN(26))), g.IntN(5))
	switch g.IntN(16) {
	case 0, 1:
		return fmt.Sprintf("mkdir %s", p), func(t tree) error { return t.mkdir(p, 0700|mode) }
	case 2, 3:
		return fmt.Sprintf("create %s", p), func(t tree) error { return t.create(p, mode, data) }
	case 4:
		return fmt.Sprintf("append %q to %s", data, p), func(t tree) error { return t.write(p, unix.O_APPEND, data) }
	case 5:
		return fmt.Sprintf("rewrite %s", p), func(t tree) error { return t.write(p, unix.O_TRUNC, data) }
	case 6:
		return fmt.Sprintf("symlink %s", p), func(t tree) error { return t.symlink("target", p) }
	case 7:
		return fmt.Sprintf("link %s %s", p, q), func(t tree) error { return t.link(p, q) }
	case 8, 9:
		return fmt.Sprintf("unlink %s", p), func(t tree) error { return t.unlink(p) }
	case 10:
		return fmt.Sprintf("rmdir %s", p), func(t tree) error { return t.rmdir(p) }
	case 11, 12, 13:
		flags := []uint32{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[g.IntN(5)]
		return fmt.Sprintf("rename %s %s %d", p, q, flags), func(t tree) error { return t.rename(p, q, flags) }
	case 14:
		return fmt.Sprintf("chmod %s %o", p, mode), func(t tree) error { return t.chmod(p, mode) }
	}
	if g.IntN(2) == 0 {
		return fmt.Sprintf("mkfifo %s", p), func(t tree) error { return t.mkfifo(p) }
	}
	size := int64(g.IntN(8))
	return fmt.Sprintf("truncate %s %d", p, size), func(t tree) error { return t.truncate(p, size) }
}

// trees makes a lower layer with random contents, and returns Linux's overlay
// of it and ours.
func trees(t *testing.T, g gen, upper func(dir string) vfs.FileSystem) (linux, ours tree) {
	top := t.TempDir()
	must(t, unix.Mount("none", top, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(top, unix.MNT_DETACH) })
	for _, d := range []string{"lower1", "lower2", "upper", "work", "merged", "ourupper"} {
		must(t, os.Mkdir(filepath.Join(top, d), 0755))
	}
	for _, l := range []string{"/lower1", "/lower2"} {
		for range 60 {
			_, op := g.op()
			op(hostTree(top + l))
		}
	}
	opts := fmt.Sprintf("lowerdir=%s/lower1:%s/lower2,upperdir=%s/upper,workdir=%s/work,redirect_dir=nofollow,index=off,metacopy=off",
		top, top, top, top)
	if err := unix.Mount("overlay", top+"/merged", "overlay", 0, opts); err != nil {
		t.Skip("the host mounts no overlay: ", err)
	}
	t.Cleanup(func() { unix.Unmount(top+"/merged", unix.MNT_DETACH) })
	fs, err := New(upper(top+"/ourupper"),
		host(t, top+"/lower1", hostfs.Options{Stable: true, AttrTTL: 1e9}),
		host(t, top+"/lower2", hostfs.Options{Stable: true, AttrTTL: 1e9}))
	must(t, err)
	return hostTree(top + "/merged"), newVFSTree(fs)
}

func host(t testing.TB, dir string, o hostfs.Options) vfs.FileSystem {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	fs, err := hostfs.New(hostfs.Local(fd), o)
	must(t, err)
	t.Cleanup(func() {
		fs.Release()
		unix.Close(fd)
	})
	return fs
}

// TestLikeLinux does random operations on Linux's overlay and on ours, and
// expects the same results and the same trees.
func TestLikeLinux(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	uppers := map[string]func(*testing.T) func(string) vfs.FileSystem{
		"tmpfs": func(*testing.T) func(string) vfs.FileSystem {
			return func(string) vfs.FileSystem { return tmpfs.New(tmpfs.Options{}) }
		},
		"hostfs": func(t *testing.T) func(string) vfs.FileSystem {
			return func(dir string) vfs.FileSystem { return host(t, dir, hostfs.Options{}) }
		},
	}
	for name, upper := range uppers {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				g := gen{rand.New(rand.NewPCG(seed, 1))}
				linux, ours := trees(t, g, upper(t))
				var log []string
				for i := range 400 {
					what, op := g.op()
					log = append(log, what)
					want, got := op(linux), op(ours)
					if fmt.Sprint(want) != fmt.Sprint(got) {
						t.Fatalf("step %d: %s: Linux says %v, we say %v\nafter %s\ntree:\n%s", i, what, want, got,
							strings.Join(log[max(0, len(log)-12):], "\n"), dump(t, linux))
					}
					if i%10 == 9 {
						if a, b := dump(t, linux), dump(t, ours); a != b {
							t.Fatalf("step %d: after\n%s\nLinux shows\n%s\nwe show\n%s", i,
								strings.Join(log[max(0, len(log)-12):], "\n"), a, b)
						}
					}
				}
			})
		}
	}
}
