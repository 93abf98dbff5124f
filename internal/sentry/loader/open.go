package loader

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// OpenExecutable opens a file for execve(2): a regular file that the caller
// may execute, whether or not it may read it. EACCES if it is anything else or
// its mount is noexec, ETXTBSY if somebody has it open for writing.
func OpenExecutable(c vfs.Caller, ns *vfs.MountNamespace, o vfs.Origin, name string, flags vfs.ResolveFlags) (*vfs.FileDescription, error) {
	p, err := ns.Resolve(c, o, name, flags)
	if err != nil {
		return nil, err
	}
	f, err := openPath(c, p)
	if err != nil {
		p.DecRef()
	}
	return f, err
}

// Executable is OpenExecutable for an open file (execveat(2) with
// AT_EMPTY_PATH).
func Executable(c vfs.Caller, d *vfs.FileDescription) (*vfs.FileDescription, error) {
	if d.Path.Valid() {
		d.Path.IncRef()
		f, err := openPath(c, d.Path)
		if err != nil {
			d.Path.DecRef()
		}
		return f, err
	}
	// A file without a path, such as memfd_create(2)'s.
	a, err := d.Attr(c)
	if err != nil {
		return nil, err
	}
	if a.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.EACCES
	}
	if err := vfs.Permitted(c, d.Inode, unix.X_OK); err != nil {
		return nil, err
	}
	d.IncRef()
	return d, nil
}

// openPath takes over p's references if it succeeds.
func openPath(c vfs.Caller, p vfs.Path) (*vfs.FileDescription, error) {
	switch p.Kind() {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	default:
		return nil, unix.EACCES
	}
	if err := vfs.Access(c, p, unix.X_OK); err != nil {
		return nil, err
	}
	if p.Written() {
		return nil, unix.ETXTBSY
	}
	ino := p.Inode()
	f, err := ino.Open(c, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if err := vfs.PrepareMap(c, f, false); err != nil {
		f.Release()
		return nil, err
	}
	return vfs.NewDescription(f, ino, p, unix.O_RDONLY), nil
}

// readAt reads from a file, as vfs.File.Read does.
type readAt func(p []byte, off int64) (int, error)

// firstPage reads as r does, but the file's first page only once: there are all
// headers of most files.
func firstPage(r readAt) readAt {
	var page []byte
	return func(p []byte, off int64) (int, error) {
		if off < 0 || off+int64(len(p)) > pageSize {
			return r(p, off)
		}
		if page == nil {
			b := make([]byte, pageSize)
			n, err := readFull(r, b, 0)
			if err != nil {
				return 0, err
			}
			page = b[:n]
		}
		return copy(p, page[min(int(off), len(page)):]), nil
	}
}

// readFull fills p from off on, up to the end of the file.
func readFull(r readAt, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := r(p[n:], off+int64(n))
		if k > 0 {
			n += k
		}
		if err != nil || k <= 0 {
			return n, err
		}
	}
	return n, nil
}
