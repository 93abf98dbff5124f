package vfs

import "golang.org/x/sys/unix"

// WriteWith writes at off, or at the present offset and moving it if off is
// -1, under other flags than the description's own, as pwritev2(2) can ask
// for. It returns the offset after what was written.
func (d *FileDescription) WriteWith(c Caller, p []byte, off int64, flags uint32) (n int, end int64, err error) {
	if !d.CanWrite() {
		return 0, off, unix.EBADF
	}
	if off == -1 {
		lock(c, &d.mu)
		defer d.mu.Unlock()
		n, end, err = d.File.Write(c, p, d.position(), flags)
		if n > 0 {
			d.offset = end
		}
	} else {
		n, end, err = d.File.Write(c, p, off, flags)
	}
	if n > 0 && watched() {
		d.Path.notify(unix.IN_MODIFY)
	}
	return n, end, err
}
