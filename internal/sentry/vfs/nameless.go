package vfs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// namelessFS is the file system of objects that live in no directory, such as
// pipes: what Path needs to lead to one.
type namelessFS struct{ NoInode }

func (*namelessFS) Name() string  { return "anon_inodefs" }
func (f *namelessFS) Root() Inode { return f }
func (*namelessFS) StatFS() (StatFS, error) {
	return StatFS{Type: unix.ANON_INODE_FS_MAGIC, BlockSize: 4096, NameLen: maxName}, nil
}
func (*namelessFS) Release() {}

func (*namelessFS) Attr() (Attr, error) {
	return Attr{Mode: unix.S_IFDIR | 0o500, Nlink: 2, BlockSize: 4096}, nil
}

// namelessMount is never attached anywhere, nor released.
var namelessMount = sync.OnceValue(func() *Mount {
	m, err := NamelessMount(&namelessFS{})
	if err != nil {
		panic(err) // its root's attributes are above
	}
	return m
})

// Nameless returns a path, with a reference, to an inode that has no name.
// Its kind is what the inode's attributes say.
func Nameless(ino Inode) (Path, error) { return namelessMount().Place(ino) }

// NamelessMount mounts fs where only Place leads to: it is never attached
// anywhere, nor released.
func NamelessMount(fs FileSystem) (*Mount, error) {
	m, err := newMount(fs, nil, 0, fs.Name())
	if err != nil {
		return nil, err
	}
	m.nameless = true
	return m, nil
}

// Place is Nameless for a mount of NamelessMount's.
func (m *Mount) Place(ino Inode) (Path, error) {
	d, err := newDentry(m.super, nil, "", ino)
	if err != nil {
		return Path{}, err
	}
	d.dead.Store(true)
	m.incRef()
	return Path{m, d}, nil
}

// Place is where the file is, with a reference: Path, or a path to the inode
// of a file without one.
func (d *FileDescription) Place() (Path, error) {
	if d.Path.Valid() {
		d.Path.IncRef()
		return d.Path, nil
	}
	if d.Inode == nil {
		return Path{}, unix.ENOENT
	}
	return Nameless(d.Inode)
}
