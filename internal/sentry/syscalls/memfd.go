package syscalls

import (
	"strings"
	"sync"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func memfdRows() []Row {
	return []Row{
		partial(319, "memfd_create", sysMemfdCreate, "no huge pages: MFD_HUGETLB is refused",
			P("name", Str), PF("flags", Flags, memfdFlags)).returns(FD),
	}
}

const (
	mfdNoExecSeal = 0x8
	mfdExec       = 0x10
	// maxMemfdName is the longest name, without its NUL: NAME_MAX less the
	// "memfd:" that Linux puts before it.
	maxMemfdName = 249
)

var memfdFlags = &FlagSet{Names: []FlagName{
	{unix.MFD_CLOEXEC, "MFD_CLOEXEC"}, {unix.MFD_ALLOW_SEALING, "MFD_ALLOW_SEALING"}, {unix.MFD_HUGETLB, "MFD_HUGETLB"},
	{mfdNoExecSeal, "MFD_NOEXEC_SEAL"}, {mfdExec, "MFD_EXEC"},
}}

// memfdFS holds the files of memfd_create(2), like the mount of tmpfs that
// Linux keeps for itself: without a limit, since the sandbox's memory has one.
var memfdFS = sync.OnceValue(func() *tmpfs.FS { return tmpfs.New(tmpfs.Options{Size: -1, Inodes: -1}) })

func sysMemfdCreate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(1)
	if flags&^(unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdNoExecSeal|mfdExec) != 0 ||
		flags&(mfdNoExecSeal|mfdExec) == mfdNoExecSeal|mfdExec {
		return 0, unix.EINVAL
	}
	name, err := t.CopyInString(a[0], maxMemfdName+1)
	if err == unix.ENAMETOOLONG {
		return 0, unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	c := t.Credentials()
	d, err := memfdFS().NewMemfd(vfs.Owner{UID: c.FSUID, GID: c.FSGID}, strings.Clone(name), flags)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), flags&unix.MFD_CLOEXEC != 0)
	return uintptr(fd), err
}
