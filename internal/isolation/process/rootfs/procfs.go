package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procRoot is the inode of a proc file system's root (PROC_ROOT_INO).
const procRoot = 1

// OpenProc opens a file of a proc file system for the calling process: a path
// such as "self/attr/exec" or "sys/net/ipv4/ip_forward", with or without
// "/proc/" before it. The file is surely procfs's own and nothing that is
// mounted over it or made to look like it, whatever the container has done to
// its /proc. flags are those of open(2); O_CLOEXEC is added.
func OpenProc(name string, flags int) (*os.File, error) {
	relative := strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(name, "/proc/")), "/")
	fd, err := openProcFile(relative, flags)
	if err != nil {
		return nil, fmt.Errorf("opening /proc/%s: %w", relative, err)
	}
	return os.NewFile(uintptr(fd), "/proc/"+relative), nil
}

// openProcFile opens a file below /proc, or else, if that is covered, hides
// things or is no procfs, below a proc file system of our own.
func openProcFile(relative string, flags int) (int, error) {
	root, err := procOfCaller()
	if err == nil {
		defer unix.Close(root)
		var fd int
		if fd, err = openBelowProc(root, relative, flags); err == nil {
			return fd, nil
		}
	}
	own, ownErr := newProc()
	if ownErr != nil {
		return -1, err // In a user namespace there may be no right to mount one.
	}
	defer unix.Close(own)
	return openBelowProc(own, relative, flags)
}

// openBelowProc opens a file of the proc file system whose root is given.
func openBelowProc(root int, relative string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(root, relative, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return fd, because(err, cure{unix.EXDEV, "something is mounted over it, so it is not the kernel's file"})
	}
}

// procOfCaller opens /proc, and makes sure that it is the root of a proc file
// system.
func procOfCaller() (int, error) {
	fd, err := unix.Open("/proc", pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	ok, err := isProcRoot(fd)
	if err == nil && !ok {
		err = errors.New("/proc is not a proc file system: mount one there")
	}
	return fd, closeIf(fd, err)
}

// newProc mounts a proc file system that nobody else sees.
func newProc() (int, error) {
	fs := filesystem{kind: "proc"}
	return fs.mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
}

// isOn reports whether fd lies in a file system of a kind (*_MAGIC).
func isOn(fd int, magic int64) (bool, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(fd, &st)
	return int64(st.Type) == magic, err
}

// isProcRoot reports whether fd is the root of a proc file system.
func isProcRoot(fd int) (bool, error) {
	if ok, err := isOn(fd, unix.PROC_SUPER_MAGIC); err != nil || !ok {
		return false, err
	}
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino == procRoot, err
}

// withProc runs f in the directory of procfs, where fdName's names lead to
// the descriptors. It serves those system calls that know only names.
func withProc(f func() error) error {
	before, err := unix.Open(".", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("opening the working directory: %w", err)
	}
	defer unix.Close(before)
	proc, err := procOfCaller()
	if err != nil {
		if proc, err = newProc(); err != nil {
			return fmt.Errorf("finding a proc file system: %w", err)
		}
	}
	defer unix.Close(proc)
	if err := unix.Fchdir(proc); err != nil {
		return err
	}
	return errors.Join(f(), unix.Fchdir(before))
}

// fdName is the name of a descriptor in the directory of procfs.
func fdName(fd int) string { return "thread-self/fd/" + strconv.Itoa(fd) }
