package syscalls

import (
	"strings"

	"coffer/internal/sentry/fs/fscontext"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func mountAPIRows() []Row {
	return []Row{
		full(unix.SYS_OPEN_TREE, "open_tree", sysOpenTree,
			P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, openTreeFlags)).returns(FD),
		partial(unix.SYS_MOVE_MOUNT, "move_mount", sysMoveMount, "MOVE_MOUNT_SET_GROUP and MOVE_MOUNT_BENEATH are EINVAL",
			P("from_dirfd", DirFD), P("from_path", PathStr), P("to_dirfd", DirFD), P("to_path", PathStr), PF("flags", Flags, moveMountFlags)),
		full(unix.SYS_FSOPEN, "fsopen", sysFsopen, P("type", Str), PF("flags", Flags, fsopenFlags)).returns(FD),
		partial(unix.SYS_FSCONFIG, "fsconfig", sysFsconfig,
			"parameters are checked by FSCONFIG_CMD_CREATE; those that are blobs, paths or descriptors are EINVAL; FSCONFIG_CMD_RECONFIGURE of a parameter is EOPNOTSUPP",
			P("fd", FD), PF("cmd", Enum, fsconfigCommands), P("key", Str), PD("value", fsconfigValue), P("aux", Dec)),
		full(unix.SYS_FSMOUNT, "fsmount", sysFsmount, P("fd", FD), PF("flags", Flags, fsmountFlags), PF("attr_flags", Flags, mountAttrs)).returns(FD),
		partial(unix.SYS_FSPICK, "fspick", sysFspick, "no file system has parameters that can be changed",
			P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, fspickFlags)).returns(FD),
		partial(unix.SYS_MOUNT_SETATTR, "mount_setattr", sysMountSetattr, "MOUNT_ATTR_IDMAP is EINVAL",
			P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, openTreeFlags), P("attr", MountAttr), P("size", Unsigned)),
	}
}

// Flags of the calls, which package unix has in part.
const (
	openTreeClone  = 1
	atRecursive    = 0x8000
	moveFSymlinks  = 0x1
	moveFEmptyPath = 0x4
	moveTSymlinks  = 0x10
	moveTEmptyPath = 0x40
	moveKnown      = 0x77
	cloexecFlag    = 1 // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC, FSPICK_CLOEXEC
	pickNoFollow   = 2
	pickNoAuto     = 4
	pickEmptyPath  = 8
)

