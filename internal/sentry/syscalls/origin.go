package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// origin is where a path given by the guest is walked from, with the
// references that must be held meanwhile.
type origin struct {
	vfs.Origin
	// ns is the mount namespace to walk in.
	ns *vfs.MountNamespace
	d  *vfs.FileDescription
}

// originOf returns where path begins, for a call with a dirfd, which an
// absolute path does not look at. EBADF or ENOTDIR if path is relative and
// dirfd is not a directory.
func originOf(t *kernel.Task, dirfd int32, path string) (origin, error) {
	fs := t.FS()
	o := origin{ns: fs.Mounts()}
	if len(path) > 0 && path[0] == '/' {
		o.Root = fs.Root()
		return o, nil
	}
	if dirfd == unix.AT_FDCWD {
		o.Root, o.Start = fs.Root(), fs.Cwd()
		return o, nil
	}
	d, err := t.File(dirfd)
	if err != nil {
		return o, err
	}
	if path != "" && !(d.Path.Valid() && d.Path.IsDir()) {
		d.DecRef()
		return o, unix.ENOTDIR
	}
	if o.Start, err = d.Place(); err != nil {
		d.DecRef()
		return o, err
	}
	o.Root, o.d = fs.Root(), d
	return o, nil
}

func (o *origin) release() {
	o.Start.DecRef()
	o.Root.DecRef()
	if o.d != nil {
		o.d.DecRef()
	}
}

// resolve walks a path given by the guest. The caller drops the result's
// reference.
func resolve(t *kernel.Task, dirfd int32, path string, flags vfs.ResolveFlags) (vfs.Path, error) {
	o, err := originOf(t, dirfd, path)
	if err != nil {
		return vfs.Path{}, err
	}
	defer o.release()
	return o.ns.Resolve(t, o.Origin, path, flags)
}

// resolveAt reads a path from guest memory and walks it. at are AT_* flags:
// AT_EMPTY_PATH (with which the address may be NULL), AT_SYMLINK_NOFOLLOW.
func resolveAt(t *kernel.Task, dirfd int32, addr uint64, at uint32) (vfs.Path, error) {
	path, err := pathAt(t, addr, at)
	if err != nil {
		return vfs.Path{}, err
	}
	return resolve(t, dirfd, path, resolveFlags(at))
}

// pathStat is resolveAt for who only wants to know what is there.
func pathStat(t *kernel.Task, dirfd int32, addr uint64, at uint32) (vfs.Stat, error) {
	path, err := pathAt(t, addr, at)
	if err != nil {
		return vfs.Stat{}, err
	}
	o, err := originOf(t, dirfd, path)
	if err != nil {
		return vfs.Stat{}, err
	}
	defer o.release()
	return o.ns.Stat(t, o.Origin, path, resolveFlags(at))
}

func pathAt(t *kernel.Task, addr uint64, at uint32) (string, error) {
	if addr == 0 && at&unix.AT_EMPTY_PATH != 0 {
		return "", nil
	}
	return t.CopyInPath(addr)
}

func resolveFlags(at uint32) vfs.ResolveFlags {
	var f vfs.ResolveFlags
	if at&unix.AT_EMPTY_PATH != 0 {
		f |= vfs.EmptyPath
	}
	if at&unix.AT_SYMLINK_NOFOLLOW != 0 {
		f |= vfs.NoFollowLast
	}
	return f
}

// atPath calls f with the path at addr and where it begins.
func atPath(t *kernel.Task, dirfd int32, addr uint64, f func(o *origin, path string) error) (uintptr, error) {
	path, err := t.CopyInPath(addr)
	if err != nil {
		return 0, err
	}
	o, err := originOf(t, dirfd, path)
	if err != nil {
		return 0, err
	}
	defer o.release()
	return 0, f(&o, path)
}

// placeOf returns where descriptor fd leads, for calls on its inode. EBADF
// also for an O_PATH descriptor, unless those are allowed.
func placeOf(t *kernel.Task, fd int32, allowPath bool) (vfs.Path, error) {
	d, err := t.File(fd)
	if err != nil {
		return vfs.Path{}, err
	}
	defer d.DecRef()
	if !allowPath && d.Flags()&unix.O_PATH != 0 {
		return vfs.Path{}, unix.EBADF
	}
	return d.Place()
}

// Names of the AT_* flags.
var atFlagNames = &FlagSet{Names: []FlagName{
	{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}, {unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
	{unix.AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC"}, {unix.AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC"},
}}
