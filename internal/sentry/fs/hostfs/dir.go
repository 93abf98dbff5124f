package hostfs

import (
	"bytes"
	"encoding/binary"
	"sync"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// dirBuffer is how much of a directory is read from the host at once.
const dirBuffer = 16 << 10

var dirBuffers = sync.Pool{New: func() any { return new([dirBuffer]byte) }}

// dir is an open directory. Offsets are the host's cookies: the host keeps
// them meaningful while names come and go, and judges those that nobody has
// seen when they are read.
type dir struct {
	vfs.DirFile
	inode *inode
	fd    int
	// handle is set if fd is the inode's handle too, and closed with that. Nobody
	// else reads from it, so its offset is this dir's.
	handle *descriptor

	mu sync.Mutex
	// buf[at:end] are entries that were read but not taken yet; next is the
	// offset at which they begin.
	buf     *[dirBuffer]byte
	at, end int
	next    int64
}

// openDir opens a directory for reading. If it has no handle yet, the descriptor
// becomes that too: who lists a directory mostly goes on to what is in it.
func (n *inode) openDir() (vfs.File, error) {
	h := n.fs.dirs.get(&n.dir)
	if h == nil {
		d, err := n.openHandle()
		if err != nil || d != nil {
			return d, err
		}
		if h, err = n.fs.acquire(n); err != nil {
			return nil, err
		}
	}
	defer n.fs.dirs.release(h)
	fd, _, err := n.fs.host.Open(Dir(h.fd), "", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &dir{inode: n, fd: fd}, nil
}

// openHandle is openDir for a directory without a handle. It returns nil if
// meanwhile there is one.
func (n *inode) openHandle() (vfs.File, error) {
	fs := n.fs
	parent, name := fs.where(n)
	if parent == nil {
		return nil, unix.ESTALE
	}
	in, err := fs.acquire(parent)
	if err != nil {
		return nil, err
	}
	defer fs.dirs.release(in)
	asked := fs.now()
	fd, st, err := fs.host.Open(Dir(in.fd), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if fs.identify(&st) != n.id {
		unix.Close(fd)
		return nil, unix.ESTALE
	}
	n.remember(&st, asked)
	handle := fs.host.Handle(fd)
	h := fs.dirs.put(&n.dir, int(handle))
	if h.fd != int(handle) {
		fs.dirs.release(h)
		return nil, nil
	}
	return &dir{inode: n, fd: fd, handle: h}, nil
}

// Readdir implements vfs.File.
func (d *dir) Readdir(_ vfs.Caller, off int64, emit func(vfs.DirEntry) bool) error {
	if d.inode.barred.Load() {
		return d.readEmpty(off, emit)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := d.buf == nil
	if fresh {
		d.buf = dirBuffers.Get().(*[dirBuffer]byte)
	}
	if off != d.next || off == 0 && !fresh {
		if _, err := unix.Seek(d.fd, off, unix.SEEK_SET); err != nil {
			return err
		}
		d.at, d.end, d.next = 0, 0, off
	}
	for {
		for d.at < d.end {
			e, length, ok := parseDirent(d.buf[d.at:d.end])
			if !ok {
				return unix.EIO
			}
			if e.Name == ".." && d.inode == d.inode.fs.root {
				e.Ino = d.inode.id.ino // nothing above is the guest's to know
			}
			if !emit(e) {
				return nil
			}
			d.at += length
			d.next = e.Next
		}
		n, err := unix.Getdents(d.fd, d.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		d.at, d.end = 0, n
	}
}

// readEmpty lists a directory that shows nothing.
func (d *dir) readEmpty(off int64, emit func(vfs.DirEntry) bool) error {
	for i := max(off, 0); i < 2; i++ {
		e := vfs.DirEntry{Ino: d.inode.id.ino, Next: i + 1, Type: unix.DT_DIR, Name: "."}
		if i == 1 {
			e.Name = ".."
		}
		if !emit(e) {
			return nil
		}
	}
	return nil
}

// parseDirent reads one struct linux_dirent64 (getdents64(2)) and returns its
// length.
func parseDirent(b []byte) (e vfs.DirEntry, length int, ok bool) {
	const header = 19
	if len(b) < header {
		return e, 0, false
	}
	length = int(binary.LittleEndian.Uint16(b[16:]))
	if length <= header || length > len(b) {
		return e, 0, false
	}
	name := b[header:length]
	i := bytes.IndexByte(name, 0)
	if i <= 0 {
		return e, 0, false
	}
	e.Ino = binary.LittleEndian.Uint64(b)
	e.Next = int64(binary.LittleEndian.Uint64(b[8:]))
	e.Type = b[18]
	e.Name = string(name[:i])
	return e, length, true
}

// Fsync implements vfs.File.
func (d *dir) Fsync(dataOnly bool) error { return fsync(d.fd, dataOnly) }

// Release implements vfs.File.
func (d *dir) Release() {
	if d.handle != nil {
		d.inode.fs.dirs.release(d.handle)
	} else {
		unix.Close(d.fd)
	}
	if d.buf != nil {
		dirBuffers.Put(d.buf)
	}
}
