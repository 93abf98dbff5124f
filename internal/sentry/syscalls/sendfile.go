package syscalls

import (
	"math"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func sendfileRows() []Row {
	return []Row{
		full(40, "sendfile", sysSendfile, P("out_fd", FD), P("in_fd", FD), P("offset", InOutOff), P("count", Unsigned)),
		full(326, "copy_file_range", sysCopyFileRange, P("fd_in", FD), P("off_in", InOutOff), P("fd_out", FD), P("off_out", InOutOff),
			P("size", Unsigned), P("flags", Hex)),
	}
}

// filePair is the two ends of a copy within the kernel.
type filePair struct{ in, out transfer }

// open opens both; close drops them. EBADF if one cannot do its part.
func (p *filePair) open(t *kernel.Task, in, out int32) error {
	if err := p.in.open(t, in); err != nil {
		return err
	}
	if err := p.out.open(t, out); err != nil {
		p.in.d.DecRef()
		return err
	}
	if !p.in.d.CanRead() || !p.out.d.CanWrite() {
		p.close()
		return unix.EBADF
	}
	return nil
}

func (p *filePair) close() {
	p.in.d.DecRef()
	p.out.d.DecRef()
}

// offsetArg reads the offset that a pointer leads to, for a transfer at that
// place; with a null pointer the transfer is at the description's own.
func (x *transfer) offsetArg(t *kernel.Task, addr uint64) error {
	if addr == 0 {
		return nil
	}
	off, err := t.CopyInUint64(addr)
	if err != nil {
		return err
	}
	return x.at(int64(off))
}

// storeOffset writes the offset back to where it came from.
func (x *transfer) storeOffset(t *kernel.Task, addr uint64) error {
	if addr == 0 {
		return nil
	}
	return t.CopyOutUint64(addr, uint64(x.off))
}

// copyThrough copies up to count bytes. in must have an offset: what out does
// not take is not taken from in.
func (p *filePair) copyThrough(t *kernel.Task, count uint64) (done uint64, err error) {
	buf := getBuffer(count)
	defer buf.put()
	pos := p.in.off
	if p.in.atPosition {
		pos = p.in.d.Offset()
	}
	for done < count && err == nil {
		var n, w int
		n, err = p.in.d.Pread(t, buf.b[:min(uint64(len(buf.b)), count-done)], pos)
		if n == 0 {
			break
		}
		w, err = p.out.writeAll(t, buf.b[:n])
		done += uint64(w)
		pos += int64(w)
		if w < n || t.Dying() {
			break
		}
	}
	if p.in.atPosition {
		if done > 0 {
			p.in.d.Seek(t, pos, unix.SEEK_SET)
		}
	} else {
		p.in.off = pos
	}
	if err != nil {
		p.out.signal(t, err)
	}
	if done > 0 {
		err = nil
	}
	return done, err
}

func sysSendfile(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var p filePair
	if err := p.open(t, a.Int(1), a.Int(0)); err != nil {
		return 0, err
	}
	defer p.close()
	if err := p.in.offsetArg(t, a[2]); err != nil {
		return 0, err
	}
	if !seekable(p.in.d) || p.out.flags&unix.O_APPEND != 0 || int64(a[3]) < 0 {
		return 0, unix.EINVAL
	}
	n, err := p.copyThrough(t, min(a[3], maxRW))
	if err != nil {
		return 0, err
	}
	return uintptr(n), p.in.storeOffset(t, a[2])
}

func sysCopyFileRange(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(5) != 0 {
		return 0, unix.EINVAL
	}
	var p filePair
	if err := p.open(t, a.Int(0), a.Int(2)); err != nil {
		return 0, err
	}
	defer p.close()
	if p.out.flags&unix.O_APPEND != 0 {
		return 0, unix.EBADF
	}
	for _, d := range []*vfs.FileDescription{p.in.d, p.out.d} {
		if err := mustBeRegular(t, d, unix.EINVAL); err != nil {
			return 0, err
		}
	}
	if err := p.in.offsetArg(t, a[1]); err != nil {
		return 0, err
	}
	if err := p.out.offsetArg(t, a[3]); err != nil {
		return 0, err
	}
	count := min(a[4], maxRW)
	if err := p.checkRanges(count); err != nil {
		return 0, err
	}
	n, err := p.copyThrough(t, count)
	if err != nil {
		return 0, err
	}
	if err := p.in.storeOffset(t, a[1]); err != nil {
		return 0, err
	}
	return uintptr(n), p.out.storeOffset(t, a[3])
}

// mustBeRegular returns EISDIR for a directory, and other for anything else
// but a regular file.
func mustBeRegular(t *kernel.Task, d *vfs.FileDescription, other error) error {
	attr, err := d.Attr(t)
	if err != nil {
		return err
	}
	switch attr.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	}
	return other
}

// checkRanges refuses ranges that leave the numbers (EOVERFLOW) or overlap in
// one file (EINVAL).
func (p *filePair) checkRanges(count uint64) error {
	in, out := p.in.off, p.out.off
	if p.in.atPosition {
		in = p.in.d.Offset()
	}
	if p.out.atPosition {
		out = p.out.d.Offset()
	}
	n := int64(count)
	if in > math.MaxInt64-n || out > math.MaxInt64-n {
		return unix.EOVERFLOW
	}
	if vfs.Identity(p.in.d.Inode) == vfs.Identity(p.out.d.Inode) && in < out+n && out < in+n {
		return unix.EINVAL
	}
	return nil
}
