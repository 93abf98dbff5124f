package vfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// FileDescription is an open file description, as open(2) defines it: what
// descriptors made by dup(2) and fork(2) share. It is reference-counted.
type FileDescription struct {
	File File
	// Path is where it was opened; its Mount and Dentry are nil for files
	// that have none (pipes, sockets). The description holds a reference.
	Path Path
	// Inode is the object itself, also for files without a path.
	Inode Inode

	refs  atomic.Int64
	flags atomic.Uint32

	// admitted says that the description has had a descriptor.
	admitted atomic.Bool

	// locked says that the description may hold locks.
	locked atomic.Bool

	// mu guards the offset and orders reads and writes that use it.
	mu     sync.Mutex
	offset int64
	// keeper says that the file keeps the offset itself (OffsetKeeper).
	keeper bool

	// counted is how the description counts among the writers of its file: 1,
	// or -1 if it keeps them away.
	counted atomic.Int32
	// writes is the mount on which the description counts as a writer, if any.
	writes *Mount

	owner   atomic.Pointer[AsyncOwner]
	closeMu sync.Mutex
	onClose []func(*FileDescription)
	async   *asyncIO // for O_ASYNC, or nil
	urgent  news     // that SIGURG tells of
}

// NewDescription returns a description with one reference. It takes over the
// references that path holds.
func NewDescription(f File, ino Inode, path Path, flags uint32) *FileDescription {
	d := &FileDescription{File: f, Inode: ino, Path: path}
	openFiles.Add(1)
	d.refs.Store(1)
	d.flags.Store(flags &^ (unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_CLOEXEC))
	if s, ok := f.(DescriptionSetter); ok {
		s.SetDescription(d)
	}
	if k, ok := f.(OffsetKeeper); ok {
		d.keeper = k.KeepsOffset()
	}
	return d
}

// IncRef takes a reference.
func (d *FileDescription) IncRef() { d.refs.Add(1) }

// TryIncRef takes a reference unless the last one is gone already.
func (d *FileDescription) TryIncRef() bool {
	for {
		n := d.refs.Load()
		if n <= 0 {
			return false
		}
		if d.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference; the last one releases the file.
func (d *FileDescription) DecRef() {
	switch n := d.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("vfs: file description released twice")
	}
	openFiles.Add(-1)
	d.closeMu.Lock()
	hooks := d.onClose
	d.onClose = nil
	async := d.async
	d.closeMu.Unlock()
	if async != nil {
		d.SetAsync(false, 0)
	}
	for _, f := range hooks {
		f(d)
	}
	if d.locked.Load() {
		d.releaseLocks()
	}
	if watched() && d.Path.Valid() {
		d.notifyClose()
	}
	d.File.Release()
	if n := d.counted.Load(); n != 0 {
		uncountWriter(d.Inode, int(n))
	}
	if d.writes != nil {
		d.writes.endWrite()
	}
	d.Path.DecRef()
}

// OnRelease has f called when the last reference goes, before the file is
// released: for epoll sets and locks that hang on a description.
func (d *FileDescription) OnRelease(f func(*FileDescription)) {
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	d.onClose = append(d.onClose, f)
}

// Flags returns the access mode and status flags.
func (d *FileDescription) Flags() uint32 { return d.flags.Load() }

// SetStatusFlags changes those flags that fcntl(F_SETFL) may change.
func (d *FileDescription) SetStatusFlags(v uint32) {
	const may = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME | unix.O_ASYNC
	for {
		old := d.flags.Load()
		if d.flags.CompareAndSwap(old, old&^may|v&may) {
			return
		}
	}
}

// Nonblocking reports whether O_NONBLOCK is set.
func (d *FileDescription) Nonblocking() bool { return d.Flags()&unix.O_NONBLOCK != 0 }

// CanRead and CanWrite tell the access mode.
func (d *FileDescription) CanRead() bool {
	f := d.Flags()
	return f&(unix.O_WRONLY|unix.O_PATH) == 0
}
func (d *FileDescription) CanWrite() bool {
	f := d.Flags()
	acc := f & unix.O_ACCMODE
	return f&unix.O_PATH == 0 && (acc == unix.O_WRONLY || acc == unix.O_RDWR)
}

// position is the offset that a read or write at the present offset passes to
// the file; mu is held. The field offset does not count if the file keeps it.
func (d *FileDescription) position() int64 {
	if d.keeper {
		return -1
	}
	return d.offset
}

// Read reads at the present offset and moves it.
func (d *FileDescription) Read(c Caller, p []byte) (int, error) {
	if !d.CanRead() {
		return 0, unix.EBADF
	}
	lock(c, &d.mu)
	defer d.mu.Unlock()
	n, err := d.File.Read(c, p, d.position())
	d.offset += int64(n)
	if n > 0 && watched() {
		d.Path.notify(unix.IN_ACCESS)
	}
	return n, err
}

// Write writes at the present offset, or at the end with O_APPEND, and moves
// the offset.
func (d *FileDescription) Write(c Caller, p []byte) (int, error) {
	if !d.CanWrite() {
		return 0, unix.EBADF
	}
	lock(c, &d.mu)
	defer d.mu.Unlock()
	n, end, err := d.File.Write(c, p, d.position(), d.Flags())
	if n > 0 {
		d.offset = end
		if watched() {
			d.Path.notify(unix.IN_MODIFY)
		}
	}
	return n, err
}

// Pread reads at off. ESPIPE if the file has no offset.
func (d *FileDescription) Pread(c Caller, p []byte, off int64) (int, error) {
	if !d.CanRead() {
		return 0, unix.EBADF
	}
	n, err := d.File.Read(c, p, off)
	if n > 0 && watched() {
		d.Path.notify(unix.IN_ACCESS)
	}
	return n, err
}

// Pwrite writes at off.
func (d *FileDescription) Pwrite(c Caller, p []byte, off int64) (int, error) {
	if !d.CanWrite() {
		return 0, unix.EBADF
	}
	n, _, err := d.File.Write(c, p, off, d.Flags())
	if n > 0 && watched() {
		d.Path.notify(unix.IN_MODIFY)
	}
	return n, err
}

// Seek moves the offset, as lseek(2).
func (d *FileDescription) Seek(c Caller, off int64, whence int) (int64, error) {
	lock(c, &d.mu)
	defer d.mu.Unlock()
	n, err := FileFor(c, d.File).Seek(whence, off, d.offset)
	if err == nil {
		d.offset = n
	}
	return n, err
}

// Readdir reads directory entries from the present offset on; the offset
// becomes the Next of the last entry that emit took.
func (d *FileDescription) Readdir(c Caller, emit func(DirEntry) bool) error {
	lock(c, &d.mu)
	defer d.mu.Unlock()
	err := d.File.Readdir(c, d.offset, func(e DirEntry) bool {
		if !emit(e) {
			return false
		}
		d.offset = e.Next
		return true
	})
	if err == nil && watched() {
		d.Path.notify(unix.IN_ACCESS)
	}
	return err
}

// Offset returns the present offset.
func (d *FileDescription) Offset() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keeper {
		n, _ := d.File.Seek(unix.SEEK_CUR, 0, 0)
		return n
	}
	return d.offset
}

// Readiness, Register and Unregister make a description a waiter.Waitable.
func (d *FileDescription) Readiness(m waiter.Mask) waiter.Mask { return d.File.Readiness(m) }
func (d *FileDescription) Register(e *waiter.Entry)            { d.File.Register(e) }
func (d *FileDescription) Unregister(e *waiter.Entry)          { d.File.Unregister(e) }
