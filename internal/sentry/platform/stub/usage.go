package stub

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// readProc reads a file of a stub's /proc/PID into b, and returns what is
// there; nothing if the sentry was given no way to see the host's /proc.
func (s *Stubs) readProc(pid int, name string, b []byte) []byte {
	if s.procFD < 0 {
		return nil
	}
	fd, err := unix.Openat2(s.procFD, strconv.Itoa(pid)+name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, _ := unix.Read(fd, b)
	return b[:max(n, 0)]
}

// PeakRSS implements platform.PeakTeller by a stub's VmHWM, or by what the host
// says at its end, which is waited for if it is near.
func (p *Process) PeakRSS() uint64 {
	for n := 0; ; n++ {
		p.stubs.mu.Lock()
		if p.reaped {
			defer p.stubs.mu.Unlock()
			return p.peak
		}
		v := p.highWater()
		p.stubs.mu.Unlock()
		// One that is ending has no memory to tell of.
		if v != 0 || n == endTries {
			return v
		}
		pause(n)
	}
}

// endTries bounds how often PeakRSS looks for the end of a process, to a second
// or so.
const endTries = 20000

// highWater reads VmHWM in bytes; 0 if the process is ending. Stubs.mu is held,
// so that the PID is not another's.
func (p *Process) highWater() uint64 {
	var b [4096]byte
	_, after, _ := bytes.Cut(p.stubs.readProc(p.pid, "/status", b[:]), []byte("\nVmHWM:"))
	after = bytes.TrimLeft(after[:min(len(after), 32)], " \t")
	kib, _, _ := bytes.Cut(after, []byte(" "))
	n, err := strconv.ParseUint(string(kib), 10, 64)
	if err != nil {
		return 0 // it has ended
	}
	return n << 10
}

// CPUTime implements platform.CPUTeller by the stub's clock.
func (p *Process) CPUTime() (time.Duration, bool) {
	// Under the lock, so that the PID is not another's.
	p.stubs.mu.Lock()
	defer p.stubs.mu.Unlock()
	var ts unix.Timespec
	if p.reaped || unix.ClockGettime(clockOf(p.pid), &ts) != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// clockOf is the clock of a process's time, as clock_getcpuclockid(3) makes it.
func clockOf(pid int) int32 {
	const scheduler = 2 // CPUCLOCK_SCHED in linux/posix-timers.h
	return int32(^pid)<<3 | scheduler
}

// usage reads a stub's /proc/PID/statm.
func (s *Stubs) usage(pid int) platform.Usage {
	var b [128]byte
	var size, resident, shared uint64
	fmt.Sscan(string(s.readProc(pid, "/statm", b[:])), &size, &resident, &shared)
	if shared > resident {
		shared = resident
	}
	return platform.Usage{
		RSS: resident * PageSize, Shared: shared * PageSize, Anon: (resident - shared) * PageSize,
	}
}
