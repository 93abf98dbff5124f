package syscalls

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func readWriteRows() []Row {
	return []Row{
		full(0, "read", sysRead, P("fd", FD), P("buf", OutBuf), P("count", Unsigned)),
		full(1, "write", sysWrite, P("fd", FD), P("buf", Buf), P("count", Unsigned)),
		full(8, "lseek", sysLseek, P("fd", FD), P("offset", Dec), PF("whence", Enum, whenceNames)),
		full(17, "pread64", sysPread64, P("fd", FD), P("buf", OutBuf), P("count", Unsigned), P("offset", Dec)),
		full(18, "pwrite64", sysPwrite64, P("fd", FD), P("buf", Buf), P("count", Unsigned), P("offset", Dec)),
		full(19, "readv", sysReadv, P("fd", FD), P("iov", OutIOVec), P("iovcnt", Dec)),
		full(20, "writev", sysWritev, P("fd", FD), P("iov", IOVec), P("iovcnt", Dec)),
		full(295, "preadv", sysPreadv, P("fd", FD), P("iov", OutIOVec), P("iovcnt", Dec), P("offset", Dec)),
		full(296, "pwritev", sysPwritev, P("fd", FD), P("iov", IOVec), P("iovcnt", Dec), P("offset", Dec)),
		partial(327, "preadv2", sysPreadv2, "RWF_NOWAIT waits for the host's disk; RWF_ATOMIC and RWF_DONTCACHE are refused",
			P("fd", FD), P("iov", OutIOVec), P("iovcnt", Dec), P("offset", Dec), P("offset_h", Dec), PF("flags", Flags, rwfNames)),
		partial(328, "pwritev2", sysPwritev2, "RWF_NOWAIT waits for the host's disk; RWF_ATOMIC and RWF_DONTCACHE are refused",
			P("fd", FD), P("iov", IOVec), P("iovcnt", Dec), P("offset", Dec), P("offset_h", Dec), PF("flags", Flags, rwfNames)),
	}
}

var whenceNames = &FlagSet{Names: []FlagName{
	{unix.SEEK_SET, "SEEK_SET"}, {unix.SEEK_CUR, "SEEK_CUR"}, {unix.SEEK_END, "SEEK_END"},
	{unix.SEEK_DATA, "SEEK_DATA"}, {unix.SEEK_HOLE, "SEEK_HOLE"},
}}

// Flags of preadv2(2) that x/sys/unix lacks or that all versions may have.
const (
	rwfHipri    = 0x1
	rwfDsync    = 0x2
	rwfSync     = 0x4
	rwfNowait   = 0x8
	rwfAppend   = 0x10
	rwfNoAppend = 0x20
)

var rwfNames = &FlagSet{Names: []FlagName{
	{rwfHipri, "RWF_HIPRI"}, {rwfDsync, "RWF_DSYNC"}, {rwfSync, "RWF_SYNC"}, {rwfNowait, "RWF_NOWAIT"},
	{rwfAppend, "RWF_APPEND"}, {rwfNoAppend, "RWF_NOAPPEND"}, {0x40, "RWF_ATOMIC"}, {0x80, "RWF_DONTCACHE"},
}}

// transfer is one read or write of a description: where in the file, and how.
type transfer struct {
	d *vfs.FileDescription
	// off is the offset, unless atPosition says that the description's own
	// counts and moves.
	off        int64
	atPosition bool
	// flags are the description's with those of this call.
	flags    uint32
	until    time.Time // when a socket's time-out ends, once there has been a wait
	nonblock bool
}

func (x *transfer) init(d *vfs.FileDescription) {
	x.d, x.flags = d, d.Flags()
	x.atPosition = true
	x.nonblock = x.flags&unix.O_NONBLOCK != 0
}

// at makes the transfer one at an offset. EINVAL for a negative one, ESPIPE
// for a file that takes none.
func (x *transfer) at(off int64) error {
	if off < 0 {
		return unix.EINVAL
	}
	if _, any := x.d.File.(vfs.AnyOffset); !any && !seekable(x.d) {
		return unix.ESPIPE
	}
	x.atPosition, x.off = false, off
	return nil
}

// seekable reports whether a file has an offset.
func seekable(d *vfs.FileDescription) bool {
	_, err := d.File.Seek(unix.SEEK_CUR, 0, 0)
	return err != unix.ESPIPE
}

// once makes one read without waiting.
func (x *transfer) readOnce(t *kernel.Task, p []byte) (n int, err error) {
	if x.atPosition {
		return x.d.Read(t, p)
	}
	n, err = x.d.Pread(t, p, x.off)
	x.off += int64(n)
	return n, err
}

