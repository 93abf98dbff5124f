package process

import (
	"errors"
	"fmt"
	"io"
	"os"

	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// protectedBinary returns coffer's own binary for execveat(2), in a way in
// which nobody can write to it: a container could reach what its init executes
// as /proc/PID/exe, and whoever is root in it might overwrite the host's file
// (CVE-2019-5736). That is a read-only mount of the file, which is attached
// nowhere; or, for callers who may not mount, a sealed copy in memory, which
// takes some milliseconds more and as much memory as the binary is large.
//
// unreadable asks for a copy that a user namespace's root can't read. Linux
// then keeps those in the namespace from tracing the process that executes it.
func protectedBinary(unreadable bool) (*os.File, error) {
	if !unreadable {
		f, err := readOnlyBinary()
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("protecting coffer's binary from the container: %w", err)
		}
	}
	f, err := copiedBinary()
	if errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w: allow programs in memory files (sysctl vm.memfd_noexec=1 or 0)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("copying coffer's binary, to protect it from the container: %w", err)
	}
	return f, nil
}

const self = "/proc/self/exe"

func readOnlyBinary() (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: self, Err: err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "mount_setattr", Path: self, Err: err}
	}
	return os.NewFile(uintptr(fd), self), nil
}

func copiedBinary() (*os.File, error) {
	source, err := os.Open(self)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return sealedFile("coffer", 0o111, func(f *os.File) error {
		_, err := io.Copy(f, source)
		return err
	})
}

// sealedFile returns an unchangeable file in memory, open for reading.
func sealedFile(name string, mode uint32, write func(*os.File) error) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if mode&0o111 != 0 {
		flags |= unix.MFD_EXEC // or vm.memfd_noexec may forbid it
	}
	fd, err := unix.MemfdCreate(name, flags)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags&^unix.MFD_EXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("creating a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := write(f); err == nil {
		if err = unix.Fchmod(fd, mode); err != nil {
			err = fmt.Errorf("setting the mode of a file in memory: %w", err)
		} else {
			err = isolation.Seal(fd)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	} else {
		f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	if mode&0o111 == 0 {
		return f, nil
	}
	// A file that somebody may write to can't be executed.
	defer f.Close()
	reading, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a file in memory again: %w", err)
	}
	return os.NewFile(uintptr(reading), name), nil
}