var (
	openTreeFlags = &FlagSet{Names: []FlagName{{openTreeClone, "OPEN_TREE_CLONE"}, {unix.O_CLOEXEC, "OPEN_TREE_CLOEXEC"},
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
		{atRecursive, "AT_RECURSIVE"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}}}
	moveMountFlags = &FlagSet{Names: []FlagName{{moveFSymlinks, "MOVE_MOUNT_F_SYMLINKS"}, {2, "MOVE_MOUNT_F_AUTOMOUNTS"},
		{moveFEmptyPath, "MOVE_MOUNT_F_EMPTY_PATH"}, {moveTSymlinks, "MOVE_MOUNT_T_SYMLINKS"}, {0x20, "MOVE_MOUNT_T_AUTOMOUNTS"},
		{moveTEmptyPath, "MOVE_MOUNT_T_EMPTY_PATH"}, {0x100, "MOVE_MOUNT_SET_GROUP"}, {0x200, "MOVE_MOUNT_BENEATH"}}}
	fsopenFlags  = &FlagSet{Names: []FlagName{{cloexecFlag, "FSOPEN_CLOEXEC"}}}
	fsmountFlags = &FlagSet{Names: []FlagName{{cloexecFlag, "FSMOUNT_CLOEXEC"}}}
	fspickFlags  = &FlagSet{Names: []FlagName{{cloexecFlag, "FSPICK_CLOEXEC"}, {pickNoFollow, "FSPICK_SYMLINK_NOFOLLOW"},
		{pickNoAuto, "FSPICK_NO_AUTOMOUNT"}, {pickEmptyPath, "FSPICK_EMPTY_PATH"}}}
	mountAttrs = &FlagSet{Names: []FlagName{{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"}, {unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
		{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"}, {unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
		{unix.MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"}, {unix.MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"},
		{unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"}, {unix.MOUNT_ATTR_IDMAP, "MOUNT_ATTR_IDMAP"},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"}}}
)

// mountAttrLayout is that of struct mount_attr.
var mountAttrLayout = layout{size: mountAttrSize, fields: []field{
	{name: "attr_set", size: 8, kind: Flags, flags: mountAttrs},
	{name: "attr_clr", offset: 8, size: 8, kind: Flags, flags: mountAttrs},
	{name: "propagation", offset: 16, size: 8, kind: Flags, flags: mountFlags},
	{name: "userns_fd", offset: 24, size: 8},
}}

// fsconfigValue is fsconfig(2)'s value, which is a string for some commands.
func fsconfigValue(a kernel.Args) Param {
	switch a.Uint(1) {
	case fsconfigSetString, fsconfigSetPath, fsconfigSetPathEmpty:
		return isKind(Str)
	}
	return isKind(Addr)
}

// Commands of fsconfig(2).
const (
	fsconfigSetFlag = iota
	fsconfigSetString
	fsconfigSetBinary
	fsconfigSetPath
	fsconfigSetPathEmpty
	fsconfigSetFD
	fsconfigCreate
	fsconfigReconfigure
	fsconfigCreateExcl
)

var fsconfigCommands = &FlagSet{Values: []FlagName{{fsconfigSetFlag, "FSCONFIG_SET_FLAG"}, {fsconfigSetString, "FSCONFIG_SET_STRING"},
	{fsconfigSetBinary, "FSCONFIG_SET_BINARY"}, {fsconfigSetPath, "FSCONFIG_SET_PATH"}, {fsconfigSetPathEmpty, "FSCONFIG_SET_PATH_EMPTY"},
	{fsconfigSetFD, "FSCONFIG_SET_FD"}, {fsconfigCreate, "FSCONFIG_CMD_CREATE"}, {fsconfigReconfigure, "FSCONFIG_CMD_RECONFIGURE"},
	{fsconfigCreateExcl, "FSCONFIG_CMD_CREATE_EXCL"}}}

func sysOpenTree(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(2)
	const known = openTreeClone | unix.O_CLOEXEC | unix.AT_EMPTY_PATH | unix.AT_NO_AUTOMOUNT | atRecursive | unix.AT_SYMLINK_NOFOLLOW
	if flags&^uint32(known) != 0 || flags&(atRecursive|openTreeClone) == atRecursive {
		return 0, unix.EINVAL
	}
	clone := flags&openTreeClone != 0
	if clone && !mayMount(t) {
		return 0, unix.EPERM
	}
	p, err := resolveAt(t, a.Int(0), a[1], flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	var d *vfs.FileDescription
	if clone {
		d, err = t.Mounts().CopyTree(p, flags&atRecursive != 0)
	} else {
		d, err = t.Mounts().Open(t, p, unix.O_PATH)
	}
	if err != nil {
		return 0, err
	}
	return installFile(t, d, flags&unix.O_CLOEXEC != 0)
}

func sysMoveMount(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(4)
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	if flags&^uint32(moveKnown) != 0 {
		return 0, unix.EINVAL
	}
	at := func(symlinks, empty uint32) (at uint32) {
		if flags&symlinks == 0 {
			at |= unix.AT_SYMLINK_NOFOLLOW
		}
		if flags&empty != 0 {
			at |= unix.AT_EMPTY_PATH
		}
		return at
	}
	from, err := resolveAt(t, a.Int(0), a[1], at(moveFSymlinks, moveFEmptyPath))
	if err != nil {
		return 0, err
	}
	defer from.DecRef()
	to, err := resolveAt(t, a.Int(2), a[3], at(moveTSymlinks, moveTEmptyPath))
	if err != nil {
		return 0, err
	}
	defer to.DecRef()
	return 0, t.Mounts().MoveMount(from, to)
}

func sysFsopen(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	if a.Uint(1)&^cloexecFlag != 0 {
		return 0, unix.EINVAL
	}
	name, err := t.CopyInString(a[0], mm.PageSize)
	if err != nil {
		return 0, err
	}
	name = strings.Clone(name)
	if _, _, err := vfs.FindFileSystemType(name); err != nil {
		return 0, err
	}
	return installFile(t, fscontext.New(t, name), a.Uint(1)&cloexecFlag != 0)
}

// maxParameter is the longest name or value of fsconfig(2).
const maxParameter = 256

func sysFsconfig(t *kernel.Task, a kernel.Args) (uintptr, error) {
	fd, cmd, key, value, aux := a.Int(0), a.Uint(1), a[2], a[3], a.Int(4)
	if fd < 0 {
		return 0, unix.EINVAL
	}
	wrong := false
	switch cmd {
	case fsconfigSetFlag:
		wrong = key == 0 || value != 0 || aux != 0
	case fsconfigSetString:
		wrong = key == 0 || value == 0 || aux != 0
	case fsconfigSetBinary:
		wrong = key == 0 || value == 0 || aux <= 0 || aux > 1<<20
	case fsconfigSetPath, fsconfigSetPathEmpty:
		wrong = key == 0 || value == 0 || aux != unix.AT_FDCWD && aux < 0
	case fsconfigSetFD:
		wrong = key == 0 || value != 0 || aux < 0
	case fsconfigCreate, fsconfigReconfigure, fsconfigCreateExcl:
		wrong = key != 0 || value != 0 || aux != 0
	default:
		return 0, unix.EOPNOTSUPP
	}
	if wrong {
		return 0, unix.EINVAL
	}
	d, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	f := fscontext.Of(d)
	if f == nil {
		return 0, unix.EINVAL
	}
	switch cmd {
	case fsconfigCreate, fsconfigCreateExcl:
		return 0, f.Create(func(kind string, r vfs.MountRequest) (vfs.FileSystem, error) {
			r.Caller = t
			if !mayMount(t) {
				return nil, unix.EPERM
			}
			return newFileSystem(t, kind, r)
		})
	case fsconfigReconfigure:
		if !t.Credentials().CanHere(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		return 0, f.Reconfigure()
	}
	name, err := copyInParameter(t, key)
	if err != nil {
		return 0, err
	}
	switch cmd {
	case fsconfigSetFlag:
		return 0, f.Set(name, "", true)
	case fsconfigSetString:
		v, err := copyInParameter(t, value)
		if err != nil {
			return 0, err
		}
		return 0, f.Set(name, v, false)
	}
	return 0, unix.EINVAL
}

// copyInParameter reads a name or value of fsconfig(2): EINVAL for a long one.
func copyInParameter(t *kernel.Task, addr uint64) (string, error) {
	s, err := t.CopyInString(addr, maxParameter)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	return strings.Clone(s), err
}

// mountAttrPairs are the MOUNT_ATTR_* that are flags of mount(2) too.
var mountAttrPairs = []struct{ attr, flag uint64 }{
	{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
	{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}, {unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME},
	{unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
}

// mountAttrFlags turns MOUNT_ATTR_* into MS_*. ok is false for unknown ones, or
// more than one of access times.
func mountAttrFlags(attr uint64) (flags uint64, ok bool) {
	for _, f := range mountAttrPairs {
		if attr&f.attr != 0 {
			flags |= f.flag
			attr &^= f.attr
		}
	}
	switch attr {
	case unix.MOUNT_ATTR_RELATIME: // 0
		flags |= unix.MS_RELATIME
	case unix.MOUNT_ATTR_NOATIME:
		flags |= unix.MS_NOATIME
	case unix.MOUNT_ATTR_STRICTATIME:
		flags |= unix.MS_STRICTATIME
	default:
		return 0, false
	}
	return flags, true
}

func sysFsmount(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	flags, ok := mountAttrFlags(uint64(a.Uint(2)))
	if a.Uint(1)&^cloexecFlag != 0 || !ok {
		return 0, unix.EINVAL
	}
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	f := fscontext.Of(d)
	if f == nil {
		return 0, unix.EINVAL
	}
	var m *vfs.FileDescription
	err = f.Mount(func(fs vfs.FileSystem, more uint64, source string) (err error) {
		m, err = t.Mounts().Detached(fs, flags|more&unix.MS_RDONLY, source)
		return err
	})
	if err != nil {
		return 0, err
	}
	return installFile(t, m, a.Uint(1)&cloexecFlag != 0)
}

func sysFspick(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !mayMount(t) {
		return 0, unix.EPERM
	}
	flags := a.Uint(2)
	if flags&^uint32(cloexecFlag|pickNoFollow|pickNoAuto|pickEmptyPath) != 0 {
		return 0, unix.EINVAL
	}
	var at uint32
	if flags&pickNoFollow != 0 {
		at |= unix.AT_SYMLINK_NOFOLLOW
	}
	if flags&pickEmptyPath != 0 {
		at |= unix.AT_EMPTY_PATH
	}
	p, err := resolveAt(t, a.Int(0), a[1], at)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	if !p.IsMountRoot() {
		return 0, unix.EINVAL
	}
	return installFile(t, fscontext.Pick(t, p.Mount.FileSystem().Name()), flags&cloexecFlag != 0)
}

// mountAttr is struct mount_attr.
type mountAttr struct{ Set, Clear, Propagation, UserNS uint64 }

const mountAttrSize = 32

func sysMountSetattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags, size := a.Uint(2), a[4]
	const known = unix.AT_EMPTY_PATH | atRecursive | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	switch {
	case flags&^uint32(known) != 0, size < mountAttrSize:
		return 0, unix.EINVAL
	case size > mm.PageSize:
		return 0, unix.E2BIG
	case !mayMount(t):
		return 0, unix.EPERM
	}
	var in mountAttr
	if err := copyInExtensible(t, a[3], size, &in); err != nil {
		return 0, err
	}
	if in == (mountAttr{UserNS: in.UserNS}) {
		return 0, nil
	}
	change, err := mountChange(in)
	if err != nil {
		return 0, err
	}
	p, err := resolveAt(t, a.Int(0), a[1], flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, t.Mounts().SetAttributes(p, change, flags&atRecursive != 0)
}

// mountChange checks what mount_setattr(2) is to change.
func mountChange(in mountAttr) (c vfs.Attributes, err error) {
	// One kind of access times is set by clearing all.
	times := in.Clear & unix.MOUNT_ATTR__ATIME
	if times != 0 && times != unix.MOUNT_ATTR__ATIME || times == 0 && in.Set&unix.MOUNT_ATTR__ATIME != 0 {
		return c, unix.EINVAL
	}
	set, ok := mountAttrFlags(in.Set)
	clear, ok2 := mountAttrFlags(in.Clear &^ unix.MOUNT_ATTR__ATIME)
	if !ok || !ok2 {
		return c, unix.EINVAL
	}
	const allTimes = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME
	if times == 0 {
		set &^= allTimes
		clear &^= allTimes
	} else {
		clear |= allTimes
	}
	switch in.Propagation {
	case 0, unix.MS_SHARED, unix.MS_PRIVATE, unix.MS_SLAVE, unix.MS_UNBINDABLE:
	default:
		return c, unix.EINVAL
	}
	return vfs.Attributes{Set: set, Clear: clear, Propagation: in.Propagation}, nil
}
