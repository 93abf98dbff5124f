package rootfs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mount makes one of the spec's mounts.
func (r *Root) mount(i int, m *specs.Mount) error {
	o := mountoption.Parse(m.Options)
	o.Bind = o.Bind || m.Type == "bind"
	dest := cleanPath(m.Destination)
	if dest == "/" && !o.Remount {
		return errors.New("it would cover the root: say in root.path what the root is")
	}
	if o.CopyUp && (o.Bind || m.Type != "tmpfs") {
		return errors.New("option tmpcopyup: only a tmpfs is filled with what it covers")
	}
	if isMapped(m, &o) && (!o.Bind || o.Remount) {
		return errors.New("only a new bind mount can be ID-mapped: leave out idmap, uidMappings and gidMappings, or make it one")
	}
	switch {
	case o.Remount:
		return r.remount(dest, m, &o)
	case o.Bind:
		return r.bind(i, dest, m, &o)
	case m.Type == "":
		return errors.New("it has no type: name the file system, or add the option bind or rbind")
	case m.Type == "cgroup":
		return r.mountCgroup(dest, &o)
	case m.Type == "sysfs":
		return r.mountSysfs(dest, m, &o)
	}
	return r.create(dest, m, &o)
}

// isMapped reports whether a mount's IDs are to be mapped.
func isMapped(m *specs.Mount, o *mountoption.Options) bool {
	return o.IDMap || len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0
}

// bind makes a bind mount.
func (r *Root) bind(i int, dest string, m *specs.Mount, o *mountoption.Options) error {
	donated := r.cfg.Sources[i]
	if donated != nil && !isMapped(m, o) {
		// What was mounted before the user namespace has its attributes locked
		// in this mount namespace, but not if it was donated: then a container
		// could write to what the host has mounted read-only.
		if fd, ok := openSame(hostPath(r.cfg.Bundle, m.Source), donated); ok {
			err := r.bindSource(source{fd: fd, recursive: o.Recursive}, dest, m, o)
			unix.Close(fd)
			if !errors.Is(err, unix.EINVAL) {
				return err
			}
			// What is below must not be uncovered, and need not be by the parent.
		}
	}
	if donated != nil {
		return r.bindSource(source{fd: int(donated.Fd()), detached: true}, dest, m, o)
	}
	if isMapped(m, o) {
		return errors.New("an ID-mapped mount must be made by the runtime outside the container, and was not")
	}
	fd, err := openSource(r.cfg.Bundle, m.Source)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return r.bindSource(source{fd: fd, recursive: o.Recursive}, dest, m, o)
}

// openSame opens what a donated mount is a copy of, if it is in reach and the
// same still.
func openSame(name string, donated *os.File) (int, bool) {
	fd, err := unix.Open(name, pathFlags, 0)
	if err != nil {
		return -1, false
	}
	if same, err := sameFile(fd, int(donated.Fd())); err != nil || !same {
		unix.Close(fd)
		return -1, false
	}
	return fd, true
}

// sameFile reports whether two descriptors are of one file.
func sameFile(a, b int) (bool, error) {
	var x, y unix.Stat_t
	err := errors.Join(unix.Fstat(a, &x), unix.Fstat(b, &y))
	return x.Dev == y.Dev && x.Ino == y.Ino, err
}

// bindSource binds one of the spec's sources.
func (r *Root) bindSource(s source, dest string, m *specs.Mount, o *mountoption.Options) error {
	isProc, err := isProcRoot(s.fd)
	if err != nil {
		return err
	}
	if err := checkOverProc(dest, isProc); err != nil {
		return err
	}
	fd, err := r.bindTo(s, dest, true, &o.Attributes)
	if err != nil {
		return fmt.Errorf("binding %s: %w", m.Source, err)
	}
	return r.keep(dest, fd)
}

// bindTo binds a source to a path in the container, made if it is missing.
func (r *Root) bindTo(s source, dest string, links linked, a *mountoption.Attributes) (int, error) {
	dir, err := isDir(s.fd)
	if err != nil {
		return -1, err
	}
	at, err := r.place(dest, dir, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at.fd)
	return r.mounter.bind(s, at, a)
}

// openSource opens what is bind-mounted, a path on the host or in the bundle.
func openSource(bundle, name string) (int, error) {
	if name == "" {
		return -1, errors.New("it has no source: name what is bound")
	}
	name = hostPath(bundle, name)
	fd, err := unix.Open(name, pathFlags, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the source %s: %w", name, because(err,
			cure{unix.ENOENT, "it must exist on the host: make it, or correct the path"},
			cure{unix.EACCES, "the user that the container's root is on the host may not go there"}))
	}
	return fd, nil
}

