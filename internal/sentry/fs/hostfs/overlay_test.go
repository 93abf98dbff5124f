package hostfs

import (
	"os"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// On an overlay of the host's a file is replaced by a copy when it is first
// opened for writing, and its directories with it: they stay the files that they
// are.
func TestOverlayOfTheHost(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"low", "low/sub", "up", "work", "all"} {
		must(t, os.Mkdir(dir+"/"+d, 0755))
	}
	for _, f := range []string{"f", "sub/g", "linked"} {
		must(t, os.WriteFile(dir+"/low/"+f, []byte("low"), 0644))
	}
	// Of several links only the one is copied, under another number.
	must(t, os.Link(dir+"/low/linked", dir+"/low/link"))
	options := "lowerdir=" + dir + "/low,upperdir=" + dir + "/up,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", dir+"/all", "overlay", 0, options); err != nil {
		t.Skipf("no overlay can be mounted here: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir+"/all", unix.MNT_DETACH)) })
	ns := vfs.NewMountNamespace(open(t, dir+"/all", Options{}), 0)
	defer ns.DecRef()
	top := ns.Root()
	defer top.DecRef()
	for _, name := range []string{"f", "sub/g", "linked"} {
		before, err := ns.OpenAt(root, vfs.Origin{Root: top, Start: top}, name, vfs.OpenHow{Flags: unix.O_RDONLY})
		must(t, err)
		d, err := ns.OpenAt(root, vfs.Origin{Root: top, Start: top}, name, vfs.OpenHow{Flags: unix.O_WRONLY})
		if err != nil {
			t.Fatalf("opening %s for writing: %v", name, err)
		}
		_, err = d.Write(root, []byte("new"))
		must(t, err)
		if a, err := d.Attr(root); err != nil || a.Size != 3 {
			t.Errorf("%s: size %d, %v", name, a.Size, err)
		}
		b := make([]byte, 8)
		if n, err := before.Read(root, b); name != "linked" && string(b[:n]) != "new" || err != nil {
			t.Errorf("%s: who had it open reads %q, %v", name, b[:n], err)
		}
		d.DecRef()
		before.DecRef()
		if got, err := os.ReadFile(dir + "/all/" + name); string(got) != "new" || err != nil {
			t.Errorf("%s: the host has %q, %v", name, got, err)
		}
		if low, _ := os.ReadFile(dir + "/low/" + name); string(low) != "low" {
			t.Errorf("%s: the lower file has %q", name, low)
		}
	}
	p, err := ns.Resolve(root, vfs.Origin{Root: top, Start: top}, "sub", 0)
	must(t, err)
	defer p.DecRef()
	if _, err := p.Attr(); err != nil {
		t.Errorf("the directory of what was copied: %v", err)
	}
}
