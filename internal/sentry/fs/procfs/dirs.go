package procfs

import (
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// staticDir is a directory of a process whose files are the same for all.
type staticDir struct {
	subDir
	entries []taskEntry
}

func (d *staticDir) Lookup(name string) (vfs.Inode, error) {
	for i := range d.entries {
		e := &d.entries[i]
		if e.name != name {
			continue
		}
		s := d.subject
		f := &genfs.File{Super: d.fs.super, Ino: genfs.Ino(d.ino, name), Perm: e.perm, Owner: s.owner, Flat: e.flat}
		f.Content = func(c vfs.Caller, b []byte) ([]byte, error) { return e.read(s, c, b) }
		return f, nil
	}
	return nil, unix.ENOENT
}

func (d *staticDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *staticDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	for i := after; i < int64(len(d.entries)); i++ {
		n := d.entries[i].name
		if !emit(i+1, vfs.DirEntry{Ino: genfs.Ino(d.ino, n), Type: unix.DT_REG, Name: n}) {
			return nil
		}
	}
	return nil
}

// attrEntries say that there is no security module: reading is EINVAL.
var attrEntries = []taskEntry{
	{name: "current", perm: 0o666, flat: near, read: noModule}, {name: "prev", perm: 0o444, flat: near, read: noModule},
	{name: "exec", perm: 0o666, flat: near, read: noModule}, {name: "fscreate", perm: 0o666, flat: near, read: noModule},
	{name: "keycreate", perm: 0o666, flat: near, read: noModule}, {name: "sockcreate", perm: 0o666, flat: near, read: noModule},
}

func noModule(subject, vfs.Caller, []byte) ([]byte, error) { return nil, unix.EINVAL }

func newAttrDir(d *taskDir, ino uint64) vfs.Inode { return &staticDir{d.sub(ino, 0o555), attrEntries} }
