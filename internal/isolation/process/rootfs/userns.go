package rootfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"coffer/internal/isolation/script"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// userNamespace makes a user namespace with the given mappings, in which
// nothing runs.
func userNamespace(uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	pid, stop, err := cloneIdle()
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", because(err,
			cure{unix.EPERM, "the host does not let this user make one: see /proc/sys/user/max_user_namespaces and its LSM's rules"},
			cure{unix.ENOSPC, "there are as many as /proc/sys/user/max_user_namespaces allows"}))
	}
	defer stop()
	dir := strconv.Itoa(pid) + "/"
	for _, m := range []struct {
		file     string
		mappings []specs.LinuxIDMapping
	}{{"uid_map", uids}, {"gid_map", gids}} {
		if err := writeMap(dir+m.file, m.mappings); err != nil {
			return nil, fmt.Errorf("writing the mapping %s of a user namespace: %w", m.file, because(err,
				cure{unix.EINVAL, "its ranges overlap, are empty, or are more than 340"},
				cure{unix.EPERM, "this user may not map these IDs"}))
		}
	}
	return os.Open("/proc/" + dir + "ns/user")
}

// writeMap writes a mapping (user_namespaces(7)), which must be one write.
func writeMap(name string, mappings []specs.LinuxIDMapping) error {
	var b strings.Builder
	for _, m := range mappings {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	f, err := OpenProc(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(b.String())
	return err
}

// cloneIdle starts a process in a new user namespace, which is what keeps one
// in being until it is open. The process only waits; it ends by stop, or with
// the caller.
func cloneIdle() (pid int, stop func(), err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, err
	}
	defer unix.Close(pipe[0])
	var n uintptr
	var errno unix.Errno
	err = script.WithoutSignals(func() { n, errno = cloneAndWait(pipe[0], pipe[1]) })
	if errno != 0 {
		err = errno
	}
	stop = func() {
		unix.Close(pipe[1])
		if err == nil {
			for {
				if _, err := unix.Wait4(int(n), nil, unix.WALL, nil); err != unix.EINTR {
					break
				}
			}
		}
	}
	if err != nil {
		stop()
		return 0, nil, err
	}
	return int(n), stop, nil
}

// cloneAndWait clones the calling thread alone, as fork(2) does. The new
// process may do nothing but system calls: it waits for the pipe to close.
//
//go:nosplit
//go:norace
func cloneAndWait(read, write int) (uintptr, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(write), 0, 0)
	var b [1]byte
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(read), uintptr(unsafe.Pointer(&b[0])), 1)
		if errno != unix.EINTR {
			break
		}
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
