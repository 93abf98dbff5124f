package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// Directories and files of the host reach a sentry as mount trees of their own,
// in no mount namespace. So the host itself keeps a sentry that a guest has taken
// over from writing where it may not, from devices, and from climbing out.

// trees opens what a container has of the host, for its description.
type trees struct {
	donation *donation
	files    *boot.Files
	// shelved are files of the host, each a mount, that wait to be put together in
	// a directory, since a sentry opens files by their names only.
	shelved []*os.File
	// shelf is the directory's place in files.Trees, once there is something for
	// it; -1 before.
	shelf int
}

// access is how much of a tree a guest is given.
type access struct {
	write bool
	// recursive includes what is mounted below.
	recursive bool
	// follow has mounts that are made on the host later appear too.
	follow bool
	// set and clear are further MOUNT_ATTR_*, of access times.
	set, clear uint64
}

// mayClone reports whether this process may make mounts, and so confine trees
// itself. Otherwise the sentry does, which has a user namespace of its own.
func mayClone() bool {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return err != unix.EPERM
}

// root donates the container's root.
func (t *trees) root(path string, a access) (place int, err error) {
	f, err := t.open(path, a)
	if err != nil {
		return 0, err
	}
	return t.donation.give(f), nil
}

// directory donates a directory, and returns its place in Files.Trees.
func (t *trees) directory(path string, a access) (int, error) {
	f, err := t.open(path, a)
	if err != nil {
		return 0, err
	}
	return t.add(f, "", a.write), nil
}

func (t *trees) add(f *os.File, name string, write bool) int {
	t.files.Trees = append(t.files.Trees, boot.Tree{FD: t.donation.give(f), Name: name, Write: write})
	return len(t.files.Trees) - 1
}

// file donates a regular file, and returns its tree and its name in that.
func (t *trees) file(path string, a access) (tree int, name string, err error) {
	if !t.files.Confined {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return 0, "", err
		}
		f, err := openPlain(filepath.Dir(real))
		if err != nil {
			return 0, "", err
		}
		name = filepath.Base(real)
		return t.add(f, name, a.write), name, nil
	}
	f, err := t.open(path, a)
	if err != nil {
		return 0, "", err
	}
	t.shelved = append(t.shelved, f)
	if t.shelf < 0 {
		t.files.Trees = append(t.files.Trees, boot.Tree{})
		t.shelf = len(t.files.Trees) - 1
	}
	return t.shelf, shelfName(len(t.shelved) - 1), nil
}

func shelfName(i int) string { return strconv.Itoa(i) }

// open opens a path as a mount of its own, or as it is where no mounts can be
// made.
func (t *trees) open(path string, a access) (*os.File, error) {
	if !t.files.Confined {
		return openPlain(path)
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if a.recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", path, err)
	}
	return confine(fd, path, a)
}

func openPlain(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// confine takes from a detached mount tree what a guest is not given. It takes
// over the descriptor.
func confine(fd int, path string, a access) (*os.File, error) {
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | a.set, Attr_clr: a.clear, Propagation: unix.MS_PRIVATE,
	}
	if !a.write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if a.follow {
		attr.Propagation = unix.MS_SLAVE
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("restricting a mount of %s (Linux 5.12 or later can): %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// finish puts the files together.
func (t *trees) finish() error {
	if len(t.shelved) == 0 {
		return nil
	}
	defer func() {
		for _, f := range t.shelved {
			f.Close()
		}
	}()
	var shelf *os.File
	err := amongOwnMounts(func() (err error) {
		shelf, err = t.shelve()
		return err
	})
	if err != nil {
		return fmt.Errorf("putting the files that are to be bound together: %w", err)
	}
	t.files.Trees[t.shelf].FD = t.donation.give(shelf)
	return nil
}

// placeToMount is any directory that there is, for a mount in a namespace that
// nobody else sees, and that is gone right after.
const placeToMount = "/proc"

// shelve makes the directory of files.
func (t *trees) shelve() (*os.File, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	options := fmt.Sprintf("nr_inodes=%d,mode=755", len(t.shelved)+1)
	if err := unix.Mount("tmpfs", placeToMount, "tmpfs", flags, options); err != nil {
		return nil, err
	}
	for i, f := range t.shelved {
		at := placeToMount + "/" + shelfName(i)
		if err := unix.Mknod(at, unix.S_IFREG, 0); err != nil {
			return nil, err
		}
		if err := unix.MoveMount(int(f.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return nil, err
		}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, placeToMount, unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "shelf"), nil
}

// amongOwnMounts calls f on a thread in a mount namespace of its own, which ends
// with it.
func amongOwnMounts(f func() error) error {
	return onDyingThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("making a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making its mounts private: %w", err)
		}
		return f()
	})
}

// overlay mounts an overlay of the host's directories and donates it: its layers
// are the host's, and so is who lays them over each other.
func (t *trees) overlay(options string, a access) (int, error) {
	if !t.files.Confined {
		return 0, fmt.Errorf("an overlay of the host's directories takes root: run as root, or use fuse-overlayfs and bind its mount")
	}
	var f *os.File
	err := amongOwnMounts(func() error {
		if err := unix.Mount("overlay", placeToMount, "overlay", 0, options); err != nil {
			return fmt.Errorf("mounting an overlay with the options %q: %w", options, err)
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, placeToMount, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err == nil {
			f, err = confine(fd, "the overlay", a)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return t.add(f, "", a.write), nil
}
