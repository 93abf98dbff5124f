package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMakeFile makes a path in a tree of links, and compares with where the
// kernel says that the path leads then.
func FuzzMakeFile(f *testing.F) {
	f.Add("a", "", "", "", "", false)
	f.Add("/a/b/../c", "a", "/x/y", "x", "..", true)
	f.Add("a/b/c", "a", "b", "b", "/../../..", true)
	f.Add("l/l/l", "l", ".", "", "", false)
	f.Add("l", "l", "m/..", "m", "/l/n", true)
	f.Add("d/../../../../outside/x", "d", "/", "", "", true)
	f.Fuzz(func(t *testing.T, name, link1, target1, link2, target2 string, dir bool) {
		if len(name)+len(target1)+len(target2) > 300 {
			return
		}
		top := t.TempDir()
		makeDirs(t, top+"/root", top+"/outside")
		for link, target := range map[string]string{link1: target1, link2: target2} {
			if link != "" && !strings.Contains(link, "/") {
				os.Symlink(target, filepath.Join(top, "root", link)) // some names cannot be
			}
		}
		root, err := unix.Open(top+"/root", pathFlags|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(root)
		clean := cleanPath(name)
		fd, err := makeFile(root, clean, dir, true)
		if err == nil {
			defer unix.Close(fd)
			again, err := lookup(root, clean, pathFlags, 0)
			if err != nil {
				t.Fatalf("%q was made, and cannot be found: %v", clean, err)
			}
			defer unix.Close(again)
			var a, b unix.Stat_t
			unix.Fstat(fd, &a)
			unix.Fstat(again, &b)
			if a.Ino != b.Ino || a.Dev != b.Dev {
				t.Errorf("%q leads elsewhere than to what was made", clean)
			}
		}
		if got := names(t, top) + names(t, top+"/outside"); got != "outside root" {
			t.Errorf("made outside of the root: %s", got)
		}
	})
}

// TestNoLinks makes files where no links may lead.
func TestNoLinks(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir+"/there")
	link(t, "there", dir+"/link")
	root, err := unix.Open(dir, pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	for name, want := range map[string]error{"/there/a/b": nil, "/link": unix.ELOOP, "/link/a": unix.ELOOP, "/there": nil} {
		fd, err := makeFile(root, name, true, false)
		if err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
}
