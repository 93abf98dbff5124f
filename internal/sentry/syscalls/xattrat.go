package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The calls of Linux 6.13 that take a directory and flags. What they do is what
// those of xattr.go do.
func xattrAtRows() []Row {
	return []Row{
		full(463, "setxattrat", sysSetxattrat, P("dirfd", DirFD), P("path", PathStr), PF("at_flags", Flags, atFlagNames),
			P("name", Str), P("args", XattrArgs), P("size", Unsigned)),
		full(464, "getxattrat", sysGetxattrat, P("dirfd", DirFD), P("path", PathStr), PF("at_flags", Flags, atFlagNames),
			P("name", Str), P("args", XattrArgs), P("size", Unsigned)),
		full(465, "listxattrat", sysListxattrat, P("dirfd", DirFD), P("path", PathStr), PF("at_flags", Flags, atFlagNames),
			P("list", OutBuf), P("size", Unsigned)),
		full(466, "removexattrat", sysRemovexattrat, P("dirfd", DirFD), P("path", PathStr), PF("at_flags", Flags, atFlagNames),
			P("name", Str)),
	}
}

// xattrArgs is struct xattr_args.
type xattrArgs struct {
	value       uint64
	size, flags uint32
}

// xattrArgsSize is the size of the structure's first version.
const xattrArgsSize = 16

// xattrAt finds the object that a call's first three arguments name.
func xattrAt(a kernel.Args) (xattrPlace, error) {
	at := a.Uint(2)
	if at&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return nil, unix.EINVAL
	}
	return func(t *kernel.Task, _ kernel.Args) (vfs.Path, error) {
		return resolveAt(t, a.Int(0), a[1], at)
	}, nil
}

// copyInXattrArgs reads the structure that a call's last two arguments name.
func copyInXattrArgs(t *kernel.Task, a kernel.Args) (x xattrArgs, err error) {
	switch {
	case a[5] < xattrArgsSize:
		return x, unix.EINVAL
	case a[5] > mm.PageSize:
		return x, unix.E2BIG
	}
	err = copyInExtensible(t, a[4], a[5], &x)
	return x, err
}

func sysSetxattrat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	place, err := xattrAt(a)
	if err != nil {
		return 0, err
	}
	x, err := copyInXattrArgs(t, a)
	if err != nil {
		return 0, err
	}
	return setXattr(t, kernel.Args{1: a[3], 2: x.value, 3: uint64(x.size), 4: uint64(x.flags)}, place)
}

func sysGetxattrat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	place, err := xattrAt(a)
	if err != nil {
		return 0, err
	}
	x, err := copyInXattrArgs(t, a)
	if err != nil {
		return 0, err
	}
	if x.flags != 0 {
		return 0, unix.EINVAL
	}
	return getXattr(t, kernel.Args{1: a[3], 2: x.value, 3: uint64(x.size)}, place)
}

func sysListxattrat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	place, err := xattrAt(a)
	if err != nil {
		return 0, err
	}
	return listXattr(t, kernel.Args{1: a[3], 2: a[4]}, place)
}

func sysRemovexattrat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	place, err := xattrAt(a)
	if err != nil {
		return 0, err
	}
	return removeXattr(t, kernel.Args{1: a[3]}, place)
}
