package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func xattrRows() []Row {
	return []Row{
		full(188, "setxattr", sysSetxattr, P("path", PathStr), P("name", Str), P("value", Buf), P("size", Unsigned), PF("flags", Flags, xattrFlags)),
		full(189, "lsetxattr", sysLsetxattr, P("path", PathStr), P("name", Str), P("value", Buf), P("size", Unsigned), PF("flags", Flags, xattrFlags)),
		full(190, "fsetxattr", sysFsetxattr, P("fd", FD), P("name", Str), P("value", Buf), P("size", Unsigned), PF("flags", Flags, xattrFlags)),
		full(191, "getxattr", sysGetxattr, P("path", PathStr), P("name", Str), P("value", OutBuf), P("size", Unsigned)),
		full(192, "lgetxattr", sysLgetxattr, P("path", PathStr), P("name", Str), P("value", OutBuf), P("size", Unsigned)),
		full(193, "fgetxattr", sysFgetxattr, P("fd", FD), P("name", Str), P("value", OutBuf), P("size", Unsigned)),
		full(194, "listxattr", sysListxattr, P("path", PathStr), P("list", OutBuf), P("size", Unsigned)),
		full(195, "llistxattr", sysLlistxattr, P("path", PathStr), P("list", OutBuf), P("size", Unsigned)),
		full(196, "flistxattr", sysFlistxattr, P("fd", FD), P("list", OutBuf), P("size", Unsigned)),
		full(197, "removexattr", sysRemovexattr, P("path", PathStr), P("name", Str)),
		full(198, "lremovexattr", sysLremovexattr, P("path", PathStr), P("name", Str)),
		full(199, "fremovexattr", sysFremovexattr, P("fd", FD), P("name", Str)),
	}
}

var xattrFlags = &FlagSet{Names: []FlagName{{unix.XATTR_CREATE, "XATTR_CREATE"}, {unix.XATTR_REPLACE, "XATTR_REPLACE"}}}

// Limits of xattr(7).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// xattrPlace finds the object of a call: by path, following a final link
// unless nofollow, or by descriptor.
type xattrPlace func(t *kernel.Task, a kernel.Args) (vfs.Path, error)

func xattrPath(t *kernel.Task, a kernel.Args) (vfs.Path, error) {
	return resolveAt(t, unix.AT_FDCWD, a[0], 0)
}

func xattrLink(t *kernel.Task, a kernel.Args) (vfs.Path, error) {
	return resolveAt(t, unix.AT_FDCWD, a[0], unix.AT_SYMLINK_NOFOLLOW)
}

func xattrFD(t *kernel.Task, a kernel.Args) (vfs.Path, error) { return placeOf(t, a.Int(0), false) }

func sysSetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)   { return setXattr(t, a, xattrPath) }
func sysLsetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)  { return setXattr(t, a, xattrLink) }
func sysFsetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)  { return setXattr(t, a, xattrFD) }
func sysGetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)   { return getXattr(t, a, xattrPath) }
func sysLgetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)  { return getXattr(t, a, xattrLink) }
func sysFgetxattr(t *kernel.Task, a kernel.Args) (uintptr, error)  { return getXattr(t, a, xattrFD) }
func sysListxattr(t *kernel.Task, a kernel.Args) (uintptr, error)  { return listXattr(t, a, xattrPath) }
func sysLlistxattr(t *kernel.Task, a kernel.Args) (uintptr, error) { return listXattr(t, a, xattrLink) }
func sysFlistxattr(t *kernel.Task, a kernel.Args) (uintptr, error) { return listXattr(t, a, xattrFD) }
func sysRemovexattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return removeXattr(t, a, xattrPath)
}
func sysLremovexattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return removeXattr(t, a, xattrLink)
}
func sysFremovexattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return removeXattr(t, a, xattrFD)
}

// copyInXattrName reads an attribute's name. ERANGE if it is empty or too
// long.
func copyInXattrName(t *kernel.Task, addr uint64) (string, error) {
	name, err := t.CopyInString(addr, maxXattrName+1)
	if err == unix.ENAMETOOLONG || err == nil && name == "" {
		return "", unix.ERANGE
	}
	return name, err
}

func setXattr(t *kernel.Task, a kernel.Args, place xattrPlace) (uintptr, error) {
	flags := a.Uint(4)
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return 0, unix.EINVAL
	}
	name, err := copyInXattrName(t, a[1])
	if err != nil {
		return 0, err
	}
	if a[3] > maxXattrValue {
		return 0, unix.E2BIG
	}
	buf := getBuffer(a[3])
	defer buf.put()
	if len(buf.b) > 0 {
		if _, err := t.CopyIn(a[2], buf.b); err != nil {
			return 0, err
		}
	}
	p, err := place(t, a)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.SetXattr(t, p, name, buf.b, flags)
}

func getXattr(t *kernel.Task, a kernel.Args, place xattrPlace) (uintptr, error) {
	name, err := copyInXattrName(t, a[1])
	if err != nil {
		return 0, err
	}
	p, err := place(t, a)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	value, err := vfs.GetXattr(t, p, name)
	if err != nil {
		return 0, err
	}
	return copyOutSized(t, a[2], a[3], value)
}

// copyOutSized writes a value to a buffer of the guest's; with size 0 it only
// tells the length. ERANGE if the buffer is too small.
func copyOutSized(t *kernel.Task, addr, size uint64, value []byte) (uintptr, error) {
	switch {
	case size == 0 || len(value) == 0:
		return uintptr(len(value)), nil
	case uint64(len(value)) > size:
		return 0, unix.ERANGE
	}
	_, err := t.CopyOut(addr, value)
	return uintptr(len(value)), err
}

func listXattr(t *kernel.Task, a kernel.Args, place xattrPlace) (uintptr, error) {
	p, err := place(t, a)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	names, err := vfs.ListXattr(t, p)
	if err != nil {
		return 0, err
	}
	var list []byte
	for _, n := range names {
		list = append(append(list, n...), 0)
	}
	return copyOutSized(t, a[1], a[2], list)
}

func removeXattr(t *kernel.Task, a kernel.Args, place xattrPlace) (uintptr, error) {
	name, err := copyInXattrName(t, a[1])
	if err != nil {
		return 0, err
	}
	p, err := place(t, a)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.RemoveXattr(t, p, name)
}
