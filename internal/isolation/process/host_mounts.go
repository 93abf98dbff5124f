package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container without a mount namespace of its own is in the host's, but not
// what is mounted in its root: that would have to be taken down again one by
// one, and until then everybody would see it. Init makes the root in a new
// mount namespace, goes back to the host's, and takes the root along by
// chroot(2). What keeps the new namespace, and with it the mounts, is a mount
// of it in the container's directory, which goes in Destroy.

// mountsFile is where that is mounted.
const mountsFile = "mounts"

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

// keepMounts keeps the mount namespace of init.
func keepMounts(stateDir string, init isolation.PID) error {
	path := filepath.Join(stateDir, mountsFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err == nil {
		f.Close()
		err = unix.Mount(procPath(init.PID, "ns/mnt"), path, "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("keeping the container's mounts, by a mount at %s: %w", path, err)
	}
	return nil
}

// releaseMounts undoes keepMounts, if it was called.
func releaseMounts(stateDir string) error {
	path := filepath.Join(stateDir, mountsFile)
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	// EINVAL: there is the file, but nothing is mounted on it.
	if err != nil && err != unix.ENOENT && err != unix.EINVAL {
		return fmt.Errorf("giving up the container's mounts, at %s: %w", path, err)
	}
	return nil
}

// enterHostMounts goes to the caller's mount namespace, and takes the root
// along. It is the thread's alone, as are the root and the working directory
// from then on; and it is this thread that becomes the program.
func enterHostMounts(namespace *os.File) error {
	root, err := openPath("/")
	if err != nil {
		return err
	}
	defer root.Close()
	for _, step := range []func() error{
		func() error { return unix.Unshare(unix.CLONE_FS) },
		func() error { return unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS) },
		func() error { return unix.Fchdir(int(root.Fd())) },
		func() error { return unix.Chroot(".") },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("entering the host's mount namespace (linux.namespaces has none of the container's own): %w", err)
		}
	}
	return nil
}
