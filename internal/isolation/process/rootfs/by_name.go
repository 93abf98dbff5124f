package rootfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"coffer/internal/oci/mountoption"

	"golang.org/x/sys/unix"
)

// byName makes mounts with mount(2), which knows names only: a descriptor's
// name is its link in procfs. What it has mounted is looked up again to get at
// it, and must then be a mount that was not there before.
type byName struct{}

// attributeFlags is what mount(2) and statfs(2) call each attribute.
var attributeFlags = []struct {
	attribute uint64
	flag      uintptr
	stat      int64
}{
	{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY, unix.ST_RDONLY},
	{unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID, unix.ST_NOSUID},
	{unix.MOUNT_ATTR_NODEV, unix.MS_NODEV, unix.ST_NODEV},
	{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC, unix.ST_NOEXEC},
	{unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME, unix.ST_NOATIME},
	{unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME, unix.ST_NODIRATIME},
	{unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW, stNosymfollow},
	// statfs(2) shows neither this nor its absence; a remount that says
	// nothing of times of access leaves them as they are.
	{unix.MOUNT_ATTR_STRICTATIME, unix.MS_STRICTATIME, 0},
}

// stNosymfollow is ST_NOSYMFOLLOW of linux/statfs.h.
const stNosymfollow = 0x2000

// mountFlags translates attributes for mount(2).
func mountFlags(attributes uint64) uintptr {
	var flags uintptr
	for _, row := range attributeFlags {
		if attributes&row.attribute != 0 {
			flags |= row.flag
		}
	}
	return flags
}

func (m byName) bind(source source, at place, a *mountoption.Attributes) (int, error) {
	if source.detached {
		return -1, errors.New("binding a mount that the parent made: this host has no move_mount(2)")
	}
	flags := uintptr(unix.MS_BIND)
	if source.recursive {
		flags |= unix.MS_REC
	}
	err := withProc(func() error { return unix.Mount(fdName(source.fd), fdName(at.fd), "", flags, "") })
	if err != nil {
		return -1, because(err, append(slices.Clone(cloneCures), attachCures...)...)
	}
	fd, err := mounted(at)
	if err != nil {
		return -1, err
	}
	return fd, closeIf(fd, m.change(fd, a))
}

func (m byName) create(fs *filesystem, at place, a *mountoption.Attributes, fill func(root int) error) (int, error) {
	first, rest := a.Set, *a
	rest.Set, rest.Clear = 0, 0
	if fill != nil {
		first &^= unix.MOUNT_ATTR_RDONLY
		rest.Set = a.Set & unix.MOUNT_ATTR_RDONLY
	}
	err := withProc(func() error {
		return unix.Mount(fs.source, fdName(at.fd), fs.kind, fs.super|mountFlags(first), strings.Join(fs.data, ","))
	})
	if err != nil {
		return -1, because(err, append(fs.cures(), attachCures...)...)
	}
	fd, err := mounted(at)
	if err != nil {
		return -1, err
	}
	if fill != nil {
		if err := fill(fd); err != nil {
			return -1, closeIf(fd, err)
		}
	}
	return fd, closeIf(fd, m.change(fd, &rest))
}

func (byName) change(fd int, a *mountoption.Attributes) error {
	if a.RecursiveSet != 0 || a.RecursiveClear != 0 {
		return fmt.Errorf("setting attributes of all mounts below: %w (only mount_setattr(2) can: Linux 5.12 or later, and no seccomp filter that refuses it)", unix.ENOSYS)
	}
	if a.Set != 0 || a.Clear != 0 {
		flags, err := remountFlags(fd, a)
		if err != nil {
			return err
		}
		err = withProc(func() error { return unix.Mount("", fdName(fd), "", flags, "") })
		if err != nil {
			return fmt.Errorf("setting the mount's attributes: %w", because(err, changeCures...))
		}
	}
	for _, p := range a.Propagation {
		if err := withProc(func() error { return unix.Mount("", fdName(fd), "", uintptr(p), "") }); err != nil {
			return fmt.Errorf("setting the mount's propagation: %w", err)
		}
	}
	return nil
}

// remount gives the file system whose mount fd is other options too, which is
// the same call in both ways of mounting.
func remount(fd int, fs *filesystem, a *mountoption.Attributes) error {
	flags, err := remountFlags(fd, a)
	if err != nil {
		return err
	}
	err = withProc(func() error {
		return unix.Mount(fs.source, fdName(fd), fs.kind, flags&^unix.MS_BIND|fs.super, strings.Join(fs.data, ","))
	})
	return because(err,
		cure{unix.EPERM, "only who owns the file system may change its options: with bind,remount those of the mount alone are changed"},
		cure{unix.EINVAL, "the file system does not know one of the options, or cannot change it while mounted"},
		cure{unix.EBUSY, "files in it are open for writing"})
}

// remountFlags is the flags of a remount that changes attributes. It sets all
// anew, so those that the mount has and shall keep, locked ones among them,
// are named again.
func remountFlags(fd int, a *mountoption.Attributes) (uintptr, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, err
	}
	var has uint64
	for _, row := range attributeFlags {
		if st.Flags&row.stat != 0 {
			has |= row.attribute
		}
	}
	flags := mountFlags(has&^a.Clear | a.Set)
	if a.Clear&unix.MOUNT_ATTR__ATIME != 0 && a.Set&unix.MOUNT_ATTR__ATIME == unix.MOUNT_ATTR_RELATIME {
		flags |= unix.MS_RELATIME
	}
	return flags | unix.MS_REMOUNT | unix.MS_BIND, nil
}

// mounted opens the mount that has just been made at a place.
func mounted(at place) (int, error) {
	fd, err := at.again()
	if err != nil {
		return -1, fmt.Errorf("opening the new mount: %w", err)
	}
	before, _, err1 := mountOf(at.fd)
	after, isRoot, err2 := mountOf(fd)
	err = errors.Join(err1, err2)
	if err == nil && (!isRoot || before == after) {
		err = errors.New("something replaced the destination while it was mounted on: see that nothing else changes the container's files meanwhile")
	}
	return fd, closeIf(fd, err)
}

// closeIf closes fd if there is an error, and returns that.
func closeIf(fd int, err error) error {
	if err != nil {
		unix.Close(fd)
	}
	return err
}
