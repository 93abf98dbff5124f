package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// none is an argument that no call takes: no descriptor, process or flag.
const none = ^uintptr(0)

// needed are host calls without which a container would be made in part, and
// could not be removed, or without which Go's runtime crashes. Each has
// arguments with which it does nothing. Calls whose refusal is an error of its
// own that leaves nothing need not be here.
var needed = []struct {
	call       uintptr
	args       [4]uintptr
	name, what string
}{
	{unix.SYS_EPOLL_CREATE1, [4]uintptr{none}, "epoll_create1", "waits for files"},
	{unix.SYS_EVENTFD2, [4]uintptr{0, none}, "eventfd2", "wakes who waits for files"},
	{unix.SYS_OPENAT2, [4]uintptr{none}, "openat2", "opens files of cgroups"},
	{unix.SYS_PIDFD_OPEN, [4]uintptr{none, none}, "pidfd_open", "tells processes from others that get their numbers"},
	{unix.SYS_UMOUNT2, [4]uintptr{0, none}, "umount2", "takes the host's files away from the container"},
}

// minFiles is enough of open files to make a container, whose namespaces and
// cgroups are open all at once, and to remove what there is if that fails.
const minFiles = 64

// checkHost refuses to make a container on a host that could stop that half-way.
func checkHost() error {
	for _, n := range needed {
		_, _, errno := unix.RawSyscall6(n.call, n.args[0], n.args[1], n.args[2], n.args[3], 0, 0)
		if errno == unix.ENOSYS || errno == unix.EPERM || errno == unix.EACCES {
			return fmt.Errorf("this host refuses the system call %s (%w), by which coffer %s: it takes Linux 5.6 or later, and no seccomp profile or security module around coffer may forbid it", n.name, errno, n.what)
		}
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("looking at the limit on open files: %w", err)
	}
	if files.Cur < minFiles {
		return fmt.Errorf("the limit on open files is %d, and making a container needs at least %d: raise it (ulimit -n)", files.Cur, minFiles)
	}
	return nil
}
