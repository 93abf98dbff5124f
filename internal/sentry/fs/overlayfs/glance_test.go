package overlayfs

import (
	"os"
	"strconv"
	"testing"
	"time"

	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// counted is a Host that counts how often it is asked for attributes.
type counted struct {
	hostfs.Host
	stats int
}

func (c *counted) Stat(dir hostfs.Dir, name string) (unix.Statx_t, error) {
	c.stats++
	return c.Host.Stat(dir, name)
}

// TestFullCache asks for names when the cache is full: the host is asked for them
// twice, until they are entered.
func TestFullCache(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", []byte("x"), 0o640))
	must(t, os.Mkdir(dir+"/d", 0o711))
	must(t, os.Symlink("f", dir+"/l"))
	must(t, os.Symlink("n", dir+"/dangling"))
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	calls := &counted{Host: hostfs.Local(fd)}
	lower, err := hostfs.New(calls, hostfs.Options{Stable: true, AttrTTL: time.Hour})
	must(t, err)
	fs, err := New(tmpfs.New(tmpfs.Options{}), lower)
	must(t, err)
	t.Cleanup(func() {
		fs.Release()
		unix.Close(fd)
	})
	v := newVFSTree(fs)
	for i := range 20_000 {
		if _, err := v.ns.Stat(root, v.o, "missing"+strconv.Itoa(i), 0); err != unix.ENOENT {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path   string
		flags  vfs.ResolveFlags
		calls  [3]int // the first time, the second, and from then on
		errors error
	}{
		{"f", 0, [3]int{1, 1, 0}, nil},
		{"d/", 0, [3]int{1, 1, 0}, nil},
		{"l", vfs.NoFollowLast, [3]int{1, 1, 0}, nil},
		{"n", 0, [3]int{1, 1, 0}, unix.ENOENT},
		{"f/", 0, [3]int{0, 0, 0}, unix.ENOTDIR},
	} {
		for i, want := range append(c.calls[:], c.calls[2]) {
			calls.stats = 0
			st, err := v.ns.Stat(root, v.o, c.path, c.flags)
			if err != c.errors {
				t.Errorf("%s: error %v, want %v", c.path, err, c.errors)
			}
			if calls.stats != want {
				t.Errorf("%s: %d calls the %d. time, want %d", c.path, calls.stats, i+1, want)
			}
			var h unix.Stat_t
			if err == nil {
				must(t, unix.Lstat(dir+"/"+c.path, &h))
				if st.Ino != h.Ino || st.Mode != h.Mode || st.Size != h.Size {
					t.Errorf("%s: %+v, want %+v", c.path, st, h)
				}
			}
		}
	}
	// What is more than a glance goes on at once.
	must(t, os.WriteFile(dir+"/g", []byte("xyz"), 0o640))
	must(t, os.Symlink("g", dir+"/to-g"))
	if st, err := v.ns.Stat(root, v.o, "to-g", 0); err != nil || st.Size != 3 {
		t.Errorf("through a link: %+v, %v", st, err)
	}
	if _, err := v.ns.Stat(root, v.o, "dangling", 0); err != unix.ENOENT {
		t.Error("through a dangling link: ", err)
	}
	must(t, os.WriteFile(dir+"/h", nil, 0o640))
	if _, err := v.ns.Stat(root, v.o, "h/", 0); err != unix.ENOTDIR {
		t.Error("a file with a slash: ", err)
	}
	if _, err := v.ns.Stat(root, v.o, "d", vfs.WantDirectory); err != nil {
		t.Error(err)
	}
}
