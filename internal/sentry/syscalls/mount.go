package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func mountRows() []Row {
	return []Row{
		full(155, "pivot_root", sysPivotRoot, P("new_root", PathStr), P("put_old", PathStr)),
		partial(165, "mount", sysMount, "MS_REMOUNT changes flags of the mount alone; devpts shows the same terminals wherever it is mounted",
			P("source", Str), P("target", PathStr), P("type", Str), PF("flags", Flags, mountFlags), P("data", Str)),
		full(166, "umount2", sysUmount2, P("target", PathStr), PF("flags", Flags, umountFlags)),
	}
}

var mountFlags = &FlagSet{Names: []FlagName{
	{unix.MS_RDONLY, "MS_RDONLY"}, {unix.MS_NOSUID, "MS_NOSUID"}, {unix.MS_NODEV, "MS_NODEV"}, {unix.MS_NOEXEC, "MS_NOEXEC"},
	{unix.MS_SYNCHRONOUS, "MS_SYNCHRONOUS"}, {unix.MS_REMOUNT, "MS_REMOUNT"}, {unix.MS_MANDLOCK, "MS_MANDLOCK"},
	{unix.MS_DIRSYNC, "MS_DIRSYNC"}, {unix.MS_NOSYMFOLLOW, "MS_NOSYMFOLLOW"}, {unix.MS_NOATIME, "MS_NOATIME"},
	{unix.MS_NODIRATIME, "MS_NODIRATIME"}, {unix.MS_BIND, "MS_BIND"}, {unix.MS_MOVE, "MS_MOVE"}, {unix.MS_REC, "MS_REC"},
	{unix.MS_SILENT, "MS_SILENT"}, {unix.MS_UNBINDABLE, "MS_UNBINDABLE"}, {unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_SLAVE, "MS_SLAVE"}, {unix.MS_SHARED, "MS_SHARED"}, {unix.MS_RELATIME, "MS_RELATIME"},
	{unix.MS_STRICTATIME, "MS_STRICTATIME"}, {unix.MS_LAZYTIME, "MS_LAZYTIME"},
}}

const umountNoFollow = 0x8 // UMOUNT_NOFOLLOW

var umountFlags = &FlagSet{Names: []FlagName{
	{unix.MNT_FORCE, "MNT_FORCE"}, {unix.MNT_DETACH, "MNT_DETACH"}, {unix.MNT_EXPIRE, "MNT_EXPIRE"}, {umountNoFollow, "UMOUNT_NOFOLLOW"},
}}

// mountMagic in the upper half of mount(2)'s flags is a relic to be ignored.
const mountMagic = 0xc0ed0000

const propagation = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE

// maxMountData is how much of mount(2)'s data is looked at: a page.
const maxMountData = 4096

// copyInOptional reads a string that may be NULL.
func copyInOptional(t *kernel.Task, addr uint64) (string, error) {
	if addr == 0 {
		return "", nil
	}
	s, err := t.CopyInString(addr, maxMountData)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	return s, err
}

// mayMount reports whether the task may change its mount namespace.
func mayMount(t *kernel.Task) bool {
	return t.Credentials().CanIn(t.Mounts().Owner(), unix.CAP_SYS_ADMIN)
}

func sysMount(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a[3]
	if flags&unix.MS_MGC_MSK == mountMagic {
		flags &^= unix.MS_MGC_MSK
	}
	fsType, err := copyInOptional(t, a[2])
	if err != nil {
		return 0, err
	}
	source, err := copyInOptional(t, a[0])
	if err != nil {
		return 0, err
	}
	at, err := resolveAt(t, unix.AT_FDCWD, a[1], 0)
	if err != nil {
		return 0, err
	}
	defer at.DecRef()
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	ns := t.FS().Mounts()
	switch {
	case flags&unix.MS_REMOUNT != 0:
		return 0, ns.Remount(at, flags)
	case flags&unix.MS_BIND != 0, flags&unix.MS_MOVE != 0:
		if source == "" {
			return 0, unix.EINVAL
		}
		from, err := resolve(t, unix.AT_FDCWD, source, 0)
		if err != nil {
			return 0, err
		}
		defer from.DecRef()
		if flags&unix.MS_BIND != 0 {
			return 0, ns.Bind(from, at, flags)
		}
		return 0, ns.Move(from, at)
	case flags&propagation != 0:
		return 0, changePropagation(t, at, flags)
	}
	return 0, newMount(t, at, fsType, source, flags, a[4])
}

// changePropagation makes a mount shared, private, a slave or unbindable.
func changePropagation(t *kernel.Task, at vfs.Path, flags uint64) error {
	kind := flags & propagation
	if flags&^(propagation|unix.MS_REC|unix.MS_SILENT) != 0 || kind&(kind-1) != 0 {
		return unix.EINVAL
	}
	return t.Mounts().SetPropagation(at, flags&^unix.MS_SILENT)
}

func newMount(t *kernel.Task, at vfs.Path, fsType, source string, flags, dataAddr uint64) error {
	if fsType == "" {
		return unix.EINVAL
	}
	data, err := copyInOptional(t, dataAddr)
	if err != nil {
		return err
	}
	fs, err := newFileSystem(t, fsType, vfs.MountRequest{Caller: t, Source: source, Flags: flags, Data: data})
	if err != nil {
		return err
	}
	if source == "" {
		source = "none"
	}
	return t.FS().Mounts().Mount(fs, at, flags, source)
}

// newFileSystem makes an instance of a type for who may mount. EPERM if more
// privileges are needed, or what is covered elsewhere would show.
func newFileSystem(t *kernel.Task, fsType string, r vfs.MountRequest) (vfs.FileSystem, error) {
	kind, subtype, err := vfs.FindFileSystemType(fsType)
	if err != nil {
		return nil, err
	}
	r.Subtype = subtype
	if c := t.Credentials(); !c.Can(unix.CAP_SYS_ADMIN) &&
		(!kind.Nested || kind.Revealing && !t.Mounts().Visible(kind.Name, r.Flags)) {
		return nil, unix.EPERM
	}
	return kind.Mount(r)
}

func sysUmount2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(1)
	if flags&^(unix.MNT_FORCE|unix.MNT_DETACH|unix.MNT_EXPIRE|umountNoFollow) != 0 ||
		flags&unix.MNT_EXPIRE != 0 && flags&(unix.MNT_FORCE|unix.MNT_DETACH) != 0 {
		return 0, unix.EINVAL
	}
	var at uint32
	if flags&umountNoFollow != 0 {
		at = unix.AT_SYMLINK_NOFOLLOW
	}
	p, err := resolveAt(t, unix.AT_FDCWD, a[0], at)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	return 0, t.FS().Mounts().Unmount(p, flags)
}

func sysPivotRoot(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	newRoot, err := resolveAt(t, unix.AT_FDCWD, a[0], 0)
	if err != nil {
		return 0, err
	}
	defer newRoot.DecRef()
	putOld, err := resolveAt(t, unix.AT_FDCWD, a[1], 0)
	if err != nil {
		return 0, err
	}
	defer putOld.DecRef()
	root := t.FS().Root()
	defer root.DecRef()
	if err := t.Mounts().PivotRoot(root, newRoot, putOld); err != nil {
		return 0, err
	}
	// Every task that was at the old root goes to the new one.
	for _, g := range t.Kernel().ThreadGroups() {
		for _, other := range g.Tasks() {
			if _, _, fs := other.Resources(); fs != nil && fs.Mounts() == t.FS().Mounts() {
				fs.ReplaceRoot(root, newRoot)
			}
		}
	}
	return 0, nil
}
