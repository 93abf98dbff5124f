package boot

import (
	"errors"
	"fmt"
	"math"

	"coffer/internal/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// none is an argument that no call takes: no descriptor, flag or command.
const none = ^uintptr(0)

// needed are host calls that a host may lack, or forbid by a seccomp profile,
// and without which something would go wrong late or without a word: in Go's
// runtime, which then crashes, or in the guest, which would get errors that no
// program expects. Each has arguments with which it does nothing, and does not
// answer with an errno that means "refused". Calls whose refusal is an error
// of its own when the sandbox starts need not be here.
var needed = []struct {
	call uintptr
	args [6]uintptr
	what string
}{
	{unix.SYS_CLOSE_RANGE, [6]uintptr{1, 0, 0}, "keeps inherited descriptors from the sentry"},
	{unix.SYS_EPOLL_CREATE1, [6]uintptr{none}, "waits for files"},
	{unix.SYS_EPOLL_CTL, [6]uintptr{none, unix.EPOLL_CTL_DEL, none}, "waits for files"},
	{unix.SYS_EPOLL_PWAIT, [6]uintptr{none, 0, 0}, "waits for files"},
	{unix.SYS_EPOLL_WAIT, [6]uintptr{none, 0, 0}, "waits for files"},
	{unix.SYS_PPOLL, [6]uintptr{0, math.MaxUint32}, "waits for files"},
	{unix.SYS_EVENTFD2, [6]uintptr{0, none}, "wakes who waits for files"},
	{unix.SYS_MEMFD_CREATE, [6]uintptr{0, none}, "makes files in memory"},
	{unix.SYS_FTRUNCATE, [6]uintptr{none}, "sizes files in memory"},
	{unix.SYS_SOCKETPAIR, [6]uintptr{unix.AF_UNIX, unix.SOCK_STREAM, 0, 0}, "connects the sentry to coffer and to its stubs"},
	{unix.SYS_SETSOCKOPT, [6]uintptr{none}, "bounds how long it waits for the sentry"},
	{unix.SYS_SENDMSG, [6]uintptr{none}, "hands files to stubs"},
	{unix.SYS_RECVMSG, [6]uintptr{none}, "hands files to stubs"},
	{unix.SYS_OPENAT2, [6]uintptr{none, 0, 0, 0}, "opens files beneath a directory"},
	{unix.SYS_STATX, [6]uintptr{none, 0, none}, "reads files' attributes"},
	{unix.SYS_GETDENTS64, [6]uintptr{none}, "lists directories"},
	{unix.SYS_READLINKAT, [6]uintptr{none, 0, 0, 0}, "reads symbolic links"},
	{unix.SYS_FSTAT, [6]uintptr{none}, "reads files' attributes"},
	{unix.SYS_LSEEK, [6]uintptr{none}, "finds holes in files"},
	{unix.SYS_PREAD64, [6]uintptr{none}, "reads files"},
	{unix.SYS_PWRITE64, [6]uintptr{none}, "writes files"},
	{unix.SYS_PREADV2, [6]uintptr{none}, "reads without waiting"},
	{unix.SYS_PWRITEV2, [6]uintptr{none}, "writes without waiting"},
	{unix.SYS_PROCESS_VM_READV, [6]uintptr{self, 0, 0, 0, 0, 0}, "reads programs' memory"},
	{unix.SYS_PROCESS_VM_WRITEV, [6]uintptr{self, 0, 0, 0, 0, 0}, "writes programs' memory"},
	{unix.SYS_KILL, [6]uintptr{self, 0}, "ends processes"},
	{unix.SYS_TGKILL, [6]uintptr{self, self, 0}, "interrupts threads"},
	{unix.SYS_WAIT4, [6]uintptr{math.MaxInt32, 0, unix.WNOHANG | unix.WALL, 0}, "waits for processes"},
	{unix.SYS_WAITID, [6]uintptr{none}, "waits for processes"},
	{unix.SYS_PRCTL, [6]uintptr{none}, "gives up privileges"},
	{unix.SYS_CAPGET, [6]uintptr{0, 0}, "gives up privileges"},
	{unix.SYS_CAPSET, [6]uintptr{0, 0}, "gives up privileges"},
	{unix.SYS_SECCOMP, [6]uintptr{none}, "filters system calls"},
	{unix.SYS_DUP2, [6]uintptr{none, none}, "hands descriptors on"},
	{unix.SYS_DUP3, [6]uintptr{none, none}, "hands descriptors on"},
	{unix.SYS_PIPE2, [6]uintptr{0, none}, "starts processes"},
	{unix.SYS_CHDIR, [6]uintptr{0}, "starts processes"},
	{unix.SYS_GETPPID, [6]uintptr{}, "notices the end of the sentry"},
	{unix.SYS_PRLIMIT64, [6]uintptr{0, none}, "lowers resource limits"},
	{unix.SYS_GETRLIMIT, [6]uintptr{none}, "reads resource limits"},
	{unix.SYS_SETRLIMIT, [6]uintptr{none}, "lowers resource limits"},
	{unix.SYS_OPEN_TREE, [6]uintptr{none, 0, none}, "makes mounts of directories"},
	{unix.SYS_MOUNT_SETATTR, [6]uintptr{none, 0, none}, "makes mounts read-only"},
	{unix.SYS_MPROTECT, [6]uintptr{0, 0, 0}, "sets the protection of memory"},
	{unix.SYS_MADVISE, [6]uintptr{0, 0, 0}, "gives memory back"},
	{unix.SYS_MUNMAP, [6]uintptr{0, 0}, "gives memory back"},
	{unix.SYS_MREMAP, [6]uintptr{0, 0, 0, none}, "moves memory"},
}

// self stands for the caller's process ID, which is also its first thread's.
const self = none - 1

// least are limits with which a sandbox starts as a rule, and then its programs
// cannot be run, or Go's runtime crashes for want of a thread.
var least = []struct {
	resource int
	what     string
	flag     string // ulimit's
	number   uint64
}{
	{unix.RLIMIT_NOFILE, "open files", "-n", 128},
	{unix.RLIMIT_NPROC, "processes", "-u", 64},
}

// CheckHost finds what a sandbox needs and this host does not give: a host
// call, descriptors or processes. It is for who starts a sentry, before
// anything else: limits and seccomp filters are inherited, and what Go's runtime
// needs is used here for the first time.
func CheckHost() error {
	if err := checkCalls(); err != nil {
		return err
	}
	for _, m := range least {
		var l unix.Rlimit
		if err := unix.Getrlimit(m.resource, &l); err != nil {
			return fmt.Errorf("reading the limit on %s: %w", m.what, err)
		}
		if l.Cur < m.number {
			return fmt.Errorf("the limit on %s is %d, and a sandbox needs at least %d: raise it (ulimit %s)", m.what, l.Cur, m.number, m.flag)
		}
	}
	return nil
}

// checkCalls looks for needed calls that the host refuses.
func checkCalls() error {
	pid := uintptr(unix.Getpid())
	for _, n := range needed {
		for i, a := range n.args {
			if a == self {
				n.args[i] = pid
			}
		}
		_, _, errno := unix.RawSyscall6(n.call, n.args[0], n.args[1], n.args[2], n.args[3], n.args[4], n.args[5])
		if !isRefusal(errno) {
			continue
		}
		return Advise(fmt.Errorf("this host refuses the system call %s (%w), by which coffer %s", callName(n.call), errno, n.what))
	}
	return nil
}

func callName(nr uintptr) string {
	if r := syscalls.New().Row(uint64(nr)); r != nil {
		return r.Name
	}
	return fmt.Sprint("system call ", nr)
}

// isRefusal reports whether an errno says that a host does not have a call or
// an operation, or does not allow it.
func isRefusal(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// Advise adds to an error of starting a sandbox what to do, if the reason is
// that the host refused something. Why a program cannot be run is the
// sandbox's own affair, and stays as it is.
func Advise(err error) error {
	var pe *programError
	switch {
	case errors.As(err, &pe):
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: the kernel must be Linux 5.12 or later, and no seccomp profile, such as a container's, may hide what it has", err)
	case isRefusal(err):
		return fmt.Errorf("%w: allow it in the seccomp profile or security module (AppArmor, SELinux) that this process runs under, such as a container's, or run coffer outside of it", err)
	}
	return err
}
