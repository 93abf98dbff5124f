package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// privateMounts cuts the sentry's mounts off from the host's.
func privateMounts() error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == unix.EACCES {
		// AppArmor lets everybody make user namespaces that can do nothing.
		return fmt.Errorf("making the sentry's mounts private (on Ubuntu, users other than root may with the sysctl kernel.apparmor_restrict_unprivileged_userns=0): %w", err)
	}
	if err != nil {
		return fmt.Errorf("making the sentry's mounts private: %w", err)
	}
	return nil
}

// emptyRoot replaces the sentry's view of the host's files by an empty,
// read-only directory. What was donated as descriptors is all that is left.
func emptyRoot() error {
	// Any directory serves as the place to mount on: it is gone right after.
	const place = "/proc"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("tmpfs", place, "tmpfs", flags, "size=0,nr_inodes=2,mode=555"); err != nil {
		return fmt.Errorf("mounting the sentry's empty root: %w", err)
	}
	if err := unix.Chdir(place); err != nil {
		return fmt.Errorf("entering the sentry's empty root: %w", err)
	}
	// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of
	// the new one and is taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivoting to the sentry's empty root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("taking the host's root off: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("making the sentry's root read-only: %w", err)
	}
	return nil
}

// processView opens a view of the processes in the sentry's own PID namespace,
// the stubs, and of nothing else of /proc: it tells how much memory they use.
// It is -1 if the host forbids it (a container whose own /proc has masked
// parts): then guests see no resident sizes.
//
// Links in it lead nowhere: by /proc/PID/fd a guest that has taken over this
// process could open again, to write, what it was given to read.
func processView() (int, error) {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("opening a view of the stubs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "subset", "pid"); err != nil {
		return -1, nil
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, nil
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, nil
	}
	return mount, nil
}

// setOOMScore tells the host how readily to end this process and those that
// it forks from now on when memory runs out, from 0 to 1000.
func setOOMScore(f *os.File, score int) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%d", score), 0)
	return err
}
