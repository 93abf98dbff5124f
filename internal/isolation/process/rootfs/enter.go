package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// inChroot is why no mount is found at the root.
const inChroot = "/ is not a mount point: Coffer was started in a chroot(2); bind-mount its root on itself"

// isolatePropagation sees to it that what is mounted here stays here. In a
// new mount namespace all mounts are still peers of the host's.
func (r *Root) isolatePropagation() error {
	a := mountoption.Attributes{Propagation: []uint{unix.MS_SLAVE | unix.MS_REC}}
	p, err := rootPropagation(r.linux)
	switch {
	case err != nil:
		return err
	case p&unix.MS_SHARED != 0:
		// Then the spec's bind mounts may stay peers of the host's (volumes that
		// a container mounts things in, for others), which they could not be of
		// slaves. mountRoot isolates the root by itself.
		return nil
	case p&(unix.MS_PRIVATE|unix.MS_UNBINDABLE) != 0:
		// What is unbindable could not be copied; Finish sets it.
		a.Propagation[0] = unix.MS_PRIVATE | unix.MS_REC
	}
	fd, err := unix.Open("/", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := r.mounter.change(fd, &a); err != nil {
		return fmt.Errorf("keeping the container's mounts from the host: %w", because(err,
			cure{unix.EPERM, "this needs CAP_SYS_ADMIN in the mount namespace's user namespace"},
			cure{unix.EINVAL, inChroot}))
	}
	return nil
}

// rootPropagation is linux.rootfsPropagation, 0 if it is not given.
func rootPropagation(linux *specs.Linux) (uint, error) {
	name := linux.RootfsPropagation
	if name == "" {
		return 0, nil
	}
	p, ok := mountoption.Propagation(name)
	if !ok {
		return 0, fmt.Errorf("linux.rootfsPropagation %q: it is private, shared, slave or unbindable", name)
	}
	return p, nil
}

// mountRoot makes the container's root a mount of its own, on itself where
// hooks look for it. A root that the parent has opened, since init may not go
// there, is mounted on / else, where nobody looks; but not for moveRoot, which
// tells the old root's mounts from the new one's by their paths.
func (r *Root) mountRoot() error {
	name := hostPath(r.cfg.Bundle, r.cfg.Spec.Root.Path)
	at, err := unix.Open(name, pathFlags|unix.O_DIRECTORY, 0)
	s := source{fd: at, recursive: true}
	donated := r.cfg.Sources[RootSource]
	if donated != nil && !r.cfg.NoPivot && (err == unix.EACCES || err == unix.ENOENT) {
		s = source{fd: int(donated.Fd()), detached: true}
		name = "/"
		at, err = unix.Open(name, pathFlags|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return because(err,
			cure{unix.ENOENT, "it must exist in the bundle"},
			cure{unix.ENOTDIR, "it must be a directory"},
			cure{unix.EACCES, "the user that the container's root is on the host may not go there"})
	}
	defer unix.Close(at)
	var a mountoption.Attributes
	p, err := rootPropagation(r.linux)
	if err != nil {
		return err
	}
	if p&unix.MS_SHARED != 0 {
		if err := r.privateMountOf(at); err != nil {
			return fmt.Errorf("keeping what is mounted on it from the host: %w", err)
		}
		a.Propagation = []uint{unix.MS_PRIVATE | unix.MS_REC}
	}
	again := func() (int, error) { return unix.Open(name, pathFlags|unix.O_DIRECTORY, 0) }
	r.fd, err = r.mounter.bind(s, place{fd: at, again: again}, &a)
	return err
}

// privateMountOf makes the mount that a directory lies in private, in this
// namespace.
func (r *Root) privateMountOf(dir int) error {
	fd, err := unix.Openat(dir, ".", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	for {
		_, isRoot, err := mountOf(fd)
		if err != nil {
			return err
		}
		if isRoot {
			return r.mounter.change(fd, &mountoption.Attributes{Propagation: []uint{unix.MS_PRIVATE}})
		}
		up, err := unix.Openat(fd, "..", pathFlags|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		same, err := sameFile(fd, up)
		if err == nil && same {
			err = fmt.Errorf("no mount contains it (%s)", inChroot)
		}
		if err != nil {
			return closeIf(up, err)
		}
		unix.Close(fd)
		fd = up
	}
}

// Enter makes the container's root the process's root and working directory,
// and drops the old one.
func (r *Root) Enter() error {
	if r.cfg.NoPivot {
		return r.moveRoot()
	}
	old, err := unix.Open("/", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("entering the root: opening the old one: %w", err)
	}
	defer unix.Close(old)
	if err := unix.Fchdir(r.fd); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	// The old root is put on top of the new one (pivot_root(2), NOTES), so no
	// directory is needed for it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("entering the root by pivot_root(2): %w", because(err,
			cure{unix.EINVAL, "the host's root is on the initial RAM file system, or shared: try --no-pivot"},
			cure{unix.EPERM, "this needs CAP_SYS_ADMIN in the mount namespace's user namespace"}))
	}
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	// Unmounting must not reach the host: neither its mounts, nor those that
	// the root's propagation has left as peers.
	if err := unix.Mount("", ".", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("leaving the old root: keeping that from the host: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	return nil
}

// moveRoot moves the root's mount over the old root's and makes it the
// process's root. The old root stays below, out of reach of paths; but since
// the kernel lets new proc and sysfs file systems be mounted in a user
// namespace only if there is one in sight that nothing covers, those of the
// host must not stay for a container to take as such.
func (r *Root) moveRoot() error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	inside, err := fdPath(r.fd)
	if err != nil {
		return err
	}
	// /proc comes last, since descriptors may be needed by name until then.
	slices.SortStableFunc(mounts, func(a, b mountInfo) int {
		switch {
		case a.point == "/proc" && b.point != "/proc":
			return 1
		case a.point != "/proc" && b.point == "/proc":
			return -1
		}
		return 0
	})
	for i := range mounts {
		m := &mounts[i]
		if m.kind != "proc" && m.kind != "sysfs" || m.root != "/" || isBelow(m.point, inside) {
			continue
		}
		if err := r.hide(m); err != nil {
			return fmt.Errorf("entering the root without pivot_root(2): hiding the host's %s: %w", m.point, err)
		}
	}
	if err := unix.Fchdir(r.fd); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	// Were it shared still, the host's root would be covered too.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("entering the root without pivot_root(2): keeping that from the host: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("entering the root without pivot_root(2): moving its mount: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("entering the root by chroot(2): %w", err)
	}
	return nil
}

// hide covers a proc or sysfs file system that is mounted at a point. (To
// unmount it would reach the host if what it is mounted on is shared.)
func (r *Root) hide(m *mountInfo) error {
	fd, err := unix.Open(m.point, pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == unix.ENOENT {
		return nil // It is out of sight, below something else.
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	magic := int64(unix.PROC_SUPER_MAGIC)
	if m.kind == "sysfs" {
		magic = unix.SYSFS_MAGIC
	}
	if on, err := isOn(fd, magic); err != nil || !on {
		return err
	}
	if err := r.privateMountOf(fd); err != nil {
		return err
	}
	fs := filesystem{kind: "tmpfs", source: "tmpfs", super: unix.MS_RDONLY, data: []string{"nr_blocks=1", "nr_inodes=1"}}
	again := func() (int, error) { return unix.Open(m.point, pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0) }
	mount, err := r.mounter.create(&fs, place{fd: fd, again: again}, &mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY}, nil)
	if err != nil {
		return err
	}
	return unix.Close(mount)
}

// isBelow reports whether an absolute path is top or below it.
func isBelow(name, top string) bool {
	rel, err := filepath.Rel(top, name)
	return err == nil && filepath.IsLocal(rel)
}
