package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container without a mount namespace of its own is in the host's, and so are
// the mounts in its root. Init makes the root in a new mount namespace all the
// same, goes to the host's namespace, and mounts a copy of the whole tree there,
// in the container's own directory, where only root gets to it and Destroy can
// take it down at once. That is its root from then on, by chroot(2).

// mountsDir is where in the container's directory the tree is mounted. It is a
// mount of its own, which is private: nothing of it spreads to other namespaces.
const mountsDir = "mounts"

// usesHostMounts reports whether the container is in the caller's mount
// namespace.
func usesHostMounts(spec *specs.Spec) bool { return !hasNamespace(spec, specs.MountNamespace) }

// checkMounts refuses to share mounts in ways that Linux does not allow.
func checkMounts(spec *specs.Spec) error {
	if usesHostMounts(spec) && hasNamespace(spec, specs.UserNamespace) {
		return errors.New(`linux.namespaces: with a user namespace, the host's mount namespace can't be used: add {"type": "mount"}`)
	}
	for i, ns := range spec.Linux.Namespaces {
		if ns.Type != specs.MountNamespace || ns.Path == "" {
			continue
		}
		var theirs, ours unix.Stat_t
		if unix.Stat(ns.Path, &theirs) == nil && unix.Stat("/proc/self/ns/mnt", &ours) == nil && theirs.Ino == ours.Ino && theirs.Dev == ours.Dev {
			return fmt.Errorf("linux.namespaces[%d]: %s is the host's mount namespace, which the container's mounts would change: leave the mount namespace out to share the host's", i, ns.Path)
		}
	}
	return nil
}

// hostMounts is what init needs to be in the host's mount namespace.
type hostMounts struct {
	// namespace is the host's, and place the directory where the root goes.
	namespace, place *os.File
}

// openHostMounts prepares the container's directory.
func openHostMounts(stateDir string) (h hostMounts, err error) {
	dir := filepath.Join(stateDir, mountsDir)
	place := filepath.Join(dir, "root")
	for _, step := range []func() error{
		func() error { return os.Mkdir(dir, 0o700) },
		func() error {
			return unix.Mount("coffer", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=4k")
		},
		func() error { return unix.Mount("", dir, "", unix.MS_PRIVATE, "") },
		func() error { return os.Mkdir(place, 0o700) },
		func() (err error) { h.place, err = openPath(place); return err },
		func() (err error) { h.namespace, err = os.Open("/proc/self/ns/mnt"); return err },
	} {
		if err := step(); err != nil {
			return h, fmt.Errorf("preparing %s for the container's mounts: %w", dir, err)
		}
	}
	return h, nil
}

// releaseMounts takes down the container's mounts in the host's namespace, if
// it has any.
func releaseMounts(stateDir string) error {
	dir := filepath.Join(stateDir, mountsDir)
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	// EINVAL: there is the directory, but nothing is mounted on it.
	if err != nil && err != unix.ENOENT && err != unix.EINVAL {
		return fmt.Errorf("taking down the container's mounts in %s: %w", dir, err)
	}
	return nil
}

// enter goes to the host's mount namespace, and takes the root along. It is the
// thread's alone, as are the root and the working directory from then on; and it
// is this thread that becomes the program.
func (h hostMounts) enter() error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("copying the container's mounts: %w", err)
	}
	defer unix.Close(tree)
	for _, step := range []func() error{
		func() error { return unix.Unshare(unix.CLONE_FS) },
		func() error { return unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNS) },
		func() error {
			return unix.MoveMount(tree, "", int(h.place.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		},
		func() error { return unix.Fchdir(tree) },
		func() error { return unix.Chroot(".") },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("taking the container's mounts to the host's mount namespace (linux.namespaces has none of the container's own): %w", err)
		}
	}
	h.close()
	return nil
}

func (h hostMounts) close() {
	h.namespace.Close()
	h.place.Close()
}