// create mounts a new file system.
func (r *Root) create(dest string, m *specs.Mount, o *mountoption.Options) error {
	if err := checkOverProc(dest, m.Type == "proc"); err != nil {
		return err
	}
	// What a link leads to instead of /proc could be made to look like it
	// later, when the runtime and the container rely on it.
	at, err := r.place(dest, true, m.Type != "proc" && m.Type != "sysfs")
	if err != nil {
		return err
	}
	defer unix.Close(at.fd)
	fs := filesystem{kind: m.Type, source: m.Source, super: o.Super, data: o.Data}
	var fill func(root int) error
	if m.Type == "tmpfs" {
		if fs.data, err = keepMode(at.fd, fs.data); err != nil {
			return err
		}
		if o.CopyUp {
			fill = func(root int) error { return copyUp(at.fd, root) }
		}
	}
	fs.data = r.label(&fs)
	a := o.Alone()
	late := a.Set&unix.MOUNT_ATTR_RDONLY != 0 && (m.Type == "tmpfs" || dest == "/dev")
	if late {
		a.Set &^= unix.MOUNT_ATTR_RDONLY
	} else if a.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		fs.super |= unix.MS_RDONLY
	}
	fd, err := r.mounter.create(&fs, at, &a, fill)
	if err != nil {
		return fmt.Errorf("mounting a file system of type %s: %w", m.Type, err)
	}
	if m.Type == "mqueue" {
		if err := r.labelFile(fd); err != nil {
			return closeIf(fd, err)
		}
	}
	if late {
		r.late = append(r.late, lateReadonly{fd: fd, name: dest})
		return nil
	}
	return r.keep(dest, fd)
}

// mountSysfs mounts sysfs, which shows a network namespace and can be mounted
// by its owner only. In a user namespace without a network namespace of its
// own, the container shares the host's anyway, and is shown the host's sysfs,
// read-only.
func (r *Root) mountSysfs(dest string, m *specs.Mount, o *mountoption.Options) error {
	err := r.create(dest, m, o)
	if !errors.Is(err, unix.EPERM) || !hasNamespace(r.cfg.Spec, specs.UserNamespace) {
		return err
	}
	fd, err := openSource("", "/sys")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ok, err := isOn(fd, unix.SYSFS_MAGIC); err != nil || !ok {
		return errors.Join(err, errors.New("a user namespace that does not own its network namespace cannot mount sysfs, and the host's /sys is none: add a network namespace, or leave this mount out"))
	}
	a := mountoption.Attributes{RecursiveSet: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	mount, err := r.bindTo(source{fd: fd, recursive: true}, dest, false, &a)
	if err != nil {
		return fmt.Errorf("binding the host's /sys, for lack of a network namespace: %w", err)
	}
	return r.keep(dest, mount)
}

// remount changes a mount that is there.
func (r *Root) remount(dest string, m *specs.Mount, o *mountoption.Options) error {
	// A link could lead to a mount of the host's file systems, whose options
	// are the host's too.
	fd, err := lookup(r.fd, dest, pathFlags, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return fmt.Errorf("finding what to remount: %w", because(err, cure{unix.ELOOP, "no symbolic link may lead there"}))
	}
	defer unix.Close(fd)
	_, isRoot, err := mountOf(fd)
	if err != nil {
		return err
	}
	if !isRoot {
		return errors.New("remounting it: nothing is mounted there: leave out the option remount, or list the mount before")
	}
	a := o.Attributes
	if !o.Bind {
		if err := remount(fd, &filesystem{kind: m.Type, source: m.Source, super: o.Super, data: o.Data}, &a); err != nil {
			return fmt.Errorf("remounting it: %w", err)
		}
		a.Set, a.Clear = 0, 0
	}
	return r.mounter.change(fd, &a)
}

// keepMode gives a tmpfs the mode of the directory that it covers, unless the
// options give it one.
func keepMode(covered int, data []string) ([]string, error) {
	if mountoption.HasKey(data, "mode") {
		return data, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(covered, &st); err != nil {
		return nil, err
	}
	return append(data[:len(data):len(data)], fmt.Sprintf("mode=%o", st.Mode&0o7777)), nil
}

// mountLabel is the spec's label for mounts (linux.mountLabel). Where SELinux is
// off nobody asks for labels, and most file systems refuse them: then there is
// none, with a warning. A label for the process, which is a wall, is refused
// there (package identity).
func mountLabel(linux *specs.Linux) string {
	label := linux.MountLabel
	if label == "" {
		return ""
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/selinux", &st); err != nil || int64(st.Type) != unix.SELINUX_MAGIC {
		slog.Warn("linux.mountLabel is left out: SELinux is not enabled on this host", "label", label)
		return ""
	}
	return label
}

// label adds the spec's label (linux.mountLabel) to a file system's options.
// Files of procfs and sysfs have labels of their own, and so have message
// queues, whose root alone is labelled, by labelFile.
func (r *Root) label(fs *filesystem) []string {
	label := r.mountLabel
	switch fs.kind {
	case "proc", "sysfs", "mqueue":
		return fs.data
	}
	if label == "" || mountoption.HasKey(fs.data, "context") {
		return fs.data
	}
	return append(fs.data[:len(fs.data):len(fs.data)], `context="`+label+`"`)
}

// labelFile gives a directory the spec's label.
func (r *Root) labelFile(fd int) error {
	label := r.mountLabel
	if label == "" {
		return nil
	}
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Fsetxattr(dir, "security.selinux", []byte(label), 0); err != nil {
		return fmt.Errorf("giving it the label %q of linux.mountLabel: %w", label, err)
	}
	return nil
}
