package gateway

import (
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
	"unsafe"

	"coffer/internal/seccomp"

	"golang.org/x/sys/unix"
)

// memoryMax is what the helper's heap keeps below where it can; dataMax is what the
// host gives it at most.
const (
	memoryMax = 768 << 20
	dataMax   = 2 << 30
)

// raiseWalls takes from this process all that it does not need to move bytes between
// the link and sockets: files, privileges, and host calls: refusal is what its
// filter answers those with. It reports how many files it may have open.
func raiseWalls(refusal uint32) (files int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("making the gateway's mounts private: %w", err)
	}
	if err := emptyRoot(); err != nil {
		return 0, err
	}
	if err := dropPrivileges(); err != nil {
		return 0, err
	}
	if files, err = limitResources(); err != nil {
		return 0, err
	}
	prog, err := seccomp.Build(HostCalls(), refusal)
	if err != nil {
		return 0, fmt.Errorf("building the gateway's seccomp filter: %w", err)
	}
	if err := seccomp.Install(prog); err != nil {
		return 0, fmt.Errorf("putting the gateway behind its seccomp filter: %w", err)
	}
	return files, nil
}

// emptyRoot replaces this process's view of files by an empty, read-only directory.
func emptyRoot() error {
	const place = "/proc" // any directory does: it is gone right after
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("tmpfs", place, "tmpfs", flags, "size=0,nr_inodes=2,mode=555"); err != nil {
		return fmt.Errorf("mounting the gateway's empty root: %w", err)
	}
	if err := unix.Chdir(place); err != nil {
		return fmt.Errorf("entering the gateway's empty root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root ends up on top of the new one
		return fmt.Errorf("pivoting to the gateway's empty root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("taking the host's root off: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("making the gateway's root read-only: %w", err)
	}
	return nil
}

// secureBits are prctl(2)'s SECBIT_NOROOT, NO_CAP_AMBIENT_RAISE and their locks, and
// the lock of KEEP_CAPS.
const secureBits = 1<<0 | 1<<1 | 1<<5 | 1<<6 | 1<<7

// dropPrivileges gives up all capabilities, for good and for all threads.
func dropPrivileges() error {
	err := allThreads(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0)
	if err == unix.ENOTSUP {
		// Go's answer if threads may exist that it does not know of.
		return errors.New("this coffer was built with cgo, and cannot give up its privileges: build it with CGO_ENABLED=0, as make build does")
	}
	if err != nil {
		return fmt.Errorf("setting the secure bits: %w", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", c, err)
		}
	}
	if err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

func allThreads(call, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a1, a2, a3); errno != 0 {
		return errno
	}
	return nil
}

// limitResources raises the limit of open files as far as it goes, and lowers others.
func limitResources() (files int, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raising the limit of open files: %w", err)
	}
	files = int(min(l.Cur, 1<<20))
	for which, to := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_DATA: dataMax} {
		if err := unix.Getrlimit(which, &l); err != nil {
			return 0, fmt.Errorf("reading resource limit %d: %w", which, err)
		}
		l.Max = min(l.Max, to)
		l.Cur = l.Max
		if err := unix.Setrlimit(which, &l); err != nil {
			return 0, fmt.Errorf("lowering resource limit %d: %w", which, err)
		}
	}
	debug.SetMemoryLimit(memoryMax)
	return files, nil
}
