package syscalls

import (
	"coffer/internal/sentry/fs/inotify"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func inotifyRows() []Row {
	return []Row{
		full(253, "inotify_init", sysInotifyInit).returns(FD),
		full(294, "inotify_init1", sysInotifyInit1, PF("flags", Flags, inotifyInitFlags)).returns(FD),
		partial(254, "inotify_add_watch", sysInotifyAddWatch,
			"changes made on the host, or through another mount of the host's files, are not seen",
			P("fd", FD), P("pathname", PathStr), PF("mask", Flags, inotifyMask)),
		full(255, "inotify_rm_watch", sysInotifyRmWatch, P("fd", FD), P("wd", Dec)),
	}
}

var (
	inotifyInitFlags = &FlagSet{Names: []FlagName{
		{unix.IN_CLOEXEC, "IN_CLOEXEC"}, {unix.IN_NONBLOCK, "IN_NONBLOCK"},
	}}
	inotifyMask = &FlagSet{Names: []FlagName{
		{unix.IN_ALL_EVENTS, "IN_ALL_EVENTS"},
		{unix.IN_ACCESS, "IN_ACCESS"}, {unix.IN_MODIFY, "IN_MODIFY"}, {unix.IN_ATTRIB, "IN_ATTRIB"},
		{unix.IN_CLOSE_WRITE, "IN_CLOSE_WRITE"}, {unix.IN_CLOSE_NOWRITE, "IN_CLOSE_NOWRITE"},
		{unix.IN_OPEN, "IN_OPEN"}, {unix.IN_MOVED_FROM, "IN_MOVED_FROM"}, {unix.IN_MOVED_TO, "IN_MOVED_TO"},
		{unix.IN_CREATE, "IN_CREATE"}, {unix.IN_DELETE, "IN_DELETE"}, {unix.IN_DELETE_SELF, "IN_DELETE_SELF"},
		{unix.IN_MOVE_SELF, "IN_MOVE_SELF"}, {unix.IN_ONLYDIR, "IN_ONLYDIR"},
		{unix.IN_DONT_FOLLOW, "IN_DONT_FOLLOW"}, {unix.IN_EXCL_UNLINK, "IN_EXCL_UNLINK"},
		{unix.IN_MASK_CREATE, "IN_MASK_CREATE"}, {unix.IN_MASK_ADD, "IN_MASK_ADD"}, {unix.IN_ONESHOT, "IN_ONESHOT"},
	}}
)

// sysInotifyInit is inotify_init(2) without flags.
func sysInotifyInit(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return makeInotify(t, 0)
}

// makeInotify gives a new instance a descriptor.
func makeInotify(t *kernel.Task, flags uint32) (uintptr, error) {
	counts := t.Counts()
	d, err := inotify.New(flags, &counts.InotifyInstances, &counts.InotifyWatches)
	if err != nil {
		return 0, err
	}
	return installFile(t, d, flags&unix.IN_CLOEXEC != 0)
}

// sysInotifyInit1 is inotify_init1(2).
func sysInotifyInit1(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(0)
	if flags&^(unix.IN_CLOEXEC|unix.IN_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	return makeInotify(t, flags)
}

// inotifyFile returns the instance behind fd, and its description with a
// reference.
func inotifyFile(t *kernel.Task, fd int32) (*inotify.Instance, *vfs.FileDescription, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	in, ok := d.File.(*inotify.Instance)
	if !ok {
		d.DecRef()
		return nil, nil, unix.EINVAL
	}
	return in, d, nil
}

// sysInotifyAddWatch is inotify_add_watch(2).
func sysInotifyAddWatch(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const flags = unix.IN_DONT_FOLLOW | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD |
		unix.IN_MASK_CREATE | unix.IN_ONESHOT
	mask := a.Uint(2)
	if mask&(unix.IN_ALL_EVENTS|flags) == 0 ||
		mask&(unix.IN_MASK_ADD|unix.IN_MASK_CREATE) == unix.IN_MASK_ADD|unix.IN_MASK_CREATE {
		return 0, unix.EINVAL
	}
	in, d, err := inotifyFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	name, err := t.CopyInPath(a[1])
	if err != nil {
		return 0, err
	}
	var how vfs.ResolveFlags
	if mask&unix.IN_DONT_FOLLOW != 0 {
		how |= vfs.NoFollowLast
	}
	if mask&unix.IN_ONLYDIR != 0 {
		how |= vfs.WantDirectory
	}
	o := t.PathOrigin()
	path, err := t.Mounts().Resolve(t, o, name, how)
	o.Root.DecRef()
	o.Start.DecRef()
	if err != nil {
		return 0, err
	}
	if err := vfs.Access(t, path, unix.R_OK); err != nil {
		path.DecRef()
		return 0, err
	}
	wd, err := in.Add(path, mask)
	return uintptr(wd), err
}

// sysInotifyRmWatch is inotify_rm_watch(2).
func sysInotifyRmWatch(t *kernel.Task, a kernel.Args) (uintptr, error) {
	in, d, err := inotifyFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	return 0, in.Remove(a.Int(1))
}
