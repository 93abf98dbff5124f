package fuse

import (
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// mapped is the copy of a file's contents that its mappings show, and that
// those who have mapped it before see change. file.mu guards it.
type mapped struct {
	// fd is a memory file of the host's, or -1. Once there it stays as long as
	// the file is open, as vfs.File.MapFD promises.
	fd int
	// length is how much it holds; when it was made the file had these times.
	length       int64
	mtime, ctime vfs.Time
	// old says that the file was written to since, through this description.
	old bool
}

// maxCopy bounds a copy, since a server can claim any size. All together count
// as files in memory do.
const maxCopy = 256 << 20

// stale makes the next mapping renew the copy.
func (f *file) stale() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.old = true
}

// PrepareMap implements vfs.MapPreparer: it copies the file, unless the copy
// that there is is as new. ENODEV for a shared mapping that could be written
// to, which a copy cannot serve; ENOMEM for a file that is too large.
func (f *file) PrepareMap(c vfs.Caller, shared bool) error {
	if f.n.kind != unix.S_IFREG || shared && (f.flags&unix.O_ACCMODE != unix.O_RDONLY || f.how&openDirectIO != 0) {
		return unix.ENODEV
	}
	a, err := f.call(c).Attr()
	if err != nil {
		return err
	}
	fd, err := f.room(&a)
	if err != nil || fd < 0 {
		return err
	}
	buf := make([]byte, min(a.Size, maxData))
	for off := int64(0); off < a.Size; {
		n, err := f.Read(c, buf[:min(a.Size-off, int64(len(buf)))], off)
		if err == nil && n > 0 {
			_, err = unix.Pwrite(fd, buf[:n], off)
		}
		if err != nil {
			f.stale()
			return err
		}
		if n == 0 {
			break
		}
		off += int64(n)
	}
	return nil
}

// room makes the copy as long as the file with attributes a is, and returns the
// descriptor to fill, or -1 if the copy is good as it is.
func (f *file) room(a *vfs.Attr) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd >= 0 && !f.old && f.length == a.Size && f.mtime == a.Mtime && f.ctime == a.Ctime {
		return -1, nil
	}
	if a.Size > maxCopy {
		return -1, unix.ENOMEM
	}
	if more := a.Size - f.length; more < 0 {
		shmem.Sandbox.Uncharge(-more)
	} else if !shmem.Sandbox.Charge(more) {
		return -1, unix.ENOMEM
	}
	f.length = a.Size
	if f.fd < 0 {
		fd, err := unix.MemfdCreate("coffer-fuse", unix.MFD_CLOEXEC)
		if err != nil {
			return -1, unix.ENOMEM
		}
		f.fd = fd
	}
	if err := unix.Ftruncate(f.fd, a.Size); err != nil {
		return -1, unix.ENOMEM
	}
	f.mtime, f.ctime, f.old = a.Mtime, a.Ctime, false
	return f.fd, nil
}

// MapFD implements vfs.File. ENODEV if there is no copy.
func (f *file) MapFD() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return -1, unix.ENODEV
	}
	return f.fd, nil
}

// unmap drops the copy; mappings that show it keep the host's memory.
func (f *file) unmap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	shmem.Sandbox.Uncharge(f.length)
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
	f.length = 0
}
