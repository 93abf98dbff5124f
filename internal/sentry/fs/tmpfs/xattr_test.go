package tmpfs

import (
	"bytes"
	"fmt"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// TestXattrSpace sets attributes until there is no more room on the inode, or
// in the file system: small ones take it too, and it comes back.
func TestXattrSpace(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int64
		value  int
		least  int // attributes that there is room for
		beyond int // and for no more than this
	}{
		{"small ones", 16 << 20, 1, 1000, maxXattrs / xattrSize},
		{"large ones", 16 << 20, 64 << 10, 3, 4},
		{"small file system", 4 * pageSize, 1, 30, 4 * pageSize / xattrSize},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := New(Options{Size: c.size})
			ino, err := fs.root.Create(vfs.Owner{}, "file", 0o600)
			if err != nil {
				t.Fatal(err)
			}
			before := fs.pages.Load()
			value := bytes.Repeat([]byte("x"), c.value)
			n := 0
			for ; n <= c.beyond; n++ {
				if err = ino.SetXattr(fmt.Sprintf("user.%d", n), value, 0); err != nil {
					break
				}
			}
			if err != unix.ENOSPC || n < c.least {
				t.Errorf("%d attributes, then %v", n, err)
			}
			if err := ino.SetXattr("user.0", nil, unix.XATTR_REPLACE); err != nil {
				t.Errorf("a smaller value: %v", err)
			}
			for i := range n {
				if err := ino.RemoveXattr(fmt.Sprintf("user.%d", i)); err != nil {
					t.Fatal(err)
				}
			}
			if got := fs.pages.Load(); got != before {
				t.Errorf("%d pages are taken at the end, %d at the beginning", got, before)
			}
		})
	}
}
