package hostfs

import (
	"os"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// TestListingIsHandle lists a directory that has no handle, and then asks for
// what is in it: the host opens it once.
func TestListingIsHandle(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/a/b", 0o755))
	must(t, os.WriteFile(dir+"/a/b/f", []byte("x"), 0o644))
	ns, o, host := mounted(t, dir, Options{})
	list := func() *vfs.FileDescription {
		d, err := ns.OpenAt(root, o, "a/b", vfs.OpenHow{Flags: unix.O_DIRECTORY})
		must(t, err)
		names := ""
		must(t, d.Readdir(root, func(e vfs.DirEntry) bool {
			if e.Name[0] != '.' {
				names += e.Name
			}
			return true
		}))
		if names != "f" {
			t.Errorf("it lists %q", names)
		}
		return d
	}
	d := list()
	if host.calls["open"] != 1 || host.calls["walk"] != 1 {
		t.Errorf("calls %v, want one walk, to a, and one open", host.calls)
	}
	_, err := ns.Stat(root, o, "a/b/f", 0)
	must(t, err)
	if host.calls["walk"] != 1 {
		t.Errorf("calls %v: it was walked to again", host.calls)
	}
	// A second one beside it has an offset of its own, and the handle is
	// there when the first is closed.
	e := list()
	d.DecRef()
	must(t, os.WriteFile(dir+"/a/b/f", []byte("xy"), 0o644))
	if st, err := ns.Stat(root, o, "a/b/f", 0); err != nil || st.Size != 2 {
		t.Errorf("%+v, %v", st, err)
	}
	e.DecRef()
	if host.calls["open"] != 2 || host.calls["walk"] != 1 {
		t.Errorf("calls %v, want one walk and two opens", host.calls)
	}
}
