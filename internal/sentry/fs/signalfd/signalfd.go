// Package signalfd is signalfd(2): pending signals that are read.
//
// It sees tasks only as Sources.
package signalfd

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Source is a task as this package sees it; kernel.Task implements it.
type Source interface {
	// TakeSignal removes a pending signal of the set.
	TakeSignal(set abi.SignalSet) (abi.Siginfo, bool)
	// PendingSignals are those that TakeSignal could take.
	PendingSignals() abi.SignalSet
}

// infoSize is sizeof(struct signalfd_siginfo).
const infoSize = 128

// unreadable are the signals that no file reads.
var unreadable = abi.SetOf(unix.SIGKILL, unix.SIGSTOP)

// File reads signals.
type File struct {
	anon.File
	set   atomic.Uint64
	owner Source
	queue *waiter.Queue
}

// New returns a description that reads the signals of set. Reading takes the
// signals of the task that reads; readiness is that of owner, the task that
// made the file, whose process's queue tells of new signals.
func New(set abi.SignalSet, owner Source, queue *waiter.Queue, flags uint32) *vfs.FileDescription {
	f := &File{owner: owner, queue: queue}
	f.SetMask(set)
	return anon.NewFile(f, "[signalfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// SetMask changes which signals are read.
func (f *File) SetMask(set abi.SignalSet) {
	f.set.Store(uint64(set &^ unreadable))
	if f.queue != nil {
		f.queue.Notify(waiter.In)
	}
}

// Read implements vfs.File: as many signals as are pending and fit.
func (f *File) Read(c vfs.Caller, p []byte, _ int64) (int, error) {
	if len(p) < infoSize {
		return 0, unix.EINVAL
	}
	src, ok := c.(Source)
	if !ok {
		src = f.owner
	}
	n := 0
	for len(p)-n >= infoSize {
		info, ok := src.TakeSignal(abi.SignalSet(f.set.Load()))
		if !ok {
			break
		}
		encode(p[n:n+infoSize], &info)
		n += infoSize
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}

// encode lays a siginfo out as struct signalfd_siginfo.
func encode(b []byte, s *abi.Siginfo) {
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(s.Signo))
	le.PutUint32(b[4:], uint32(s.Errno))
	le.PutUint32(b[8:], uint32(s.Code))
	sender := func() {
		le.PutUint32(b[12:], uint32(s.PID()))
		le.PutUint32(b[16:], s.UID())
	}
	value := func() {
		le.PutUint32(b[44:], uint32(s.Value()))
		le.PutUint64(b[48:], s.Value())
	}
	const siTimer = -2
	sig := unix.Signal(s.Signo)
	switch {
	case s.Code == siTimer:
		le.PutUint32(b[24:], uint32(s.TimerID()))
		le.PutUint32(b[32:], uint32(s.Overrun()))
		value()
	case s.Code < 0:
		sender()
		value()
	case s.Code == 0 || s.Code >= 0x80: // SI_USER, SI_KERNEL
		sender()
	case sig == unix.SIGCHLD:
		sender()
		le.PutUint32(b[40:], uint32(s.Status()))
		le.PutUint64(b[56:], uint64(s.Utime()))
		le.PutUint64(b[64:], uint64(s.Stime()))
	case sig == unix.SIGIO:
		le.PutUint32(b[20:], uint32(s.FD()))
		le.PutUint32(b[28:], uint32(s.Band()))
	case sig == unix.SIGSEGV || sig == unix.SIGBUS || sig == unix.SIGFPE || sig == unix.SIGILL || sig == unix.SIGTRAP:
		le.PutUint64(b[72:], s.Addr())
	default:
		sender()
	}
}

// Readiness implements waiter.Waitable.
func (f *File) Readiness(mask waiter.Mask) waiter.Mask {
	if f.owner.PendingSignals()&abi.SignalSet(f.set.Load()) != 0 {
		return mask & waiter.Readable
	}
	return 0
}

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) { f.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) { f.queue.Unregister(e) }

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (f *File) FDInfo() string { return fmt.Sprintf("sigmask:\t%016x\n", f.set.Load()) }
