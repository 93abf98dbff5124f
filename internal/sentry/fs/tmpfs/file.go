package tmpfs

import (
	"math"
	"sync/atomic"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// file is a regular file.
type file struct {
	node
	data contents
	// nameless says that the file never had a name (O_TMPFILE): its inode is
	// charged though it has no link.
	nameless atomic.Bool
	// name is what /proc shows for a file of memfd_create(2).
	name string
	// sealable says that seals can be added.
	sealable bool
}

func (fs *FS) newFile(o vfs.Owner, mode uint32) *file {
	f := &file{}
	f.data.fs, f.data.fd = fs, -1
	f.init(fs, o, unix.S_IFREG|mode&0o7777)
	return f
}

// DecRef is half of vfs.Referenced.
func (f *file) DecRef() { f.decRef(f) }

func (f *file) free() {
	f.data.free()
	if f.nameless.CompareAndSwap(true, false) {
		f.fs.unchargeInode()
	}
}

// Attr implements vfs.Inode.
func (f *file) Attr() (vfs.Attr, error) {
	a, err := f.node.Attr()
	a.Size = f.data.size.Load()
	a.Blocks = uint64(f.data.blocks()) * (pageSize / 512)
	return a, err
}

// SetAttr implements vfs.Inode.
func (f *file) SetAttr(s vfs.SetAttr) error {
	if s.Which&vfs.SetMode != 0 && (f.mode.Load()^s.Mode)&0o111 != 0 && f.data.sealed(fSealExec) {
		return unix.EPERM
	}
	if s.Which&vfs.SetSize != 0 {
		if err := f.data.truncate(s.Size); err != nil {
			return err
		}
	}
	f.setAttr(s)
	return nil
}

// Open implements vfs.Inode.
func (f *file) Open(_ vfs.Caller, flags uint32) (vfs.File, error) {
	f.opened()
	f.IncRef()
	f.data.open()
	return &openFile{f: f, noatime: flags&unix.O_NOATIME != 0}, nil
}

// openFile is an open regular file.
type openFile struct {
	vfs.NoFile
	f       *file
	noatime bool
}

// Read implements vfs.File.
func (o *openFile) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	n, err := o.f.data.read(p, off)
	if n > 0 && !o.noatime {
		o.f.accessed()
	}
	return n, err
}

// Write implements vfs.File.
func (o *openFile) Write(c vfs.Caller, p []byte, off int64, flags uint32) (int, int64, error) {
	if off < 0 {
		return 0, off, unix.EINVAL
	}
	limit := uint64(math.MaxUint64)
	if c != nil {
		limit = c.FSLimit()
	}
	n, end, err := o.f.data.write(p, off, flags&unix.O_APPEND != 0, limit)
	if n > 0 {
		o.f.written(c)
	}
	return n, end, err
}

// Seek implements vfs.File.
func (o *openFile) Seek(whence int, off, present int64) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		off = present + off
	case unix.SEEK_END:
		off = o.f.data.size.Load() + off
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return o.f.data.seek(off, whence)
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	return off, nil
}

// Fsync implements vfs.File: there is nothing to write back to.
func (o *openFile) Fsync(bool) error { return nil }

// Fallocate implements vfs.File.
func (o *openFile) Fallocate(mode uint32, off, length int64) error {
	if mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE) != 0 {
		return unix.EOPNOTSUPP
	}
	if off < 0 || length <= 0 {
		return unix.EINVAL
	}
	if off > maxSize-length {
		return unix.EFBIG
	}
	var err error
	switch {
	case mode&unix.FALLOC_FL_PUNCH_HOLE == 0:
		err = o.f.data.allocate(off, length, mode&unix.FALLOC_FL_KEEP_SIZE != 0)
	case mode&unix.FALLOC_FL_KEEP_SIZE == 0:
		return unix.EOPNOTSUPP
	default:
		err = o.f.data.punch(off, length)
	}
	if err == nil {
		o.f.touch(modified)
	}
	return err
}

// MapFD implements vfs.File.
func (o *openFile) MapFD() (int, error) { return o.f.data.mapFD() }

// Release implements vfs.File.
func (o *openFile) Release() {
	o.f.data.close()
	o.f.DecRef()
}
