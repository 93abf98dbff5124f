package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// tempPrefix begins the names of what a run makes outside of the directory that it works in.
	tempPrefix = "coffer-bench-"
	// ownerFile, in a run's directory, is locked for as long as the run lives, and has the paths of its cgroups, a line
	// each. A directory without it belongs to who is about to make it, or to somebody else.
	ownerFile = "owner"
)

// own makes the file that keeps other runs from removing dir. It is there only once it is locked.
func own(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ownerFile+"-")
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, ownerFile))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

// removeLeftovers removes what runs that were killed have left in parent, and their cgroups.
func removeLeftovers(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, tempPrefix+"*"))
	for _, dir := range dirs {
		err = errors.Join(err, removeLeftover(dir))
	}
	return err
}

// removeLeftover removes dir, if it is of a run of this user that is over.
func removeLeftover(dir string) error {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return nil
	}
	owner, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer owner.Close()
	if unix.Flock(int(owner.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // the run lives, or another one removes this
	}
	cgroups, err := os.ReadFile(owner.Name())
	if err != nil {
		return nil // another one has removed it
	}
	if err := unmountShared(dir); err != nil {
		return err
	}
	if at, err := mountedBeneath(dir); err != nil || at != "" {
		return errors.Join(err, fmt.Errorf("%s is left of a run that was killed, and something is mounted at %q: unmount that, and remove it", dir, at))
	}
	for group := range strings.Lines(string(cgroups)) {
		if err := removeCgroup(strings.TrimSpace(group)); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// removeCgroup removes a cgroup of a run, with those in it. One with processes stays.
func removeCgroup(dir string) error {
	if !strings.HasPrefix(filepath.Clean(dir), cgroupRoot+"/") || !strings.HasPrefix(filepath.Base(dir), tempPrefix) {
		return nil
	}
	var groups []string
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	for _, group := range slices.Backward(groups) {
		if err := unix.Rmdir(group); err != nil && err != unix.ENOENT && err != unix.EBUSY {
			return fmt.Errorf("removing the cgroup %s of a run that was killed: %w", group, err)
		}
	}
	return nil
}

// mountedBeneath names a mount point in dir, or is "".
func mountedBeneath(dir string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			return f[4], nil
		}
	}
	return "", err
}

// unmountShared unmounts what runsc keeps in a run's directory: a namespace for containers to come.
func unmountShared(dir string) error {
	err := unix.Unmount(filepath.Join(dir, "runsc", "null-netns"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	switch err {
	case nil, unix.ENOENT, unix.EINVAL, unix.EPERM:
		return nil
	}
	return fmt.Errorf("unmounting what runsc has left in %s: %w", dir, err)
}
