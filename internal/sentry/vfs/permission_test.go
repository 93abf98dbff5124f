package vfs_test

import (
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func TestAccess(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.write("/f", "x")
	f := w.resolve("/f")
	w.must(vfs.Chown(root, f, 1000, 100))
	readSearch := user(2000, 2000)
	readSearch.cred.Effective = 1 << unix.CAP_DAC_READ_SEARCH
	for _, tt := range []struct {
		name string
		c    *caller
		mode uint32
		want string // of r, w, x
	}{
		{"owner", user(1000, 1), 0o640, "rw-"},
		{"owner has only its bits", user(1000, 100), 0o077, "---"},
		{"group", user(2000, 100), 0o640, "r--"},
		{"group has only its bits", user(2000, 100), 0o606, "---"},
		{"supplementary group", user(2000, 2000, 5, 100), 0o650, "r-x"},
		{"others", user(2000, 2000), 0o641, "--x"},
		{"root", root, 0, "rw-"},
		{"root executes what some may", root, 0o010, "rwx"},
		{"read and search", readSearch, 0, "r--"},
	} {
		w.must(vfs.Chmod(root, f, tt.mode))
		got := ""
		for i, mask := range []uint32{unix.R_OK, unix.W_OK, unix.X_OK} {
			if vfs.Access(tt.c, f, mask) == nil {
				got += "rwx"[i : i+1]
			} else {
				got += "-"
			}
		}
		if got != tt.want {
			t.Errorf("%s, mode %o: %s, want %s", tt.name, tt.mode, got, tt.want)
		}
	}
}

func TestSearchPermission(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d", "/d/e")
	w.write("/d/e/f", "x")
	d := w.resolve("/d")
	u := user(1000, 1000)
	for _, tt := range []struct {
		mode uint32
		path string
		want string
	}{
		{0o755, "/d/e/f", "/d/e/f"},
		{0o744, "/d/e/f", "EACCES"},
		{0o711, "/d/e/f", "/d/e/f"},
		{0o744, "/d/.", "EACCES"},
		{0o744, "/d/..", "EACCES"},
		{0o744, "/d", "/d"},
		{0o744, "/d/missing", "EACCES"},
	} {
		w.must(vfs.Chmod(root, d, tt.mode))
		if got := w.name(u, w.at, tt.path, 0); got != tt.want {
			t.Errorf("%o %s: %s, want %s", tt.mode, tt.path, got, tt.want)
		}
	}
}

func TestOpenPermission(t *testing.T) {
	w := newWorld(t)
	w.write("/f", "x")
	w.mkdir("/d")
	w.symlink("f", "/l")
	w.must(w.ns.MknodAt(root, w.at, "/s", unix.S_IFSOCK|0o777, 0, 0))
	w.must(w.ns.MknodAt(root, w.at, "/dev", unix.S_IFCHR|0o666, 250, 250))
	u := user(1000, 1000)
	for _, tt := range []struct {
		c     *caller
		path  string
		flags uint32
		want  string
	}{
		{u, "/f", unix.O_RDONLY, "ok"},
		{u, "/f", unix.O_RDWR, "EACCES"},
		{u, "/f", unix.O_RDONLY | unix.O_TRUNC, "EACCES"},
		{u, "/f", unix.O_RDONLY | unix.O_NOATIME, "EPERM"},
		{root, "/f", unix.O_RDONLY | unix.O_NOATIME, "ok"},
		{u, "/new", unix.O_RDWR | unix.O_CREAT, "EACCES"},
		{root, "/f", unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, "EEXIST"},
		{root, "/l", unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, "EEXIST"},
		{root, "/l", unix.O_RDWR | unix.O_NOFOLLOW, "ELOOP"},
		{root, "/l", unix.O_RDWR | unix.O_NOFOLLOW | unix.O_CREAT, "ELOOP"},
		{root, "/l", unix.O_PATH | unix.O_NOFOLLOW, "ok"},
		{root, "/l", unix.O_RDWR | unix.O_CREAT, "ok"},
		{root, "/d", unix.O_RDONLY, "ok"},
		{root, "/d", unix.O_WRONLY, "EISDIR"},
		{root, "/d", unix.O_RDONLY | unix.O_CREAT, "EISDIR"},
		{root, "/d/", unix.O_RDONLY | unix.O_CREAT, "EISDIR"},
		{root, "/x/", unix.O_RDONLY | unix.O_CREAT, "EISDIR"},
		{root, "/f", unix.O_RDONLY | unix.O_DIRECTORY, "ENOTDIR"},
		{root, "/f/", unix.O_RDONLY, "ENOTDIR"},
		{root, "/s", unix.O_RDONLY, "ENXIO"},
		{root, "/dev", unix.O_RDONLY, "ENXIO"},
	} {
		d, err := w.ns.OpenAt(tt.c, w.at, tt.path, vfs.OpenHow{Flags: tt.flags, Mode: 0o600})
		if got := errno(err); got != tt.want {
			t.Errorf("open(%s, %#o): %s, want %s", tt.path, tt.flags, got, tt.want)
		}
		if err == nil {
			d.DecRef()
		}
	}
}

func TestStickyAndSetgid(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/tmp", "/team")
	tmp, team := w.resolve("/tmp"), w.resolve("/team")
	w.must(vfs.Chmod(root, tmp, 0o1777))
	w.must(vfs.Chown(root, team, 0, 50))
	w.must(vfs.Chmod(root, team, 0o2777))
	alice, bob := user(1, 1), user(2, 2)
	create := func(c *caller, path string, mode uint32) {
		d, err := w.ns.OpenAt(c, w.at, path, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: mode})
		w.must(err)
		d.DecRef()
	}
	create(alice, "/tmp/a", 0o666)
	if err := w.ns.UnlinkAt(bob, w.at, "/tmp/a"); err != unix.EPERM {
		t.Errorf("another's file in a sticky directory: %v", err)
	}
	if err := w.ns.RenameAt(bob, w.at, "/tmp/a", w.at, "/tmp/b", 0); err != unix.EPERM {
		t.Errorf("rename of it: %v", err)
	}
	if _, err := w.ns.OpenAt(bob, w.at, "/tmp/a", vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDONLY}); err != unix.EACCES {
		t.Errorf("O_CREAT of it: %v", err)
	}
	if err := w.ns.SymlinkAt(alice, "/team", w.at, "/tmp/l"); err != nil {
		t.Fatal(err)
	}
	if got := w.name(bob, w.at, "/tmp/l", 0); got != "EACCES" {
		t.Errorf("another's link in a sticky directory: %s", got)
	}
	w.must(w.ns.UnlinkAt(alice, w.at, "/tmp/a"))

	create(alice, "/team/f", 0o2775)
	w.must(w.ns.MkdirAt(alice, w.at, "/team/d", 0o777))
	for _, tt := range []struct {
		path string
		mode uint32
	}{
		{"/team/f", 0o755}, // not in the group: no set-group-ID file
		{"/team/d", 0o2755},
	} {
		p := w.resolve(tt.path)
		a, _ := p.Attr()
		if a.GID != 50 || a.Mode&0o7777 != tt.mode {
			t.Errorf("%s: group %d, mode %o, want 50, %o", tt.path, a.GID, a.Mode&0o7777, tt.mode)
		}
		p.DecRef()
	}
}

