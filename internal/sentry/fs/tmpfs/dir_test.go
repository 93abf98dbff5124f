package tmpfs

import (
	"fmt"
	"math/rand"
	"sync"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func names(t *testing.T, f vfs.File, off int64, max int) (got []string, next int64) {
	t.Helper()
	next = off
	err := f.Readdir(nil, off, func(e vfs.DirEntry) bool {
		if len(got) == max {
			return false
		}
		got = append(got, e.Name)
		next = e.Next
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, next
}

// TestReaddirWhileChanging: entries that are there all the time are seen once,
// whatever else comes and goes between two reads.
func TestReaddirWhileChanging(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	fs := New(Options{})
	create := func(name string) {
		if _, err := fs.root.Create(vfs.Owner{}, name, 0o600); err != nil && err != unix.EEXIST {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		create(fmt.Sprintf("stay%d", i))
		create(fmt.Sprintf("go%d", i))
	}
	f, _ := fs.root.Open(nil, 0)
	seen := map[string]int{}
	for off := int64(0); ; {
		got, next := names(t, f, off, 1+r.Intn(40))
		if len(got) == 0 {
			break
		}
		for _, n := range got {
			seen[n]++
		}
		off = next
		for range 50 {
			name := fmt.Sprintf("go%d", r.Intn(1000))
			if r.Intn(2) == 0 {
				fs.root.Unlink(name, nil)
			} else {
				fs.root.Rename(name, fs.root, fmt.Sprintf("gone%d", r.Intn(1000)), 0)
			}
		}
	}
	for i := range 1000 {
		if n := seen[fmt.Sprintf("stay%d", i)]; n != 1 {
			t.Fatalf("stay%d was seen %d times", i, n)
		}
	}
	for n, c := range seen {
		if c > 1 && n[:2] != "go" {
			t.Errorf("%s was seen %d times", n, c)
		}
	}
}

// TestRemoveWhileReading is rm -r: unlink each entry as it is read.
func TestRemoveWhileReading(t *testing.T) {
	fs := New(Options{})
	for i := range 500 {
		fs.root.Create(vfs.Owner{}, fmt.Sprint(i), 0o600)
	}
	f, _ := fs.root.Open(nil, 0)
	for off := int64(0); ; {
		got, next := names(t, f, off, 7)
		if len(got) == 0 {
			break
		}
		for _, n := range got {
			if n != "." && n != ".." {
				if err := fs.root.Unlink(n, nil); err != nil {
					t.Fatal(n, err)
				}
			}
		}
		off = next
	}
	if len(fs.root.byName) != 0 || fs.inodes.Load() != 1 {
		t.Errorf("%d names left, %d inodes", len(fs.root.byName), fs.inodes.Load())
	}
}

func TestConcurrentNames(t *testing.T) {
	fs := New(Options{})
	sub, _ := fs.root.Mkdir(vfs.Owner{}, "sub", 0o755)
	dirs := []vfs.Inode{fs.root, sub}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(g)))
			for range 2000 {
				d, name := dirs[r.Intn(2)], fmt.Sprint("n", r.Intn(8))
				switch r.Intn(6) {
				case 0:
					d.Unlink(name, nil)
				case 1:
					d.Rename(name, dirs[r.Intn(2)], fmt.Sprint("n", r.Intn(8)), 0)
				case 2:
					if ino, err := d.Lookup(name); err == nil {
						d.Link(fmt.Sprint("n", r.Intn(8)), ino)
						ino.Attr()
					}
				case 3:
					f, _ := d.Open(nil, 0)
					f.Readdir(nil, 0, func(vfs.DirEntry) bool { return true })
				default:
					if ino, err := d.Create(vfs.Owner{}, name, 0o600); err == nil {
						f, _ := ino.Open(nil, unix.O_RDWR)
						f.Write(nil, []byte(name), 0, unix.O_APPEND)
						f.Release()
					}
				}
			}
		}()
	}
	wg.Wait()
	n := int64(2 + len(fs.root.byName) - 1 + len(sub.(*dir).byName))
	if got := fs.inodes.Load(); got != n {
		t.Errorf("%d inodes charged, %d names", got, n)
	}
}

func TestParseOptions(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Options
		bad  bool
	}{
		{"", Options{}, false},
		{"size=64k,mode=755,uid=1,gid=2", Options{Size: 65536, Mode: 0o755, UID: 1, GID: 2}, false},
		{"size=1g,nr_inodes=5,huge=never", Options{Size: 1 << 30, Inodes: 5}, false},
		{"size=0", Options{Size: -1}, false},
		{"nr_blocks=2", Options{Size: 8192}, false},
		{"size=x", Options{}, true},
		{"size=-1", Options{}, true},
		{"size=9999999999t", Options{}, true},
		{"mode=9", Options{}, true},
		{"color=red", Options{}, true},
	} {
		got, err := ParseOptions(tt.in)
		if (err != nil) != tt.bad || !tt.bad && got != tt.want {
			t.Errorf("%q: %+v, %v", tt.in, got, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("size=50%,mode=1777,nr_inodes=1m")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOptions(s)
		if err == nil && (o.Size < -1 || o.Inodes < -1 || o.Mode > 0o7777) {
			t.Errorf("%q: %+v", s, o)
		}
	})
}
