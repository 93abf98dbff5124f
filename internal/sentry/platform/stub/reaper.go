package stub

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoChild is waitid(2)'s siginfo_t.
type siginfoChild struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

// reap waits for stubs to end and marks them so. It runs on the thread that
// is their parent and returns when there are none.
//
// Only this thread's children are waited for: those of other threads, such as
// what a tracer waits for, are none of its business.
func (s *Stubs) reap() {
	for {
		var info siginfoChild
		const options = unix.WEXITED | unix.WNOWAIT | unix.WALL | unix.WNOTHREAD
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), options, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return
		}
		if s.chores.due.Load() {
			s.chores.makeWay()
		}
		// Under the lock from the reaping to the marking, so that nobody
		// signals a PID that has come to be another's.
		pid := int(info.pid)
		s.mu.Lock()
		p := s.procs[pid]
		delete(s.procs, pid)
		if p != nil {
			p.reaped = true
		}
		var used unix.Rusage
		unix.Wait4(pid, nil, unix.WALL|unix.WNOHANG|unix.WNOTHREAD, &used)
		if p != nil {
			// The host counts pages in lots, for each processor by itself, and so
			// may know of none of a small process.
			p.peak = max(uint64(used.Maxrss)<<10, PageSize)
		}
		s.mu.Unlock()
		// A process that is not known is one whose fork failed halfway, or
		// that a guest made by itself.
		if p != nil {
			p.setGone()
		}
		if s.chores.due.Load() {
			s.doChores()
		}
	}
}
