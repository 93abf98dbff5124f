// Package eventfd is eventfd(2): a counter that can be waited for.
package eventfd

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// most is the largest value that the counter holds.
const most = math.MaxUint64 - 1

// File is an event counter.
type File struct {
	anon.File
	semaphore bool
	queue     waiter.Queue

	mu    sync.Mutex
	count uint64
}

// New returns a description of a counter with the given start. flags are
// eventfd2(2)'s EFD_SEMAPHORE and EFD_NONBLOCK.
func New(start uint64, flags uint32) *vfs.FileDescription {
	f := &File{semaphore: flags&unix.EFD_SEMAPHORE != 0, count: start}
	return anon.NewFile(f, "[eventfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// Read implements vfs.File: it takes the count, or 1 of it for a semaphore.
func (f *File) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	if len(p) < 8 {
		return 0, unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		return 0, unix.EAGAIN
	}
	v := f.count
	if f.semaphore {
		v = 1
	}
	f.count -= v
	binary.LittleEndian.PutUint64(p, v)
	f.queue.Notify(waiter.Writable)
	return 8, nil
}

// Write implements vfs.File: it adds to the count. EAGAIN while the sum would
// be too large, EINVAL for the value that never can be.
func (f *File) Write(_ vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	if len(p) < 8 {
		return 0, off, unix.EINVAL
	}
	v := binary.LittleEndian.Uint64(p)
	if v > most {
		return 0, off, unix.EINVAL
	}
	if !f.add(v) {
		return 0, off, unix.EAGAIN
	}
	return 8, off, nil
}

// add reports whether v could be added.
func (f *File) add(v uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v > most-f.count {
		return false
	}
	f.count += v
	f.queue.Notify(waiter.Readable)
	return true
}

// Readiness implements waiter.Waitable.
func (f *File) Readiness(mask waiter.Mask) waiter.Mask {
	f.mu.Lock()
	defer f.mu.Unlock()
	var m waiter.Mask
	if f.count > 0 {
		m |= waiter.Readable
	}
	if f.count < most {
		m |= waiter.Writable
	}
	return m & mask
}

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) { f.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) { f.queue.Unregister(e) }

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (f *File) FDInfo() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	sem := 0
	if f.semaphore {
		sem = 1
	}
	return fmt.Sprintf("eventfd-count: %16x\neventfd-semaphore: %d\n", f.count, sem)
}
