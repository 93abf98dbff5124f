package vfs_test

import (
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// TestAgainstHost makes the same random calls on a tree of ours and on a
// directory of the host, and compares their errors and the trees.
func TestAgainstHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the tests' caller is root")
	}
	defer unix.Umask(unix.Umask(0o022))
	steps := 3000
	if testing.Short() {
		steps = 300
	}
	for seed := range int64(4) {
		h := &hostTree{world: newWorld(t), dir: t.TempDir(), rand: rand.New(rand.NewSource(seed))}
		for step := range steps {
			what, got, want := h.step()
			if got != want {
				t.Fatalf("seed %d, step %d: %s: %s, host says %s\n%s", seed, step, what, errno(got), errno(want), h.list("."))
			}
			if step%100 == 99 {
				if ours, host := h.list("."), h.listHost("."); ours != host {
					t.Fatalf("seed %d, step %d: after %s ours is\n%shost's is\n%s", seed, step, what, ours, host)
				}
			}
		}
		s, _ := h.fs.StatFS()
		if s.Files-s.FilesFree < 1 {
			t.Errorf("%d inodes are charged", s.Files-s.FilesFree)
		}
	}
}

type hostTree struct {
	*world
	dir  string
	rand *rand.Rand
}

func (h *hostTree) pick(s ...string) string { return s[h.rand.Intn(len(s))] }

// path makes a path that stays within the tree, whatever links there are.
func (h *hostTree) path() string {
	p := h.pick("a", "b", "c", "d")
	for h.rand.Intn(2) == 0 {
		p += h.pick("/", "//", "/./") + h.pick("a", "b", "c", "d", "l")
	}
	if h.rand.Intn(8) == 0 {
		p += h.pick("/", "/.", "/..", "/../", "//")
	}
	return p
}

// step makes one call on both sides.
func (h *hostTree) step() (what string, got, want error) {
	p, q := h.path(), h.path()
	hp, hq := h.dir+"/"+p, h.dir+"/"+q
	open := func(flags uint32) (error, error) {
		d, got := h.ns.OpenAt(root, h.at, p, vfs.OpenHow{Flags: flags, Mode: 0o644})
		if got == nil {
			d.DecRef()
		}
		fd, want := unix.Open(hp, int(flags), 0o644)
		if want == nil {
			unix.Close(fd)
		}
		return got, want
	}
	switch h.rand.Intn(14) {
	case 0, 1:
		return "mkdir " + p, h.ns.MkdirAt(root, h.at, p, 0o755), unix.Mkdir(hp, 0o755)
	case 2:
		return "rmdir " + p, h.ns.RmdirAt(root, h.at, p), unix.Rmdir(hp)
	case 3:
		return "unlink " + p, h.ns.UnlinkAt(root, h.at, p), unix.Unlink(hp)
	case 4:
		target := h.pick("a", "b/c", "c/", "l", "./a//b")
		return "symlink " + target + " " + p, h.ns.SymlinkAt(root, target, h.at, p), unix.Symlink(target, hp)
	case 5:
		follow := h.rand.Intn(2) == 0
		flags, hflags := vfs.NoFollowLast, 0
		if follow {
			flags, hflags = 0, unix.AT_SYMLINK_FOLLOW
		}
		want := unix.Linkat(unix.AT_FDCWD, hp, unix.AT_FDCWD, hq, hflags)
		old, err := h.ns.Resolve(root, h.at, p, flags)
		if err == nil {
			err = h.ns.LinkAt(root, old, h.at, q)
			old.DecRef()
		}
		return fmt.Sprint("link ", p, " ", q, " ", follow), err, want
	case 6, 7, 8:
		flags := []uint32{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[h.rand.Intn(4)]
		return fmt.Sprint("rename ", p, " ", q, " ", flags), h.ns.RenameAt(root, h.at, p, h.at, q, flags),
			unix.Renameat2(unix.AT_FDCWD, hp, unix.AT_FDCWD, hq, uint(flags))
	case 9, 10:
		flags := uint32(unix.O_CREAT | unix.O_RDWR)
		for _, f := range []uint32{unix.O_EXCL, unix.O_TRUNC, unix.O_NOFOLLOW} {
			if h.rand.Intn(3) == 0 {
				flags |= f
			}
		}
		got, want = open(flags)
		return fmt.Sprintf("open %s %#o", p, flags), got, want
	case 11:
		flags := []uint32{0, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_WRONLY, unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW}[h.rand.Intn(6)]
		got, want = open(flags)
		return fmt.Sprintf("open %s %#o", p, flags), got, want
	default:
		var st unix.Stat_t
		want := unix.Stat(hp, &st)
		at, got := h.ns.Resolve(root, h.at, p, 0)
		if got == nil {
			a, err := at.Attr()
			h.must(err)
			if want == nil && (a.Mode != st.Mode || st.Mode&unix.S_IFMT != unix.S_IFDIR && uint64(a.Nlink) != st.Nlink) {
				h.Fatalf("stat %s: mode %o, %d links; host has %o, %d", p, a.Mode, a.Nlink, st.Mode, st.Nlink)
			}
			at.DecRef()
		}
		return "stat " + p, got, want
	}
}

// list writes a tree down, one name a line.
func (h *hostTree) list(path string) string {
	d, err := h.ns.OpenAt(root, h.at, path, vfs.OpenHow{Flags: unix.O_DIRECTORY})
	h.must(err)
	defer d.DecRef()
	var lines []string
	h.must(d.Readdir(root, func(e vfs.DirEntry) bool {
		if e.Name == "." || e.Name == ".." {
			return true
		}
		p, err := h.ns.Resolve(root, vfs.Origin{Root: h.at.Root, Start: d.Path}, e.Name, vfs.NoFollowLast)
		h.must(err)
		defer p.DecRef()
		a, err := p.Attr()
		h.must(err)
		line := fmt.Sprintf("%s/%s %o\n", path, e.Name, a.Mode)
		if p.IsDir() {
			line += h.list(path + "/" + e.Name)
		}
		lines = append(lines, line)
		return true
	}))
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func (h *hostTree) listHost(path string) string {
	entries, err := os.ReadDir(h.dir + "/" + path)
	h.must(err)
	var lines []string
	for _, e := range entries {
		var st unix.Stat_t
		h.must(unix.Lstat(h.dir+"/"+path+"/"+e.Name(), &st))
		line := fmt.Sprintf("%s/%s %o\n", path, e.Name(), st.Mode)
		if e.IsDir() {
			line += h.listHost(path + "/" + e.Name())
		}
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}
