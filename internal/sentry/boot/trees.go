package boot

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// confineTree replaces a donated directory by a mount of its own of the same
// tree, in no mount namespace. So the host itself keeps the sentry from
// writing where nothing is bound to be written, from using devices, and from
// climbing out of the tree by "..": what hostfs never does, and a sentry that
// a guest has taken over would.
//
// The descriptor was opened in the mount namespace of who donated it, of which
// no mount can be made here. So the directory is looked up again among the
// sentry's own mounts, and taken only if it is the very same.
func confineTree(fd int, write bool) error {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return fmt.Errorf("finding donated directory %d: %w", fd, err)
	}
	own, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("finding %s among the sentry's mounts: %w", name, err)
	}
	defer unix.Close(own)
	if same, err := sameFile(fd, own); err != nil {
		return fmt.Errorf("examining %s: %w", name, err)
	} else if !same {
		return fmt.Errorf("%s was replaced while the sandbox started", name)
	}
	tree, err := unix.OpenTree(own, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a mount of %s: %w", name, err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if !write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("restricting the mount of %s (Linux 5.12 or later can): %w", name, err)
	}
	if err := unix.Dup3(tree, fd, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("replacing donated directory %d: %w", fd, err)
	}
	return nil
}

// confineTrees confines all directories that a sandbox is given.
func confineTrees(box *Sandbox) error {
	if err := confineTree(box.Root, false); err != nil {
		return err
	}
	for _, m := range box.Mounts {
		if err := confineTree(m.FD, m.Write && !m.Overlay); err != nil {
			return err
		}
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
