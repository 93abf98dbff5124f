package overlayfs

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// self is the Caller of the overlay's own accesses to its layers.
type self struct{ cred *auth.Credentials }

var overlay vfs.Caller = self{auth.New(0, 0, nil)}

func (s self) Credentials() *auth.Credentials    { return s.cred }
func (self) Umask() uint32                       { return 0 }
func (self) FSLimit() uint64                     { return math.MaxUint64 }
func (self) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (self) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

// copyUp gives n an upper inode with all that the lower one has. Of a file's
// contents only the first size bytes are copied if size is not negative.
func (n *node) copyUp(size int64) error {
	if n.upper() != nil {
		return nil
	}
	if n.fs.work == nil {
		return unix.EROFS
	}
	// From the top down, in a loop since the guest decides the depth.
	var way []*node
	for at := n; at.upper() == nil; at = at.parent {
		way = append(way, at)
	}
	for i := len(way) - 1; i > 0; i-- {
		if err := way[i].copyOne(-1); err != nil {
			return err
		}
	}
	return n.copyOne(size)
}

// copyOne copies up a node whose parent has an upper inode.
func (n *node) copyOne(size int64) error {
	n.copying.Lock()
	defer n.copying.Unlock()
	if n.upper() != nil {
		return nil
	}
	if err := n.fs.mayChange(n.parent.upper()); err != nil {
		return err
	}
	name, copied, err := n.copyAside(size)
	if err != nil {
		return err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.dead.Load() {
		// It lost its name and lives on for those who have it open.
		hold(copied)
		defer letGo(copied)
		n.setUpper(copied)
		return n.fs.discard(name, copied)
	}
	dir := n.parent.upper()
	before, err := dir.Attr()
	if err == nil {
		err = n.fs.work.Rename(name, dir, n.name, 0)
		n.fs.changed(n.fs.work, name)
		n.fs.changed(dir, n.name)
	}
	if err != nil {
		n.fs.discard(name, copied)
		return err
	}
	n.setUpper(copied)
	n.list.Store(nil)
	// To the guest nothing happened in the directory.
	return dir.SetAttr(vfs.SetAttr{Which: vfs.SetMtime | vfs.SetAtime, Atime: before.Atime, Mtime: before.Mtime})
}

// copyAside makes a copy in the work directory, under a name that is free: others
// may be left there by an overlay of before.
func (n *node) copyAside(size int64) (name string, copied vfs.Inode, err error) {
	for {
		name = "#" + strconv.FormatUint(n.fs.copies.Add(1), 16)
		if copied, err = n.makeCopy(name, size); err != unix.EEXIST {
			return name, copied, err
		}
	}
}

// discard removes a copy from the work directory.
func (fs *FileSystem) discard(name string, i vfs.Inode) error {
	defer fs.changed(fs.work, name)
	if kind, _, err := classify(i); err == nil && kind == unix.S_IFDIR {
		return fs.work.Rmdir(name, i)
	}
	return fs.work.Unlink(name, i)
}

// makeCopy makes a complete copy of n's lower inode in the work directory.
func (n *node) makeCopy(name string, size int64) (vfs.Inode, error) {
	from := n.lowers[0]
	attr, err := from.Attr()
	if err != nil {
		return nil, err
	}
	to, err := n.makeLike(from, attr, name)
	if err != nil {
		return nil, err
	}
	if n.kind == unix.S_IFREG {
		if size < 0 || size > attr.Size {
			size = attr.Size
		}
		err = copyData(from, to, size)
	}
	if err == nil {
		err = n.fs.copyXattrs(from, to)
	}
	if err == nil {
		err = to.SetXattr(n.fs.prefix+xattrOrigin, binary.LittleEndian.AppendUint64(nil, n.ino), 0)
		if n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR && err != nil {
			err = nil // some file systems keep none on other kinds
		}
	}
	if err == nil {
		set := vfs.SetAttr{Which: vfs.SetAtime | vfs.SetMtime, Atime: attr.Atime, Mtime: attr.Mtime}
		if n.kind != unix.S_IFLNK {
			// Writing has cleared set-ID bits.
			set.Which |= vfs.SetMode
			set.Mode = attr.Mode & 07777
		}
		err = to.SetAttr(set)
	}
	if err != nil {
		n.fs.discard(name, to)
		return nil, err
	}
	return to, nil
}

func (n *node) makeLike(from vfs.Inode, attr vfs.Attr, name string) (vfs.Inode, error) {
	work, owner, mode := n.fs.work, vfs.Owner{UID: attr.UID, GID: attr.GID}, attr.Mode&07777
	switch n.kind {
	case unix.S_IFREG:
		return work.Create(owner, name, mode)
	case unix.S_IFDIR:
		return work.Mkdir(owner, name, mode)
	case unix.S_IFLNK:
		target, err := from.Readlink(overlay)
		if err != nil {
			return nil, err
		}
		return work.Symlink(owner, name, target)
	}
	return work.Mknod(owner, name, n.kind|mode, attr.RdevMajor, attr.RdevMinor)
}

// copyXattrs copies all but the overlay's own marks.
func (fs *FileSystem) copyXattrs(from, to vfs.Inode) error {
	names, err := from.ListXattr()
	if err != nil {
		return err
	}
	for _, name := range names {
		if fs.private(name) {
			continue
		}
		v, err := from.GetXattr(name)
		if err == unix.ENODATA {
			continue
		}
		if err == nil {
			err = to.SetXattr(name, v, 0)
		}
		if err != nil && err != unix.EOPNOTSUPP {
			return err
		}
	}
	return nil
}

const copyStep = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyStep]byte) }}

// copyData copies size bytes. Blocks of zeros become holes.
func copyData(from, to vfs.Inode, size int64) error {
	if size == 0 {
		return nil
	}
	src, err := from.Open(overlay, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Release()
	dst, err := to.Open(overlay, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer dst.Release()
	buf := copyBuffers.Get().(*[copyStep]byte)
	defer copyBuffers.Put(buf)
	for off := int64(0); off < size; {
		n, err := src.Read(overlay, buf[:min(copyStep, size-off)], off)
		if err != nil {
			return err
		}
		if n == 0 {
			break // it became shorter
		}
		if err := writeSparse(dst, buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return to.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: size})
}

var zeros [4096]byte

// writeSparse writes p at off without its blocks of zeros.
func writeSparse(f vfs.File, p []byte, off int64) error {
	for len(p) > 0 {
		n := 0
		for n < len(p) && !isZero(p[n:]) {
			n += min(len(zeros), len(p)-n)
		}
		for done := 0; done < n; {
			w, _, err := f.Write(overlay, p[done:n], off+int64(done), 0)
			if err != nil {
				return err
			}
			if w == 0 {
				return unix.EIO
			}
			done += w
		}
		p, off = p[n:], off+int64(n)
		if len(p) > 0 {
			skip := min(len(zeros), len(p))
			p, off = p[skip:], off+int64(skip)
		}
	}
	return nil
}

// isZero reports whether p's first block holds nothing but zeros.
func isZero(p []byte) bool {
	p = p[:min(len(p), len(zeros))]
	return bytes.Equal(p, zeros[:len(p)])
}
