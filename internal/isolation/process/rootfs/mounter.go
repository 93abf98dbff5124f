package rootfs

import (
	"errors"

	"coffer/internal/oci/mountoption"

	"golang.org/x/sys/unix"
)

// mounter is one of the two ways in which Linux makes mounts: detached, by
// descriptors (Linux 5.12), and else by mount(2), in place. Each returns a
// descriptor of the mount that it has made, to be closed by the caller.
type mounter interface {
	// bind mounts the file that source is at a place.
	bind(source source, at place, a *mountoption.Attributes) (int, error)
	// create mounts a new file system at a place. Before it can be seen
	// there, fill is called with its root, unless fill is nil.
	create(fs *filesystem, at place, a *mountoption.Attributes, fill func(root int) error) (int, error)
	// change gives the mount whose root fd is other attributes.
	change(fd int, a *mountoption.Attributes) error
}

// source is what is bind-mounted.
type source struct {
	fd int // O_PATH
	// detached says that fd is a mount by itself, made for this; else a copy
	// is made of the mount that it lies in.
	detached bool
	// recursive copies what is mounted below too.
	recursive bool
}

// place is where something is mounted.
type place struct {
	fd int // O_PATH
	// again opens the place once more: what is mounted on it, if anything is.
	again func() (int, error)
}

// filesystem is a new file system to be mounted.
type filesystem struct {
	kind   string   // as in /proc/filesystems
	source string   // what mountinfo shows as its source
	super  uintptr  // MS_* of the file system
	data   []string // its own options
}

// newMounter finds out which way the host has.
func newMounter() mounter {
	// An empty change does nothing, but only where the system call is there
	// and no seccomp filter refuses it. It is the youngest of those needed.
	switch unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) {
	case unix.ENOSYS, unix.EPERM:
		return byName{}
	}
	return &byDescriptor{}
}

// isDir reports whether fd is a directory.
func isDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// mountOf returns the ID of the mount that fd lies in, and whether fd is its
// root.
func mountOf(fd int) (id uint64, isRoot bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, false, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return 0, false, errors.New("statx(2) tells nothing of mounts on this host: it must have Linux 5.8 or later")
	}
	return st.Mnt_id, st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// attachCures is what can be wrong when a mount is put in its place.
var attachCures = []cure{
	{unix.EINVAL, "the destination is not in the container's mount namespace, or its mount is shared and would take an unbindable one"},
	{unix.ENOSPC, "the mount namespace has as many mounts as /proc/sys/fs/mount-max allows"},
}

// cloneCures is what can be wrong when a mount is copied.
var cloneCures = []cure{
	{unix.ENOSYS, "this needs Linux 5.12 or later, and no seccomp filter that refuses open_tree(2)"},
	{unix.EPERM, "copying mounts needs CAP_SYS_ADMIN in the mount namespace: for what is ID-mapped or lies out of the container's reach, the runtime must be root on the host"},
	{unix.EINVAL, "its mount is unbindable; or other mounts that this user namespace must not uncover lie below it: bind it with rbind"},
	{unix.ENOSPC, "the mount namespace has as many mounts as /proc/sys/fs/mount-max allows"},
}

// changeCures is what can be wrong when attributes of a mount are changed.
var changeCures = []cure{
	{unix.EPERM, "the attribute is locked, as the mount comes from a more privileged user namespace: leave out options that lift what holds for the source, such as rw, suid, dev, exec or an atime one"},
	{unix.EINVAL, "the kernel does not know one of the attributes"},
}
