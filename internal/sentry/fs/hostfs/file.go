package hostfs

import (
	"math"
	"unsafe"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// file is an open regular file. All opens of an inode with one access mode
// share a host descriptor, so nothing here uses the descriptor's own offset.
type file struct {
	vfs.NoFile
	inode *inode
	d     *descriptor
}

// Read implements vfs.File.
func (f *file) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	return pread(f.d.fd, p, off)
}

func pread(fd int, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	for {
		n, err := unix.Pread(fd, p, off)
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// Write implements vfs.File.
func (f *file) Write(c vfs.Caller, p []byte, off int64, flags uint32) (n int, end int64, err error) {
	if off < 0 {
		return 0, 0, unix.EINVAL
	}
	n, end, err = pwrite(f.d.fd, p, off, flags, c.FSLimit())
	if n > 0 {
		f.inode.written(c)
	}
	return n, end, err
}

// pwrite writes to a regular file at off (-1: the descriptor's own offset,
// which moves), or at its end with O_APPEND, within limit (RLIMIT_FSIZE): EFBIG at the limit, a short write before it.
func pwrite(fd int, p []byte, off int64, flags uint32, limit uint64) (n int, end int64, err error) {
	rwf := 0
	if flags&unix.O_APPEND != 0 {
		rwf |= unix.RWF_APPEND
	}
	switch {
	case flags&unix.O_SYNC == unix.O_SYNC:
		rwf |= unix.RWF_SYNC
	case flags&unix.O_DSYNC != 0:
		rwf |= unix.RWF_DSYNC
	}
	if limit < math.MaxInt64 {
		at := off
		switch {
		case rwf&unix.RWF_APPEND != 0:
			at, err = size(fd)
		case off == -1:
			at, err = unix.Seek(fd, 0, unix.SEEK_CUR)
		}
		if err != nil {
			return 0, 0, err
		}
		if len(p) > 0 && uint64(at) >= limit {
			return 0, 0, unix.EFBIG
		}
		p = p[:min(uint64(len(p)), limit-min(uint64(at), limit))]
	}
	for {
		if rwf == 0 && off >= 0 {
			n, err = unix.Pwrite(fd, p, off)
		} else {
			n, err = pwritev2(fd, p, off, rwf)
		}
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, 0, err
	}
	if off == -1 {
		return n, 0, nil
	}
	end = off + int64(n)
	if rwf&unix.RWF_APPEND != 0 {
		// The host does not say where the end was. Another appender may move
		// it between the two calls, which only this description's offset sees.
		if end, err = size(fd); err != nil {
			return n, off, nil
		}
	}
	return n, end, nil
}

// pwritev2 and preadv2 are the calls with one buffer and flags. Offset -1 is
// the host descriptor's own.
func pwritev2(fd int, p []byte, off int64, flags int) (int, error) {
	return vectored(unix.SYS_PWRITEV2, fd, p, off, flags)
}

func preadv2(fd int, p []byte, off int64, flags int) (int, error) {
	return vectored(unix.SYS_PREADV2, fd, p, off, flags)
}

func vectored(nr uintptr, fd int, p []byte, off int64, flags int) (int, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	n, _, e := unix.Syscall6(nr, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, uintptr(flags))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func size(fd int) (int64, error) {
	var st unix.Statx_t
	err := fstat(fd, &st)
	return int64(st.Size), err
}

// Seek implements vfs.File.
func (f *file) Seek(whence int, off, present int64) (int64, error) {
	return seek(f.d.fd, off, whence, present)
}

// seek is lseek(2) on a regular file, with the offset kept by the caller.
func seek(fd int, off int64, whence int, present int64) (int64, error) {
	var base int64
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = present
	case unix.SEEK_END:
		end, err := size(fd)
		if err != nil {
			return 0, err
		}
		base = end
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		n, err := unix.Seek(fd, off, whence)
		return n, err
	default:
		return 0, unix.EINVAL
	}
	if off > 0 && base > math.MaxInt64-off {
		return 0, unix.EOVERFLOW
	}
	if base+off < 0 {
		return 0, unix.EINVAL
	}
	return base + off, nil
}

// Fsync implements vfs.File.
func (f *file) Fsync(dataOnly bool) error { return fsync(f.d.fd, dataOnly) }

func fsync(fd int, dataOnly bool) error {
	return retry(func() error {
		if dataOnly {
			return unix.Fdatasync(fd)
		}
		return unix.Fsync(fd)
	})
}

// Fallocate implements vfs.File.
func (f *file) Fallocate(mode uint32, off, length int64) error {
	f.inode.changed()
	return retry(func() error { return unix.Fallocate(f.d.fd, mode, off, length) })
}

// MapFD implements vfs.File.
func (f *file) MapFD() (int, error) { return f.d.fd, nil }

// Release implements vfs.File.
func (f *file) Release() { f.inode.fs.files.release(f.d) }
