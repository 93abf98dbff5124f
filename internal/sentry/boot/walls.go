package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// emptyRoot replaces the sentry's view of the host's files by an empty,
// read-only directory. What was donated as descriptors is all that is left.
func emptyRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the sentry's mounts private: %w", err)
	}
	// Any directory serves as the place to mount on: it is gone right after.
	const place = "/proc"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("tmpfs", place, "tmpfs", flags, "size=0,nr_inodes=2,mode=0"); err != nil {
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
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, nil
	}
	return mount, nil
}

// keptCaps are the capabilities that a sentry which root started keeps, in
// its own user namespace: they let it read and, on writable binds, change the
// files that root may. They give no power over the host's kernel.
var keptCaps = []uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
}

// dropPrivileges gives up all other capabilities, for good and for all
// threads. keepFileCaps is false if nothing on the host is root's to read.
func dropPrivileges(keepFileCaps bool) error {
	var keep uint64
	if keepFileCaps {
		for _, c := range keptCaps {
			keep |= 1 << c
		}
	}
	for c := uint(0); c <= unix.CAP_LAST_CAP; c++ {
		if keep>>c&1 != 0 {
			continue
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", c, err)
		}
	}
	if err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	if err := capset(keep); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

// setOOMScore tells the host how readily to end this process and those that
// it forks from now on when memory runs out, from 0 to 1000.
func setOOMScore(f *os.File, score int) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%d", score), 0)
	return err
}
