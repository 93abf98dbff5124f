package hostfs

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"coffer/internal/sentry/hostpoll"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// NewFD returns a description, with one reference, of a descriptor that was
// donated to the sentry: a file, pipe, socket, terminal or device, most often
// a standard stream. The descriptor is taken over. Whether the host's
// description is non-blocking is never changed, since others use it too.
//
// name is what /proc/PID/fd shows; empty means one made from the descriptor's
// kind.
//
// The offset is the host description's own, which others may share: a shell
// goes on reading or writing where the guest stopped, and the other way round.
//
// Descriptors that share a host description, as those of "2>&1" do, should
// share what NewFD returns too, or their flags differ; SameDescription tells.
func NewFD(fd int, name string) (*vfs.FileDescription, error) {
	var st unix.Statx_t
	if err := fstat(fd, &st); err != nil {
		return nil, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	n := &donatedInode{donor: newDonor(fd, &st), name: name}
	if name == "" {
		n.name = donatedName(&st)
	}
	f := &donated{inode: n, shared: n.donor.offset}
	// That the host's description is non-blocking is not the guest's affair:
	// a guest that expects to wait shall wait.
	return vfs.NewDescription(f, n, vfs.Path{}, uint32(flags)&^unix.O_NONBLOCK), nil
}

// SameDescription reports whether two descriptors of this process share an
// open file description (kcmp(2)). It says no where the host does not tell.
func SameDescription(a, b int) bool {
	pid := uintptr(unix.Getpid())
	const kcmpFile = 0
	r, _, e := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return e == 0 && r == 0
}

// donatedName is what the host would show in /proc/PID/fd, as far as the
// descriptor itself tells.
func donatedName(st *unix.Statx_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return fmt.Sprintf("pipe:[%d]", st.Ino)
	case unix.S_IFSOCK:
		return fmt.Sprintf("socket:[%d]", st.Ino)
	case unix.S_IFCHR:
		switch {
		case st.Rdev_major == 1 && st.Rdev_minor == 3:
			return "/dev/null"
		case st.Rdev_major >= 136 && st.Rdev_major < 144:
			return fmt.Sprintf("/dev/pts/%d", st.Rdev_minor)
		}
		return "/dev/console"
	}
	return fmt.Sprintf("host:[%d]", st.Ino)
}

// donor owns a donated descriptor and shares it among Files.
type donor struct {
	fd     int
	refs   atomic.Int64
	kind   uint32 // unix.S_IFMT part of the mode
	tty    bool
	offset bool // lseek(2) works, as it does on /dev/null too
	stored bool // a file or block device, which is always ready
	// blocking says that the host knows no RWF_NOWAIT for it.
	blocking atomic.Bool

	queue waiter.Queue
	// polled is set once the poller watches the descriptor.
	polled atomic.Bool
}

func newDonor(fd int, st *unix.Statx_t) *donor {
	d := &donor{fd: fd, kind: uint32(st.Mode) & unix.S_IFMT}
	d.stored = d.kind == unix.S_IFREG || d.kind == unix.S_IFBLK
	_, err := unix.Seek(fd, 0, unix.SEEK_CUR)
	d.offset = err == nil
	if d.kind == unix.S_IFCHR {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		d.tty = err == nil
	}
	d.refs.Store(1)
	return d
}

func (d *donor) release() {
	if d.refs.Add(-1) != 0 {
		return
	}
	if d.polled.Load() {
		hostpoll.Remove(d.fd)
	}
	unix.Close(d.fd)
}

// donatedInode is the object behind a donated descriptor.
type donatedInode struct {
	vfs.NoInode
	donor *donor
	name  string
}

// Attr implements vfs.Inode.
func (n *donatedInode) Attr() (vfs.Attr, error) {
	var st unix.Statx_t
	if err := fstat(n.donor.fd, &st); err != nil {
		return vfs.Attr{}, err
	}
	return attrOf(&st), nil
}

// SetAttr implements vfs.Inode. Only a file's size may change: the rest is
// not the guest's.
func (n *donatedInode) SetAttr(a vfs.SetAttr) error {
	if a.Which&vfs.SetSize != 0 {
		if n.donor.kind != unix.S_IFREG {
			return unix.EINVAL
		}
		if err := retry(func() error { return unix.Ftruncate(n.donor.fd, a.Size) }); err != nil {
			return err
		}
	}
	if a.Which&^vfs.SetSize != 0 {
		return unix.EPERM
	}
	return nil
}

