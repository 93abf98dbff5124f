package genfs

import (
	"sync"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Lister lists a directory's entries other than "." and "..". List calls emit
// with each entry whose key is above after, in the order of keys, until emit
// returns false. Keys are at least 1 and name an entry for good, so that a
// directory that changes while it is read neither repeats nor skips what
// stays.
type Lister interface {
	List(c vfs.Caller, after int64, emit func(key int64, e vfs.DirEntry) bool) error
}

// keyBase is the offset of key 0: offsets 1 and 2 follow "." and "..".
const keyBase = 2

// DirFile is the open description of a generated directory.
type DirFile struct {
	vfs.DirFile
	// Ino and Parent number "." and "..".
	Ino, Parent uint64
	Lister      Lister
	// Syncs says that fsync(2) finds it good, as Linux has it of file systems in memory but
	// not of /proc and /sys.
	Syncs bool
}

// Fsync implements vfs.File.
func (d *DirFile) Fsync(dataOnly bool) error {
	if d.Syncs {
		return d.DirFile.Fsync(dataOnly)
	}
	return unix.EINVAL
}

// Seek implements vfs.File. In /proc and /sys a directory is a file without bytes to Linux
// (generic_file_llseek); in memory it has no end (dcache_dir_lseek).
func (d *DirFile) Seek(whence int, off, present int64) (int64, error) {
	if d.Syncs {
		return d.DirFile.Seek(whence, off, present)
	}
	return vfs.SeekSized(whence, off, present, 0, NearOffset)
}

// Readdir implements vfs.File.
func (d *DirFile) Readdir(c vfs.Caller, off int64, emit func(vfs.DirEntry) bool) error {
	if off < 1 && !emit(vfs.DirEntry{Ino: d.Ino, Next: 1, Type: unix.DT_DIR, Name: "."}) {
		return nil
	}
	if off < 2 && !emit(vfs.DirEntry{Ino: d.Parent, Next: 2, Type: unix.DT_DIR, Name: ".."}) {
		return nil
	}
	return d.Lister.List(c, max(off-keyBase, 0), func(key int64, e vfs.DirEntry) bool {
		e.Next = key + keyBase
		return emit(e)
	})
}

// Dir is the inode of a directory whose entries are added by the program.
type Dir struct {
	vfs.NoInode
	Super *Super
	Ino   uint64
	// Perm are the permission bits.
	Perm uint32
	// Parent numbers the parent directory.
	Parent uint64

	mu      sync.RWMutex
	entries []entry
	index   map[string]int
}

type entry struct {
	name  string
	inode vfs.Inode
	typ   uint8
	ino   uint64
}

// NewRoot returns the top directory of a tree.
func NewRoot(s *Super) *Dir {
	return &Dir{Super: s, Ino: 1, Parent: 1, Perm: 0o555, index: map[string]int{}}
}

// Attr implements vfs.Inode.
func (d *Dir) Attr() (vfs.Attr, error) {
	a := d.Super.Attr(d.Ino, unix.S_IFDIR|d.Perm)
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.entries {
		if e.typ == unix.DT_DIR {
			a.Nlink++
		}
	}
	return a, nil
}

// Lookup implements vfs.Inode.
func (d *Dir) Lookup(name string) (vfs.Inode, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i, ok := d.index[name]
	if !ok {
		return nil, unix.ENOENT
	}
	return d.entries[i].inode, nil
}

// Open implements vfs.Inode.
func (d *Dir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &DirFile{Ino: d.Ino, Parent: d.Parent, Lister: d}, nil
}

// List implements Lister. Keys are positions: entries are never removed.
func (d *Dir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	d.mu.RLock()
	entries := d.entries
	d.mu.RUnlock()
	for i := after; i < int64(len(entries)); i++ {
		e := entries[i]
		if !emit(i+1, vfs.DirEntry{Ino: e.ino, Type: e.typ, Name: e.name}) {
			return nil
		}
	}
	return nil
}

// Add puts inode into the directory under name, which must be free. It is
// meant for the time in which a tree is built.
func (d *Dir) Add(name string, inode vfs.Inode) {
	a, err := inode.Attr()
	if err != nil {
		panic("genfs: " + name + " has no attributes: " + err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, taken := d.index[name]; taken {
		panic("genfs: " + name + " added twice")
	}
	if d.index == nil {
		d.index = map[string]int{}
	}
	d.index[name] = len(d.entries)
	d.entries = append(d.entries, entry{name, inode, uint8(a.Mode & unix.S_IFMT >> 12), a.Ino})
}

// AddDir adds a directory and returns it.
func (d *Dir) AddDir(name string) *Dir {
	n := &Dir{Super: d.Super, Ino: Ino(d.Ino, name), Parent: d.Ino, Perm: 0o555, index: map[string]int{}}
	d.Add(name, n)
	return n
}

// AddFile adds a read-only file and returns it.
func (d *Dir) AddFile(name string, content Content) *File {
	n := &File{Super: d.Super, Ino: Ino(d.Ino, name), Perm: 0o444, Content: content}
	d.Add(name, n)
	return n
}

// AddText adds a read-only file with a fixed content.
func (d *Dir) AddText(name, text string) *File {
	return d.AddFile(name, func(_ vfs.Caller, b []byte) ([]byte, error) { return append(b, text...), nil })
}

// AddLink adds a symbolic link.
func (d *Dir) AddLink(name, target string) {
	d.Add(name, &Symlink{Super: d.Super, Ino: Ino(d.Ino, name),
		Target: func(vfs.Caller) (string, error) { return target, nil }})
}

// Symlink is the inode of a symbolic link with a generated target.
type Symlink struct {
	vfs.NoInode
	Super  *Super
	Ino    uint64
	Target func(c vfs.Caller) (string, error)
}

// Attr implements vfs.Inode.
func (s *Symlink) Attr() (vfs.Attr, error) {
	return s.Super.Attr(s.Ino, unix.S_IFLNK|0o777), nil
}

// Readlink implements vfs.Inode.
func (s *Symlink) Readlink(c vfs.Caller) (string, error) { return s.Target(c) }
