package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostCgroups is where the host has its cgroup file systems, by systemd's
// convention, which is everybody's.
const hostCgroups = "/sys/fs/cgroup"

// mountCgroup mounts what a spec calls cgroup: the container's cgroups of
// whichever version the host has.
func (r *Root) mountCgroup(dest string, o *mountoption.Options) error {
	if err := checkOverProc(dest, false); err != nil {
		return err
	}
	host, err := unix.Open(hostCgroups, pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("finding the host's cgroups: %w", because(err, cure{unix.ENOENT, "the host has none mounted there: mount them, or leave this mount out"}))
	}
	defer unix.Close(host)
	unified, err := isOn(host, unix.CGROUP2_SUPER_MAGIC)
	if err != nil {
		return err
	}
	if unified {
		return r.mountCgroup2(dest, o)
	}
	return r.mountCgroup1(dest, o)
}

// mountCgroup2 mounts the one hierarchy of version 2. Its root is that of the
// process's cgroup namespace. A user namespace that shares the host's cgroup
// namespace may not mount it, and is shown what the host has mounted: the same.
func (r *Root) mountCgroup2(dest string, o *mountoption.Options) error {
	at, err := r.place(dest, true, true)
	if err != nil {
		return err
	}
	defer unix.Close(at.fd)
	fs := filesystem{kind: "cgroup2", source: "cgroup", super: o.Super, data: o.Data}
	a := o.Alone()
	fd, err := r.mounter.create(&fs, at, &a, nil)
	if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY)) && !hasNamespace(r.cfg.Spec, specs.CgroupNamespace) {
		fd, err = r.bindCgroup(hostCgroups, at, &o.Attributes)
	}
	if err != nil {
		return fmt.Errorf("mounting the cgroup file system: %w", because(err,
			cure{unix.EPERM, "the cgroup namespace belongs to another user namespace: let the container have a new one"}))
	}
	return unix.Close(fd)
}

// bindCgroup binds a directory of the host's cgroup file systems.
func (r *Root) bindCgroup(dir string, at place, a *mountoption.Attributes) (int, error) {
	fd, err := unix.Open(dir, pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the container's cgroup %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return r.mounter.bind(source{fd: fd, recursive: true}, at, a)
}

// mountCgroup1 makes a directory with one mount for each hierarchy of version
// 1 that the host has: with a cgroup namespace a new mount, else the
// directory of the process's own cgroup in the host's. Controllers that share
// a hierarchy have links to it of their own.
func (r *Root) mountCgroup1(dest string, o *mountoption.Options) error {
	hierarchies, err := readHierarchies()
	if err != nil {
		return err
	}
	at, err := r.place(dest, true, true)
	if err != nil {
		return err
	}
	defer unix.Close(at.fd)
	own := o.Alone()
	a := own
	a.Set &^= unix.MOUNT_ATTR_RDONLY
	fs := filesystem{kind: "tmpfs", source: "tmpfs", data: []string{"mode=755"}}
	fs.data = r.label(&fs)
	top, err := r.mounter.create(&fs, at, &a, nil)
	if err != nil {
		return fmt.Errorf("mounting a directory for the cgroup file systems: %w", err)
	}
	defer unix.Close(top)
	for _, h := range hierarchies {
		if err := r.mountHierarchy(top, h, &own); err != nil {
			return fmt.Errorf("the cgroup hierarchy %s: %w", h.name(), err)
		}
	}
	return r.mounter.change(top, &mountoption.Attributes{Set: own.Set & unix.MOUNT_ATTR_RDONLY})
}

// mountHierarchy mounts one hierarchy in a directory.
func (r *Root) mountHierarchy(top int, h hierarchy, a *mountoption.Attributes) error {
	name := h.name()
	if err := unix.Mkdirat(top, name, 0o755); err != nil {
		return err
	}
	again := func() (int, error) { return unix.Openat(top, name, pathFlags|unix.O_NOFOLLOW, 0) }
	fd, err := again()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at := place{fd: fd, again: again}
	var mount int
	if hasNamespace(r.cfg.Spec, specs.CgroupNamespace) {
		fs := filesystem{kind: "cgroup", source: "cgroup", data: h.controllers}
		if named, ok := strings.CutPrefix(h.controllers[0], "name="); ok {
			fs.data = []string{"none", "name=" + named}
		}
		mount, err = r.mounter.create(&fs, at, a, nil)
	} else {
		mount, err = r.bindCgroup(h.dir, at, a)
	}
	if err != nil {
		return err
	}
	unix.Close(mount)
	if len(h.controllers) == 1 {
		return nil
	}
	for _, c := range h.controllers {
		if err := unix.Symlinkat(name, top, c); err != nil {
			return fmt.Errorf("linking %s to it: %w", c, err)
		}
	}
	return nil
}

// hierarchy is a hierarchy of cgroups of version 1.
type hierarchy struct {
	controllers []string // at least one; name=NAME if it has only a name
	dir         string   // of the process's own cgroup in it, on the host
}

// name is the name that a hierarchy's directory has by convention.
func (h hierarchy) name() string {
	return strings.TrimPrefix(strings.Join(h.controllers, ","), "name=")
}

// readHierarchies finds the hierarchies that the host has mounted.
func readHierarchies() ([]hierarchy, error) {
	cgroups, err := readProc("thread-self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	return parseHierarchies(cgroups, mounts)
}

// parseHierarchies reads /proc/self/cgroup (cgroups(7)), and finds where among
// mounts the cgroups are.
func parseHierarchies(cgroups []byte, mounts []mountInfo) ([]hierarchy, error) {
	var list []hierarchy
	for line := range bytes.Lines(cgroups) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("/proc/self/cgroup: unexpected line %q", line)
		}
		if f[1] == "" {
			continue // version 2
		}
		h := hierarchy{controllers: strings.Split(f[1], ",")}
		// A hierarchy that has both is known by its controllers.
		if c := slices.DeleteFunc(slices.Clone(h.controllers), isNamed); len(c) > 0 {
			h.controllers = c
		}
		var ok bool
		if h.dir, ok = findCgroup(h.controllers, f[2], mounts); ok {
			list = append(list, h)
		}
	}
	return list, nil
}

func isNamed(controller string) bool { return strings.HasPrefix(controller, "name=") }

// findCgroup finds the directory of a cgroup among mounts.
func findCgroup(controllers []string, cgroup string, mounts []mountInfo) (string, bool) {
	for _, m := range mounts {
		super := strings.Split(m.super, ",")
		if m.kind != "cgroup" || !isBelow(m.point, hostCgroups) || slices.ContainsFunc(controllers, func(c string) bool { return !slices.Contains(super, c) }) {
			continue
		}
		// In a cgroup namespace the root of a mount from outside it is shown as
		// a way up, and is where the new mounts come from anyway.
		below, err := filepath.Rel(m.root, cgroup)
		if err != nil || !filepath.IsLocal(below) {
			below = "."
		}
		return path.Join(m.point, below), true
	}
	return "", false
}
