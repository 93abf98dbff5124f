package boot

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Donated directories become mounts of their own, in no mount namespace. So
// the host itself keeps the sentry from writing where nothing is bound to be
// written, from using devices, and from climbing out of a tree by "..": what
// hostfs never does, and a sentry that a guest has taken over would.

// confineTrees confines all directories and files that a sandbox is given.
func confineTrees(box *Sandbox) error {
	if f := box.Files; f != nil {
		return confineFiles(box.Root, f)
	}
	if err := confineTree(box.Root, false); err != nil {
		return err
	}
	for _, m := range box.Mounts {
		confine := func() error { return confineTree(m.FD, m.Write && !m.Overlay) }
		if m.Name != "" {
			confine = func() error { return confineFile(m.FD, m.Name, m.Write) }
		}
		if err := confine(); err != nil {
			return err
		}
	}
	return nil
}

// confineFiles confines the root and the trees of a container with Files, unless
// who donated them has done so.
func confineFiles(root int, f *Files) error {
	if f.Confined {
		return nil
	}
	if err := confineTree(root, !f.Readonly); err != nil {
		return err
	}
	for _, t := range f.Trees {
		confine := func() error { return confineTree(t.FD, t.Write) }
		if t.Name != "" {
			confine = func() error { return confineFile(t.FD, t.Name, t.Write) }
		}
		if err := confine(); err != nil {
			return err
		}
	}
	return nil
}

// confineTree replaces a donated directory by a mount of the same tree.
func confineTree(fd int, write bool) error {
	dir, err := findAgain(fd)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	tree, err := cloneMount(dir, write)
	if err != nil {
		return err
	}
	return replace(fd, tree)
}

// confineFile replaces a donated directory, of which one file is meant, by one
// that holds nothing but a mount of that file.
func confineFile(fd int, name string, write bool) error {
	dir, err := findAgain(fd)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	file, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("finding %s among the sentry's mounts: %w", name, err)
	}
	defer unix.Close(file)
	mount, err := cloneMount(file, write)
	if err != nil {
		return err
	}
	defer unix.Close(mount)

	// Any directory serves as the place to put them together, for a moment.
	const place = "/proc"
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("tmpfs", place, "tmpfs", flags, "nr_inodes=2,mode=755"); err != nil {
		return fmt.Errorf("mounting a directory for %s: %w", name, err)
	}
	defer unix.Unmount(place, unix.MNT_DETACH)
	at := place + "/" + name
	if err := unix.Mknod(at, unix.S_IFREG, 0); err != nil {
		return fmt.Errorf("making a place for %s: %w", name, err)
	}
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s: %w", name, err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, place, unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a mount of the directory for %s: %w", name, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(tree)
		return fmt.Errorf("making the directory for %s read-only: %w", name, err)
	}
	return replace(fd, tree)
}

// findAgain opens a donated directory among the sentry's own mounts. The
// descriptor was opened in the mount namespace of who donated it, of which no
// mount can be made here; so the directory is looked up again, and taken only
// if it is the very same.
func findAgain(fd int) (int, error) {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return -1, fmt.Errorf("finding donated directory %d: %w", fd, err)
	}
	dir, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("finding %s among the sentry's mounts: %w", name, err)
	}
	same, err := sameFile(fd, dir)
	if err != nil || !same {
		unix.Close(dir)
	}
	switch {
	case err != nil:
		return -1, fmt.Errorf("examining %s: %w", name, err)
	case !same:
		return -1, fmt.Errorf("%s was replaced while the sandbox started", name)
	}
	return dir, nil
}

// cloneMount makes a mount of what fd is, and of all that is mounted below it.
func cloneMount(fd int, write bool) (int, error) {
	tree, err := unix.OpenTree(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("making a mount of what was donated: %w", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if !write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(tree)
		return -1, fmt.Errorf("restricting the mount of what was donated (Linux 5.12 or later can): %w", err)
	}
	return tree, nil
}

// replace puts a descriptor in a donated one's place.
func replace(fd, by int) error {
	defer unix.Close(by)
	if err := unix.Dup3(by, fd, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("replacing donated directory %d: %w", fd, err)
	}
	return nil
}

// sameFile reports whether two descriptors are of one file.
func sameFile(a, b int) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Fstat(a, &x); err != nil {
		return false, err
	}
	if err := unix.Fstat(b, &y); err != nil {
		return false, err
	}
	return x.Dev == y.Dev && x.Ino == y.Ino, nil
}
