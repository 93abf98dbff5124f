package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"coffer/internal/oci/mountoption"

	"golang.org/x/sys/unix"
)

// Finish makes read-only what shall be, masks what shall not be read, and
// gives the root its propagation type. Nothing can be made in the container's
// read-only mounts after it.
func (r *Root) Finish() error {
	for _, l := range r.late {
		if err := r.mounter.change(l.fd, &mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("making the mount %s read-only: %w", l.name, err)
		}
	}
	for i, name := range r.linux.ReadonlyPaths {
		if err := r.readonlyPath(name); err != nil {
			return fmt.Errorf("linux.readonlyPaths[%d] %q: %w", i, name, err)
		}
	}
	if err := r.mask(); err != nil {
		return err
	}
	if r.cfg.Spec.Root.Readonly {
		if err := r.mounter.change(r.fd, &mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("root.readonly: %w", err)
		}
	}
	p, err := rootPropagation(r.linux)
	if err != nil || p&^unix.MS_REC == 0 {
		return err
	}
	// mount(2) has a propagation type for the root alone, as rootfsPropagation
	// is; the r-variants are of those who write them there.
	if err := r.mounter.change(r.fd, &mountoption.Attributes{Propagation: []uint{p}}); err != nil {
		return fmt.Errorf("linux.rootfsPropagation: %w", err)
	}
	return nil
}

// existing opens a path that Finish changes, or returns -1 if there is none:
// specs list what some kernels have.
func (r *Root) existing(name string) (int, error) {
	fd, err := r.find(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return -1, nil
	}
	return fd, err
}

// find opens a path that Finish changes.
func (r *Root) find(name string) (int, error) {
	name = cleanPath(name)
	for dest, mount := range r.kernels {
		if below, ok := strings.CutPrefix(name, dest+"/"); ok {
			return lookup(mount, below, pathFlags, 0)
		}
	}
	return lookup(r.fd, name, pathFlags, 0)
}

// readonlyPath puts a read-only mount of a file on itself, and so of all that
// is mounted below where the host can do that.
func (r *Root) readonlyPath(name string) error {
	fd, err := r.existing(name)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	again := func() (int, error) { return r.find(name) }
	a := mountoption.Attributes{RecursiveSet: unix.MOUNT_ATTR_RDONLY}
	if _, ok := r.mounter.(byName); ok {
		a = mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY}
	}
	mount, err := r.mounter.bind(source{fd: fd, recursive: true}, place{fd: fd, again: again}, &a)
	if err != nil {
		return err
	}
	return unix.Close(mount)
}

// mask covers the paths of linux.maskedPaths: files with /dev/null,
// directories with an empty one. Each is mounted once, and copied from there
// for all others.
func (r *Root) mask() error {
	null, empty := -1, -1
	defer func() {
		unix.Close(null)
		unix.Close(empty)
	}()
	for i, name := range r.linux.MaskedPaths {
		if err := r.maskPath(name, &null, &empty); err != nil {
			return fmt.Errorf("linux.maskedPaths[%d] %q: %w", i, name, err)
		}
	}
	return nil
}

// maskPath covers one path. null and empty are what files and directories are
// covered with, -1 until one of them is needed.
func (r *Root) maskPath(name string, null, empty *int) error {
	fd, err := r.existing(name)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	dir, err := isDir(fd)
	if err != nil {
		return err
	}
	at := place{fd: fd, again: func() (int, error) { return r.find(name) }}
	if !dir {
		if *null < 0 {
			if *null, err = r.nullDevice(); err != nil {
				return err
			}
		}
		return r.cover(*null, at)
	}
	if *empty >= 0 {
		return r.cover(*empty, at)
	}
	// Nothing can be made in a file system of no blocks and one inode, even if
	// somebody had the right to make it writable.
	fs := filesystem{kind: "tmpfs", source: "tmpfs", super: unix.MS_RDONLY, data: []string{"nr_blocks=1", "nr_inodes=1"}}
	fs.data = r.label(&fs)
	*empty, err = r.mounter.create(&fs, at, &mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY}, nil)
	return err
}

// cover binds a mask on a place.
func (r *Root) cover(with int, at place) error {
	mount, err := r.mounter.bind(source{fd: with}, at, &mountoption.Attributes{})
	if err != nil {
		return err
	}
	return unix.Close(mount)
}

// nullDevice opens the container's /dev/null, and makes sure that it is that
// device: what else would cover a file could be read, or written to.
func (r *Root) nullDevice() (int, error) {
	const null = os.DevNull
	fd, err := lookup(r.fd, null, pathFlags, 0)
	if err == nil {
		err = closeIf(fd, checkDevice(fd, unix.S_IFCHR, unix.Mkdev(1, 3)))
	}
	if err != nil {
		return -1, fmt.Errorf("files are masked with %s of the container: %w (if a mount replaces /dev, it must have that device)", null, err)
	}
	return fd, nil
}
