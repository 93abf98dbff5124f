package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"coffer/internal/oci/mountoption"

	"golang.org/x/sys/unix"
)

// byDescriptor makes mounts detached from any place, complete with their
// attributes, and moves them to their place as the last thing: nobody ever
// sees them unfinished.
type byDescriptor struct{ byName byName }

func (*byDescriptor) bind(source source, at place, a *mountoption.Attributes) (int, error) {
	var tree int
	var err error
	if source.detached {
		tree, err = unix.FcntlInt(uintptr(source.fd), unix.F_DUPFD_CLOEXEC, 0)
	} else {
		tree, err = cloneTree(source.fd, "", source.recursive)
	}
	if err != nil {
		return -1, err
	}
	return finish(tree, at, a)
}

func (m *byDescriptor) create(fs *filesystem, at place, a *mountoption.Attributes, fill func(root int) error) (int, error) {
	if !fs.byDescriptors() {
		return m.byName.create(fs, at, a, fill)
	}
	tree, err := fs.mount(a.Set)
	if err != nil {
		return -1, err
	}
	if fill != nil {
		if err := fill(tree); err != nil {
			unix.Close(tree)
			return -1, err
		}
	}
	rest := *a
	rest.Set, rest.Clear = 0, 0
	return finish(tree, at, &rest)
}

func (*byDescriptor) change(fd int, a *mountoption.Attributes) error { return setAttributes(fd, a) }

// finish gives a detached mount its attributes and puts it in its place. It
// closes the mount if it fails.
func finish(tree int, at place, a *mountoption.Attributes) (int, error) {
	err := setAttributes(tree, a)
	if err == nil {
		err = attach(tree, at.fd)
	}
	if err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// attach puts a detached mount on a file.
func attach(tree, at int) error {
	err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("putting the mount in its place: %w", because(err, attachCures...))
	}
	return nil
}

// cloneTree makes a detached copy of the mount that a file lies in, with the
// file as its root, and with all mounts below if recursive. An empty name
// means dir itself.
func cloneTree(dir int, name string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(dir, name, flags)
	if err != nil {
		return -1, fmt.Errorf("copying its mount: %w", because(err, cloneCures...))
	}
	return fd, nil
}

// setAttributes changes a mount, and those below it where a says so.
func setAttributes(fd int, a *mountoption.Attributes) error {
	set := func(flags uint, attr unix.MountAttr) error {
		if attr.Attr_set == 0 && attr.Attr_clr == 0 && attr.Propagation == 0 {
			return nil
		}
		return unix.MountSetattr(fd, "", flags|unix.AT_EMPTY_PATH, &attr)
	}
	if err := set(0, unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear}); err != nil {
		return fmt.Errorf("setting the mount's attributes: %w", because(err, changeCures...))
	}
	if err := set(unix.AT_RECURSIVE, unix.MountAttr{Attr_set: a.RecursiveSet, Attr_clr: a.RecursiveClear}); err != nil {
		return fmt.Errorf("setting attributes of all mounts below: %w", because(err, changeCures...))
	}
	for _, p := range a.Propagation {
		flags := uint(0)
		if p&unix.MS_REC != 0 {
			flags = unix.AT_RECURSIVE
		}
		if err := set(flags, unix.MountAttr{Propagation: uint64(p &^ unix.MS_REC)}); err != nil {
			return fmt.Errorf("setting the mount's propagation: %w", err)
		}
	}
	return nil
}

// superKeys is the name that fsconfig(2) has for each flag of a file system.
var superKeys = []struct {
	flag uintptr
	key  string
}{
	{unix.MS_RDONLY, "ro"},
	{unix.MS_SYNCHRONOUS, "sync"},
	{unix.MS_DIRSYNC, "dirsync"},
	{unix.MS_MANDLOCK, "mand"},
	{unix.MS_LAZYTIME, "lazytime"},
}

// maxValue is how long a value of fsconfig(2) may be; mount(2)'s options are
// together up to a page.
const maxValue = 255

// byDescriptors reports whether fsopen(2) can make the file system: it knows
// no subtypes (fuse.NAME), not all flags and no long values.
func (fs *filesystem) byDescriptors() bool {
	rest := fs.super
	for _, row := range superKeys {
		rest &^= row.flag
	}
	for _, d := range fs.data {
		if _, value, _ := strings.Cut(d, "="); len(value) > maxValue {
			return false
		}
	}
	return rest == 0 && len(fs.source) <= maxValue && !strings.Contains(fs.kind, ".")
}

// mount makes a detached mount of a new file system, with the attributes set.
func (fs *filesystem) mount(set uint64) (int, error) {
	ctx, err := unix.Fsopen(fs.kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, because(err, fs.cures()...)
	}
	defer unix.Close(ctx)
	if err := fs.configure(ctx); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, because(contextError(ctx, err), fs.cures()...)
	}
	tree, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, int(set))
	if err != nil {
		return -1, because(contextError(ctx, err), fs.cures()...)
	}
	return tree, nil
}

// configure gives a file system context all options.
func (fs *filesystem) configure(ctx int) error {
	if fs.source != "" {
		if err := unix.FsconfigSetString(ctx, "source", fs.source); err != nil {
			return fmt.Errorf("source %q: %w", fs.source, contextError(ctx, err))
		}
	}
	for _, row := range superKeys {
		if fs.super&row.flag == 0 {
			continue
		}
		if err := unix.FsconfigSetFlag(ctx, row.key); err != nil {
			return fmt.Errorf("option %q: %w", row.key, contextError(ctx, err))
		}
	}
	for _, d := range fs.data {
		var err error
		if key, value, ok := strings.Cut(d, "="); ok {
			// Quotes are for the commas within, which divide nothing here.
			err = unix.FsconfigSetString(ctx, key, strings.Trim(value, `"`))
		} else {
			err = unix.FsconfigSetFlag(ctx, key)
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", d, because(contextError(ctx, err),
				cure{unix.EINVAL, "the file system does not know it, or not this value; an ID must be mapped in the user namespace"}))
		}
	}
	return nil
}

// contextError adds to an error what the kernel says about it: the messages
// that it left in the context, each with a letter for its severity before it.
func contextError(ctx int, err error) error {
	var said []error
	buf := make([]byte, 1024)
	for range 8 {
		n, readErr := unix.Read(ctx, buf)
		if readErr != nil || n == 0 {
			break
		}
		if _, text, ok := bytes.Cut(bytes.TrimSpace(buf[:n]), []byte(" ")); ok {
			said = append(said, errors.New(string(text)))
		}
	}
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", err, errors.Join(said...))
}

// cures is what can be wrong when a file system is made.
func (fs *filesystem) cures() []cure {
	cures := []cure{
		{unix.ENODEV, fmt.Sprintf("the host's kernel has no file system %q: see /proc/filesystems", fs.kind)},
		{unix.EBUSY, "it is mounted with other options, or in use"},
		{unix.ENOTBLK, "its source is not a block device"},
		{unix.EINVAL, "one of its options is wrong, or two contradict each other: dmesg may say which"},
	}
	switch fs.kind {
	case "proc":
		return append(cures, cure{unix.EPERM, "in a user namespace a proc file system can be mounted with a new PID namespace only, and if the host's own /proc has nothing mounted over it: add a PID namespace, or bind /proc with rbind"})
	case "mqueue":
		return append(cures, cure{unix.EPERM, "in a user namespace it can be mounted with a new IPC namespace only"})
	}
	return append(cures, cure{unix.EPERM, "in a user namespace only some file systems can be mounted: bind what is mounted already"})
}
