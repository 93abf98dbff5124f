package genfs

import (
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func TestBitmap(t *testing.T) {
	for _, tt := range []struct {
		m          Bitmap
		size       int
		mask, list string
	}{
		{Bitmap{1}, 1, "1", "0"},
		{Bitmap{3}, 2, "3", "0-1"},
		{Bitmap{0xff}, 8, "ff", "0-7"},
		{Bitmap{5}, 8, "05", "0,2"},
		{Bitmap{1<<40 | 0xf0}, 41, "100,000000f0", "4-7,40"},
		{Bitmap{^uint64(0), 1}, 65, "1,ffffffff,ffffffff", "0-64"},
		{Bitmap{^uint64(0)}, 64, "ffffffff,ffffffff", "0-63"},
		{Bitmap{0}, 1, "0", ""},
	} {
		if got := string(tt.m.Mask(nil, tt.size)); got != tt.mask {
			t.Errorf("%x: mask %q, want %q", tt.m, got, tt.mask)
		}
		if got := string(tt.m.List(nil)); got != tt.list {
			t.Errorf("%x: list %q, want %q", tt.m, got, tt.list)
		}
	}
}

// names reads a directory n entries at a time.
func names(t *testing.T, f vfs.File, n int) []string {
	t.Helper()
	var out []string
	off := int64(0)
	for {
		left := n
		err := f.Readdir(nil, off, func(e vfs.DirEntry) bool {
			if left == 0 {
				return false
			}
			left--
			off = e.Next
			out = append(out, e.Name)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if left == n {
			return out
		}
	}
}

func TestDirectory(t *testing.T) {
	d := NewRoot(NewSuper(1))
	d.AddText("a", "A")
	sub := d.AddDir("b")
	d.AddLink("c", "a")
	if a, _ := d.Attr(); a.Nlink != 3 || a.Ino != 1 {
		t.Errorf("nlink %d, ino %d", a.Nlink, a.Ino)
	}
	for n := 1; n < 7; n++ {
		f, err := d.Open(nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := names(t, f, n)
		if len(got) != 5 || got[0] != "." || got[1] != ".." || got[2] != "a" || got[4] != "c" {
			t.Errorf("%d at a time: %q", n, got)
		}
	}
	if _, err := d.Lookup("x"); err != unix.ENOENT {
		t.Errorf("lookup: %v", err)
	}
	ino, _ := sub.Attr()
	if want := Ino(1, "b"); ino.Ino != want {
		t.Errorf("ino %d, want %d", ino.Ino, want)
	}
}

func TestFileIsConsistentWhileRead(t *testing.T) {
	version := byte('1')
	f := &File{Super: NewSuper(1), Perm: 0o444, Content: func(_ vfs.Caller, b []byte) ([]byte, error) {
		return append(b, version, version, version, version), nil
	}}
	o, err := f.Open(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := func(off int64) string {
		var b [2]byte
		n, err := o.Read(nil, b[:], off)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if got := read(0); got != "11" {
		t.Errorf("first part %q", got)
	}
	version = '2'
	if got := read(2) + read(4); got != "11" {
		t.Errorf("rest %q", got)
	}
	if got := read(0); got != "22" {
		t.Errorf("again from 0: %q", got)
	}
	if _, _, err := o.Write(nil, []byte("x"), 0, 0); err != unix.EINVAL {
		t.Errorf("write: %v", err)
	}
}