func (x *transfer) writeOnce(t *kernel.Task, p []byte) (n int, err error) {
	switch {
	case x.flags != x.d.Flags() && x.atPosition:
		n, _, err = x.d.WriteWith(t, p, -1, x.flags)
		return n, err
	case x.flags != x.d.Flags():
		n, end, err := x.d.WriteWith(t, p, x.off, x.flags)
		if n > 0 {
			x.off = end
		}
		return n, err
	case x.atPosition:
		return x.d.Write(t, p)
	}
	n, err = x.d.Pwrite(t, p, x.off)
	x.off += int64(n)
	return n, err
}

// wait makes try again and again until it does not answer EAGAIN, if the
// transfer may block, and gives up as SO_RCVTIMEO and SO_SNDTIMEO say.
func (x *transfer) wait(t *kernel.Task, mask waiter.Mask, try func() error) error {
	if x.nonblock {
		return try()
	}
	var timeout time.Duration
	if f, ok := x.d.File.(vfs.IOTimeouts); ok {
		timeout = f.WriteTimeout()
		if mask&waiter.In != 0 {
			timeout = f.ReadTimeout()
		}
	}
	if x.until.IsZero() || mask&waiter.In == 0 && renewsTimeout(x.d.File) {
		x.until = afterTimeout(timeout)
	}
	err := waitFor(t, x.d, mask, x.until, try)
	if x.until.IsZero() {
		return err
	}
	switch err {
	case unix.ETIMEDOUT:
		return unix.EAGAIN
	case abi.ERESTARTSYS:
		return unix.EINTR
	}
	return err
}

// read moves data from the file into g.
func (x *transfer) read(t *kernel.Task, g *guestBuffer) (uintptr, error) {
	if !x.d.CanRead() {
		return 0, unix.EBADF
	}
	if s := directOf(x.d.File, g.total); s != nil {
		e := exchange{s: s, d: x.d, stream: true, nonblock: x.nonblock}
		return e.recv(t, g)
	}
	if s, ok := x.d.File.(lowWaterMarked); ok && s.LowWaterMark() > 1 {
		e := exchange{s: s, d: x.d, stream: true, nonblock: x.nonblock}
		return e.recv(t, g)
	}
	if err := g.clampWritable(t); err != nil {
		return 0, err
	}
	buf := getBuffer(g.total)
	defer buf.put()
	step := buf.b[:min(uint64(len(buf.b)), g.total)]
	n, err := x.readOnce(t, step)
	if err == unix.EAGAIN && len(step) == 0 {
		err = nil // nothing was asked for
	}
	if err == unix.EAGAIN && !x.nonblock {
		err = x.wait(t, waiter.Readable|waiter.RdHup, func() (err error) {
			n, err = x.readOnce(t, step)
			return err
		})
	}
	var done uintptr
	for {
		if n > 0 {
			t.Received(x.d.File)
			m, fault := g.copyOutLate(t, step[:n], true)
			done += uintptr(m)
			if fault != nil {
				// What the guest did not get was not read.
				if u, ok := x.d.File.(vfs.Unreader); ok {
					u.Unread(step[m:n])
				} else if x.atPosition && seekable(x.d) {
					x.d.Seek(t, int64(m-n), unix.SEEK_CUR)
				}
				err = fault
			}
		}
		// Only a file has more after a step that was filled; a stream or
		// datagram gives what it gives at once.
		if err != nil || n < len(step) || g.total == 0 || !seekable(x.d) || t.Dying() {
			break
		}
		step = buf.b[:min(uint64(len(buf.b)), g.total)]
		n, err = x.readOnce(t, step)
	}
	if done > 0 {
		if x.atPosition {
			t.ReadLate(x.d)
		}
		return done, nil
	}
	return 0, err
}

