package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

const handleCaveat = "no file system has handles: EOPNOTSUPP, as of Linux's that cannot be exported"

func fileHandleRows() []Row {
	return []Row{
		partial(303, "name_to_handle_at", sysNameToHandleAt, handleCaveat, P("dirfd", DirFD), P("path", PathStr), P("handle", FileHandle),
			P("mount_id", OutInt), PF("flags", Flags, handleFlags)),
		partial(304, "open_by_handle_at", sysOpenByHandleAt, "there are no handles that it could know: ESTALE", P("mount_fd", FD), P("handle", FileHandle),
			PF("flags", Flags, openFlags)),
	}
}

// Flags of name_to_handle_at(2) that x/sys/unix lacks.
const (
	handleMntIDUnique = 0x1   // AT_HANDLE_MNT_ID_UNIQUE
	handleConnectable = 0x2   // AT_HANDLE_CONNECTABLE
	handleFID         = 0x200 // AT_HANDLE_FID
)

var handleFlags = &FlagSet{Names: []FlagName{
	{unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"}, {unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	{handleMntIDUnique, "AT_HANDLE_MNT_ID_UNIQUE"}, {handleConnectable, "AT_HANDLE_CONNECTABLE"}, {handleFID, "AT_HANDLE_FID"},
}}

func sysNameToHandleAt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(4)
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH|handleMntIDUnique|handleConnectable|handleFID) != 0 ||
		flags&handleFID != 0 && flags&handleConnectable != 0 {
		return 0, unix.EINVAL
	}
	at := flags & unix.AT_EMPTY_PATH
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		at |= unix.AT_SYMLINK_NOFOLLOW
	}
	p, err := resolveAt(t, a.Int(0), a[1], at)
	if err != nil {
		return 0, err
	}
	p.DecRef()
	return 0, unix.EOPNOTSUPP
}

// maxHandle is MAX_HANDLE_SZ.
const maxHandle = 128

func sysOpenByHandleAt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	size, err := t.CopyInUint32(a[1])
	if err != nil {
		return 0, err
	}
	if size == 0 || size > maxHandle {
		return 0, unix.EINVAL
	}
	if fd := a.Int(0); fd != unix.AT_FDCWD {
		d, err := t.File(fd)
		if err != nil {
			return 0, err
		}
		d.DecRef()
	}
	if !t.Credentials().Can(unix.CAP_DAC_READ_SEARCH) {
		return 0, unix.EPERM
	}
	return 0, unix.ESTALE
}