// Open implements vfs.Inode, for /dev/stdout and its like: another File of
// the same descriptor, if that can do what is asked for.
func (n *donatedInode) Open(_ vfs.Caller, flags uint32) (vfs.File, error) {
	have, err := unix.FcntlInt(uintptr(n.donor.fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	if a := have & unix.O_ACCMODE; a != unix.O_RDWR && a != int(flags&unix.O_ACCMODE) {
		return nil, unix.EACCES
	}
	// Only if the descriptor is still open: a File of the inode's holds it.
	if n.donor.refs.Add(1) == 1 {
		n.donor.refs.Add(-1)
		return nil, unix.ENXIO
	}
	return &donated{inode: n}, nil
}

// LinkName implements vfs.LinkNamer.
func (n *donatedInode) LinkName() string { return n.name }

// donated is one open of a donated descriptor.
type donated struct {
	vfs.NoFile
	inode *donatedInode
	desc  *vfs.FileDescription
	// shared says that the offset is the host description's. A further open,
	// as of /dev/stdout, has one of its own.
	shared bool
}

// KeepsOffset implements vfs.OffsetKeeper.
func (f *donated) KeepsOffset() bool { return f.shared }

// SetDescription implements vfs.DescriptionSetter.
func (f *donated) SetDescription(d *vfs.FileDescription) { f.desc = d }

// Read implements vfs.File.
func (f *donated) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	d := f.inode.donor
	switch {
	case d.kind == unix.S_IFDIR:
		return 0, unix.EISDIR
	case d.offset && off >= 0:
		return pread(d.fd, p, off)
	case d.stored:
		return transfer(unix.SYS_READ, d.fd, p)
	case len(p) == 0:
		return 0, nil
	}
	if !d.blocking.Load() {
		n, err := preadv2(d.fd, p, -1, unix.RWF_NOWAIT)
		if err != unix.EOPNOTSUPP {
			return n, err
		}
		d.blocking.Store(true)
	}
	// Somebody else may take what poll saw, and then this read waits on the
	// host for the next; the host offers nothing better for terminals.
	if hostpoll.Poll(d.fd, waiter.In) == 0 {
		return 0, unix.EAGAIN
	}
	return transfer(unix.SYS_READ, d.fd, p)
}

// What a blocking descriptor that polls as writable surely takes at once:
// PIPE_BUF for a pipe, and less than a socket needs free to say so. A terminal promises nothing, but takes this much unless
// it is stopped.
const guardedWrite = 4096

// Write implements vfs.File.
func (f *donated) Write(c vfs.Caller, p []byte, off int64, flags uint32) (int, int64, error) {
	d := f.inode.donor
	if d.stored || d.offset && off >= 0 {
		return pwrite(d.fd, p, off, flags, c.FSLimit())
	}
	n, err := f.writeStream(p)
	return n, 0, err
}

func (f *donated) writeStream(p []byte) (int, error) {
	d := f.inode.donor
	if !d.blocking.Load() {
		n, err := pwritev2(d.fd, p, -1, unix.RWF_NOWAIT)
		if err != unix.EOPNOTSUPP {
			return n, err
		}
		d.blocking.Store(true)
	}
	// Err makes a write to a pipe without readers fail as it should.
	if hostpoll.Poll(d.fd, waiter.Out) == 0 {
		return 0, unix.EAGAIN
	}
	return transfer(unix.SYS_WRITE, d.fd, p[:min(len(p), guardedWrite)])
}

// transfer is read(2) or write(2).
func transfer(nr uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// Seek implements vfs.File.
func (f *donated) Seek(whence int, off, present int64) (int64, error) {
	d := f.inode.donor
	switch {
	case !d.offset:
		return 0, unix.ESPIPE
	case f.shared || !d.stored:
		return unix.Seek(d.fd, off, whence)
	}
	return seek(d.fd, off, whence, present)
}

// Fsync implements vfs.File.
func (f *donated) Fsync(dataOnly bool) error { return fsync(f.inode.donor.fd, dataOnly) }

// Fallocate implements vfs.File.
func (f *donated) Fallocate(mode uint32, off, length int64) error {
	d := f.inode.donor
	switch d.kind {
	case unix.S_IFREG:
		return retry(func() error { return unix.Fallocate(d.fd, mode, off, length) })
	case unix.S_IFIFO:
		return unix.ESPIPE
	}
	return unix.ENODEV
}

// MapFD implements vfs.File.
func (f *donated) MapFD() (int, error) {
	if f.inode.donor.kind != unix.S_IFREG {
		return -1, unix.ENODEV
	}
	return f.inode.donor.fd, nil
}

// Readiness implements waiter.Waitable.
func (f *donated) Readiness(mask waiter.Mask) waiter.Mask {
	if f.inode.donor.stored {
		return f.NoFile.Readiness(mask)
	}
	return hostpoll.Poll(f.inode.donor.fd, mask)
}

// Register implements waiter.Waitable.
func (f *donated) Register(e *waiter.Entry) {
	d := f.inode.donor
	if d.stored {
		return
	}
	d.queue.Register(e)
	if d.polled.Load() || !d.polled.CompareAndSwap(false, true) {
		return
	}
	if hostpoll.Add(d.fd, &d.queue) != nil {
		// It cannot be polled, so it is always ready (/dev/null).
		d.polled.Store(false)
		d.queue.Notify(waiter.All)
	}
}

// Unregister implements waiter.Waitable.
func (f *donated) Unregister(e *waiter.Entry) {
	if !f.inode.donor.stored {
		f.inode.donor.queue.Unregister(e)
	}
}

// Release implements vfs.File.
func (f *donated) Release() { f.inode.donor.release() }