// write moves g's data into the file. A blocking write to a stream goes on
// until all is written.
func (x *transfer) write(t *kernel.Task, g *guestBuffer) (uintptr, error) {
	if !x.d.CanWrite() {
		return 0, unix.EBADF
	}
	if f, ok := x.d.File.(vfs.Discarder); ok && f.DiscardsWrites() {
		return uintptr(g.total), nil
	}
	if s := directOf(x.d.File, g.total); s != nil {
		e := exchange{s: s, d: x.d, stream: true, nonblock: x.nonblock}
		return e.send(t, g)
	}
	buf := getBuffer(g.total)
	defer buf.put()
	var done uintptr
	for {
		step := buf.b[:min(uint64(len(buf.b)), g.total)]
		n, fault := g.copyIn(t, step)
		if fault != nil && (n == 0 || writesMessages(x.d.File)) {
			if done > 0 {
				return done, nil
			}
			return 0, fault
		}
		w, err := x.writeAll(t, step[:n])
		done += uintptr(w)
		woke(t, x.d.File, w)
		if err != nil {
			x.signal(t, err)
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		if w < n || fault != nil || g.total == 0 || t.Dying() {
			return done, nil
		}
	}
}

func writesMessages(f vfs.File) bool {
	_, ok := f.(vfs.MessageWriter)
	return ok
}

// writeAll writes p, waiting for room unless the transfer is non-blocking.
func (x *transfer) writeAll(t *kernel.Task, p []byte) (done int, err error) {
	for {
		n, err := x.writeOnce(t, p[done:])
		if err == unix.EAGAIN && !x.nonblock {
			err = x.wait(t, waiter.Writable, func() (err error) {
				n, err = x.writeOnce(t, p[done:])
				return err
			})
		}
		done += n
		if err != nil || n == 0 || done == len(p) {
			return done, err
		}
	}
}

// signal sends the signals that come with some errors of writing.
func (x *transfer) signal(t *kernel.Task, err error) {
	switch err {
	case unix.EPIPE:
		if s, ok := x.d.File.(socket.Socket); ok && !isStream(t, s) {
			return // of sockets only streams send it
		}
		t.Signal(kernel.KernelSignal(unix.SIGPIPE))
	case unix.EFBIG:
		// Not if it is the file system's own limit that was reached.
		if t.FSLimit() != kernel.Infinity {
			t.Signal(kernel.KernelSignal(unix.SIGXFSZ))
		}
	}
}

// open starts a call on fd: the description must be dropped by the caller.
func (x *transfer) open(t *kernel.Task, fd int32) error {
	d, err := t.File(fd)
	if err != nil {
		return err
	}
	x.init(d)
	return nil
}

func sysRead(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	return x.read(t, &g)
}

func sysWrite(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	return x.write(t, &g)
}

func sysPread64(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if err := x.at(int64(a[3])); err != nil {
		return 0, err
	}
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	return x.read(t, &g)
}

func sysPwrite64(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if err := x.at(int64(a[3])); err != nil {
		return 0, err
	}
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	return x.write(t, &g)
}

func sysReadv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return vectored(t, a, -1, 0, false)
}

func sysWritev(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return vectored(t, a, -1, 0, true)
}

// preadv(2) passes the offset in two words, of which the upper one has no bits
// to give on a 64-bit machine.
func sysPreadv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if int64(a[3]) < 0 {
		return 0, badOffset(t, a.Int(0))
	}
	return vectored(t, a, int64(a[3]), 0, false)
}

func sysPwritev(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if int64(a[3]) < 0 {
		return 0, badOffset(t, a.Int(0))
	}
	return vectored(t, a, int64(a[3]), 0, true)
}

// badOffset is the error for a negative offset: EBADF comes first.
func badOffset(t *kernel.Task, fd int32) error {
	d, err := t.File(fd)
	if err != nil {
		return err
	}
	d.DecRef()
	return unix.EINVAL
}

func sysPreadv2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if int64(a[3]) < -1 {
		return 0, badOffset(t, a.Int(0))
	}
	return vectored(t, a, int64(a[3]), a.Uint(5), false)
}

func sysPwritev2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if int64(a[3]) < -1 {
		return 0, badOffset(t, a.Int(0))
	}
	return vectored(t, a, int64(a[3]), a.Uint(5), true)
}

// vectored is readv and writev in all their forms; offset -1 is the
// description's own.
func vectored(t *kernel.Task, a kernel.Args, off int64, rwf uint32, write bool) (uintptr, error) {
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if off != -1 {
		if err := x.at(off); err != nil {
			return 0, err
		}
	}
	if write && !x.d.CanWrite() || !write && !x.d.CanRead() {
		return 0, unix.EBADF
	}
	v, err := g.getVector(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	defer v.put()
	if err := x.apply(rwf, write); err != nil {
		return 0, err
	}
	if write {
		return x.write(t, &g)
	}
	return x.read(t, &g)
}

// apply applies preadv2(2)'s flags.
func (x *transfer) apply(rwf uint32, write bool) error {
	if rwf == 0 {
		return nil
	}
	known := uint32(rwfHipri | rwfDsync | rwfSync | rwfNowait)
	if write {
		known |= rwfAppend | rwfNoAppend
	}
	if rwf&^known != 0 {
		return unix.EOPNOTSUPP
	}
	if rwf&rwfAppend != 0 && rwf&rwfNoAppend != 0 {
		return unix.EINVAL
	}
	if rwf&rwfNowait != 0 {
		x.nonblock = true
	}
	if rwf&rwfAppend != 0 {
		x.flags |= unix.O_APPEND
	}
	if rwf&rwfNoAppend != 0 {
		x.flags &^= unix.O_APPEND
	}
	if rwf&rwfDsync != 0 {
		x.flags |= unix.O_DSYNC
	}
	if rwf&rwfSync != 0 {
		x.flags |= unix.O_SYNC
	}
	return nil
}

func sysLseek(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if d.Flags()&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	if whence := a.Uint(2); whence > unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	off, err := d.Seek(t, int64(a[1]), int(a.Uint(2)))
	return uintptr(off), err
}
