package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestCopyUp fills a tmpfs with one file of each kind.
func TestCopyUp(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		dir := bundle + "/rootfs/data"
		makeDirs(t, dir+"/sub/deeper")
		makeText(t, dir+"/text", "text")
		makeText(t, dir+"/sub/deeper/other", "other")
		link(t, "/etc/passwd", dir+"/link")
		when := []unix.Timespec{{Sec: 1e9, Nsec: 5}, {Sec: 2e9, Nsec: 7}}
		if err := errors.Join(
			os.Link(dir+"/text", dir+"/sub/twin"),
			os.Chown(dir+"/text", 3, 4),
			os.Chmod(dir+"/text", 0o640|os.ModeSetuid),
			os.Chmod(dir+"/sub", 0o1711),
			unix.Mkfifo(dir+"/fifo", 0o622),
			unix.Mknod(dir+"/device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
			os.Lchown(dir+"/link", 8, 9),
			unix.Setxattr(dir+"/text", "trusted.test", []byte("value"), 0),
			unix.Setxattr(dir+"/sub", "trusted.test", []byte("directory's"), 0),
			makeHoles(dir+"/holes"),
			unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/sub", when, 0),
			unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/link", when, unix.AT_SYMLINK_NOFOLLOW),
			os.Chmod(dir, 0o1755),
		); err != nil {
			t.Fatal(err)
		}
		before := describeTree(t, dir)
		enter(t, bundle, newSpec(
			specs.Mount{Destination: "/proc", Type: "proc"},
			specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "ro"}}))
		if got := mountAt(t, "/data").describe(); !strings.HasPrefix(got, "tmpfs ro,") {
			t.Errorf("/data is %s", got)
		}
		if after := describeTree(t, "/data"); after != before {
			t.Errorf("copied:\n%s\nwant:\n%s", after, before)
		}
	})
}

// makeHoles makes a file of 1 TiB with a few bytes at two places.
func makeHoles(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err1 := f.WriteAt([]byte("first"), 1<<30)
	_, err2 := f.WriteAt([]byte("second"), 1<<35)
	return errors.Join(err1, err2, f.Truncate(1<<40))
}

// describeTree shows of all files below dir what a copy must have too.
func describeTree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s mode %#o owner %d:%d device %#x", strings.TrimPrefix(name, dir), st.Mode, st.Uid, st.Gid, st.Rdev)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if name == dir { // its times are those of the mount
				st.Mtim = unix.Timespec{}
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(name)
			fmt.Fprintf(&b, " to %s, %v", target, err)
		case unix.S_IFREG:
			fmt.Fprintf(&b, " size %d links %d", st.Size, st.Nlink)
			if st.Size < 1<<20 {
				fmt.Fprintf(&b, " text %q", fileText(t, name))
			} else {
				fmt.Fprintf(&b, " small %v", st.Blocks < 100)
			}
		}
		value := make([]byte, 100)
		n, _ := unix.Lgetxattr(name, "trusted.test", value)
		fmt.Fprintf(&b, " attribute %q time %v\n", value[:max(n, 0)], st.Mtim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCopyUpHoles compares the data around holes.
func TestCopyUpHoles(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir+"/from", dir+"/to")
	if err := makeHoles(dir + "/from/holes"); err != nil {
		t.Skipf("the file system of %s has no such large files: %v", dir, err)
	}
	copyDir(t, dir)
	f, err := os.Open(dir + "/to/holes")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, want := range map[int64]string{1 << 30: "first\x00", 1 << 35: "second\x00", 1<<30 - 1: "\x00f"} {
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, at); err != nil || string(got) != want {
			t.Errorf("at %d: %q, %v; want %q", at, got, err, want)
		}
	}
}

// copyDir copies from/ to to/.
func copyDir(t *testing.T, dir string) {
	t.Helper()
	from, err1 := unix.Open(dir+"/from", pathFlags, 0)
	to, err2 := unix.Open(dir+"/to", pathFlags, 0)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(from)
	defer unix.Close(to)
	if err := copyUp(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestCopyUpFull copies more than a tmpfs takes.
func TestCopyUpFull(t *testing.T) {
	if !inside(t, 0) {
		return
	}
	bundle := newBundle(t)
	makeDirs(t, bundle+"/rootfs/data/sub")
	makeText(t, bundle+"/rootfs/data/sub/large", strings.Repeat("x", 1<<20))
	_, err := Prepare(&Config{Bundle: bundle, Spec: newSpec(
		specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "size=64k"}})})
	wantError(t, err, `mounts[0] "/data"`, "tmpcopyup: copying sub/large", "raise its option size")
}