func TestChange(t *testing.T) {
	w := newWorld(t)
	w.write("/f", "x")
	f := w.resolve("/f")
	w.must(vfs.Chown(root, f, 1000, 100))
	owner, other := user(1000, 100), user(2, 2)
	grouped := user(1000, 100, 7)
	fowner := user(3, 3)
	fowner.cred.Effective = 1 << unix.CAP_FOWNER
	ts := vfs.Time{Sec: 5}
	keep := ^uint32(0)
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"chmod by owner", vfs.Chmod(owner, f, 0o666), "ok"},
		{"chmod by other", vfs.Chmod(other, f, 0o666), "EPERM"},
		{"chmod with CAP_FOWNER", vfs.Chmod(fowner, f, 0o664), "ok"},
		{"chown by owner", vfs.Chown(owner, f, 2, keep), "EPERM"},
		{"chown to itself", vfs.Chown(owner, f, 1000, keep), "ok"},
		{"chgrp to own group", vfs.Chown(grouped, f, keep, 7), "ok"},
		{"chgrp to foreign group", vfs.Chown(grouped, f, keep, 8), "EPERM"},
		{"touch without write permission", vfs.Utimes(other, f, nil, nil, true), "EACCES"},
		{"utimes by other", vfs.Utimes(other, f, &ts, &ts, false), "EPERM"},
		{"utimes by owner", vfs.Utimes(owner, f, &ts, nil, false), "ok"},
		{"truncate by other", vfs.Truncate(other, f, 0), "EACCES"},
		{"truncate beyond the limit", vfs.Truncate(&caller{owner.cred, 0, 100}, f, 101), "EFBIG"},
		{"truncate to the limit", vfs.Truncate(&caller{owner.cred, 0, 100}, f, 100), "ok"},
		{"user xattr by other", vfs.SetXattr(other, f, "user.a", nil, 0), "EACCES"},
		{"user xattr", vfs.SetXattr(owner, f, "user.a", []byte("v"), 0), "ok"},
		{"user xattr again", vfs.SetXattr(owner, f, "user.a", nil, unix.XATTR_CREATE), "EEXIST"},
		{"trusted xattr", vfs.SetXattr(owner, f, "trusted.a", nil, 0), "EPERM"},
		{"security xattr", vfs.SetXattr(owner, f, "security.a", nil, 0), "EPERM"},
		{"security xattr by root", vfs.SetXattr(root, f, "security.a", nil, 0), "ok"},
		{"unknown class", vfs.SetXattr(root, f, "x.a", nil, 0), "ENOTSUP"},
		{"acl", vfs.SetXattr(root, f, "system.posix_acl_access", nil, 0), "ENOTSUP"},
	} {
		if got := errno(tt.err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestPrivilegesDropped: set-user-ID goes when the contents or owner change.
func TestPrivilegesDropped(t *testing.T) {
	w := newWorld(t)
	w.write("/f", "x")
	f := w.resolve("/f")
	u := user(1000, 1000)
	mode := func() uint32 {
		a, err := f.Attr()
		w.must(err)
		return a.Mode & 0o7777
	}
	steps := []struct {
		name string
		do   func() error
		want uint32
	}{
		{"chown by root", func() error { return vfs.Chown(root, f, 1000, 1000) }, 0o777},
		{"write by user", func() error {
			d, err := w.ns.Open(u, f, unix.O_WRONLY)
			w.must(err)
			defer d.DecRef()
			_, err = d.Write(u, []byte("y"))
			return err
		}, 0o777},
		{"truncate by user", func() error { return vfs.Truncate(u, f, 0) }, 0o777},
		{"write by root", func() error {
			d, err := w.ns.Open(root, f, unix.O_WRONLY)
			w.must(err)
			defer d.DecRef()
			_, err = d.Write(root, []byte("y"))
			return err
		}, 0o6777},
	}
	for _, s := range steps {
		w.must(vfs.Chmod(root, f, 0o6777))
		w.must(s.do())
		if got := mode(); got != s.want {
			t.Errorf("%s: mode %o, want %o", s.name, got, s.want)
		}
	}
	w.must(vfs.Chmod(root, f, 0o2767)) // mandatory-lock mark: no group x
	w.must(vfs.Truncate(u, f, 0))
	if got := mode(); got != 0o2767 {
		t.Errorf("lock mark: mode %o", got)
	}
}
