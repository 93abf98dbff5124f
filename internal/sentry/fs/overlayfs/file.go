package overlayfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// lowerFile is a regular file that was opened for reading while it was in a
// lower layer. Once the file is copied up it goes over to the copy. Mappings
// made before keep showing the lower file, as on Linux.
type lowerFile struct {
	node  *node
	lower vfs.File
	flags uint32

	// copied is the File of the copy, opened when first needed under mu.
	mu     sync.Mutex
	copied atomic.Pointer[vfs.File]
}

func openLower(n *node, c vfs.Caller, flags uint32) (vfs.File, error) {
	f, err := n.lowers[0].Open(c, flags)
	if err != nil {
		return nil, err
	}
	return &lowerFile{node: n, lower: f, flags: flags}, nil
}

// now returns the File that counts.
func (f *lowerFile) now() vfs.File {
	if f.node.up.Load() == nil {
		return f.lower
	}
	if c := f.copied.Load(); c != nil {
		return *c
	}
	return f.goOver()
}

func (f *lowerFile) goOver() vfs.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.copied.Load(); c != nil {
		return *c
	}
	c, err := f.node.upper().Open(overlay, f.flags&^unix.O_ACCMODE)
	if err != nil {
		return f.lower // nothing better is left
	}
	f.copied.Store(&c)
	return c
}

func (f *lowerFile) Read(c vfs.Caller, p []byte, off int64) (int, error) {
	return f.now().Read(c, p, off)
}

func (f *lowerFile) Write(vfs.Caller, []byte, int64, uint32) (int, int64, error) {
	return 0, 0, unix.EBADF
}

func (f *lowerFile) Seek(whence int, off, present int64) (int64, error) {
	return f.now().Seek(whence, off, present)
}

func (f *lowerFile) Readdir(vfs.Caller, int64, func(vfs.DirEntry) bool) error {
	return unix.ENOTDIR
}

func (f *lowerFile) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	return f.now().Ioctl(c, cmd, arg)
}

func (f *lowerFile) Fsync(dataOnly bool) error            { return f.now().Fsync(dataOnly) }
func (f *lowerFile) Fallocate(uint32, int64, int64) error { return unix.EBADF }
func (f *lowerFile) MapFD() (int, error)                  { return f.now().MapFD() }
func (f *lowerFile) Flush(c vfs.Caller) error             { return f.now().Flush(c) }
func (f *lowerFile) Readiness(m waiter.Mask) waiter.Mask  { return f.now().Readiness(m) }
func (f *lowerFile) Register(e *waiter.Entry)             {}
func (f *lowerFile) Unregister(e *waiter.Entry)           {}

// Release releases both, since a mapping may have been made of either.
func (f *lowerFile) Release() {
	f.lower.Release()
	if c := f.copied.Load(); c != nil {
		(*c).Release()
	}
}
