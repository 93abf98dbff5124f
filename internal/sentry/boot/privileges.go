package boot

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform/stub"

	"golang.org/x/sys/unix"
)

// sentryCaps are the capabilities that a sentry which root started keeps, in
// its own user namespace. They let it read and, on writable binds, change the
// files that root may, and reach its stubs, which have another user ID. They
// give no power over the host's kernel.
var sentryCaps = []uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SYS_PTRACE, unix.CAP_SYS_NICE,
}

// stubUser is the user that stubs run as if root starts them: nobody's. The
// host limits that user's processes, and those of root it never does.
const stubUser = 65534

// stubCaps are the capabilities that starting the stubs takes besides.
var stubCaps = []uint{unix.CAP_SETUID, unix.CAP_SETGID}

// Bits of prctl(2)'s PR_SET_SECUREBITS, each with its lock: root is nobody
// special to execve(2), and no capability outlives a change of user or
// becomes ambient.
const (
	secbitNoRoot           = 1<<0 | 1<<1
	secbitNoKeepCaps       = 1 << 5
	secbitNoAmbientRaise   = 1<<6 | 1<<7
	secureBits             = secbitNoRoot | secbitNoKeepCaps | secbitNoAmbientRaise
	processesBesideTasks   = 1024 + stub.SparesAll // the sentry's own threads, the pool of stubs, spare threads
	processesPerTaskAtMost = 2                     // ptrace has a first thread of its own in each process
)

// dropPrivileges gives up all capabilities that the sentry does not use, for
// good and for all threads. Those that only starting the stubs takes are left,
// for settle to drop. A sentry that root did not start keeps none.
func dropPrivileges(root bool) error {
	err := allThreads(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0)
	if err == unix.ENOTSUP {
		// Go's answer if threads may exist that it does not know of.
		return errors.New("this coffer was built with cgo, and cannot give up its privileges: build it with CGO_ENABLED=0, as make build does")
	}
	if err != nil {
		return fmt.Errorf("setting the secure bits: %w", err)
	}
	for c := uint(0); c <= unix.CAP_LAST_CAP; c++ {
		// Mostly the starter has dropped it, before there were threads. To do it here
		// stops all of them for each.
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); root && slices.Contains(sentryCaps, c) || err == unix.EINVAL || err == nil && in == 0 {
			continue
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", c, err)
		}
	}
	if err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	if !root {
		return capset()
	}
	return capset(slices.Concat(sentryCaps, stubCaps)...)
}

// capset sets the permitted and effective sets to keep on every thread and
// clears the inheritable one.
func capset(keep ...uint) error {
	var set uint64
	for _, c := range keep {
		set |= 1 << c
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(set), Permitted: uint32(set)},
		{Effective: uint32(set >> 32), Permitted: uint32(set >> 32)},
	}
	if err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

// allThreads makes a call on every thread of the process.
func allThreads(call, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a1, a2, a3); errno != 0 {
		return errno
	}
	return nil
}

// limitProcesses bounds the processes and threads that stubs can make, a
// guest that has broken into its stub's code among them (RLIMIT_NPROC, which
// counts within the user namespace from Linux 5.14 on).
func limitProcesses(tasks int) error {
	return lowerLimit(unix.RLIMIT_NPROC, uint64(processesPerTaskAtMost*tasks+processesBesideTasks))
}

// lowerLimit lowers a limit of this process and of those that it starts.
func lowerLimit(which int, to uint64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(which, &l); err != nil {
		return fmt.Errorf("reading resource limit %d: %w", which, err)
	}
	l.Max = min(l.Max, to)
	l.Cur = l.Max
	if err := unix.Setrlimit(which, &l); err != nil {
		return fmt.Errorf("lowering resource limit %d: %w", which, err)
	}
	return nil
}

// stubIdentity is who the stubs run as; nil if as the sentry, which root did
// not start.
func stubIdentity(root bool) []stub.Option {
	if !root {
		return nil
	}
	return []stub.Option{stub.WithUser(stubUser)}
}

// memoryPerTask is what a process takes at the least, of the guest's memory,
// the host kernel's and the sentry's. A sandbox with a memory limit may have
// as many as it can hold twice over, as Linux bounds threads by memory: then a
// fork bomb is refused further processes before it starves the sentry.
const memoryPerTask = 512 << 10

// maxTasks is how many threads guests may have: at most a quarter of what the
// host's own limits leave for everybody, and what the memory limit, if it is
// not 0, has room for.
func maxTasks(memory int64, hostLimits ...int) int {
	n := kernel.DefaultMaxTasks
	for _, l := range hostLimits {
		n = min(n, max(l/4, 256))
	}
	if memory > 0 {
		n = min(n, int(max(memory/memoryPerTask, 64)))
	}
	return n
}
