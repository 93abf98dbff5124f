package syscalls

import (
	"math"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func syncRows() []Row {
	return []Row{
		full(74, "fsync", sysFsync, P("fd", FD)),
		full(75, "fdatasync", sysFdatasync, P("fd", FD)),
		partial(162, "sync", sysSync, "does nothing: what is in memory has no disk, and the host writes its files back itself"),
		partial(187, "readahead", sysReadahead, "checks its arguments and leaves reading ahead to the host",
			P("fd", FD), P("offset", Dec), P("count", Unsigned)),
		partial(221, "fadvise64", sysFadvise64, "checks its arguments and takes no advice",
			P("fd", FD), P("offset", Dec), P("len", Dec), PF("advice", Enum, fadviseNames)),
		partial(277, "sync_file_range", sysSyncFileRange, "writes back the whole file's data",
			P("fd", FD), P("offset", Dec), P("nbytes", Dec), PF("flags", Flags, syncRangeNames)),
		full(285, "fallocate", sysFallocate, P("fd", FD), PF("mode", Flags, fallocateNames), P("offset", Dec), P("len", Dec)),
		partial(306, "syncfs", sysSyncfs, "writes back the one file only", P("fd", FD)),
	}
}

var fadviseNames = &FlagSet{Names: []FlagName{
	{unix.FADV_NORMAL, "POSIX_FADV_NORMAL"}, {unix.FADV_RANDOM, "POSIX_FADV_RANDOM"},
	{unix.FADV_SEQUENTIAL, "POSIX_FADV_SEQUENTIAL"}, {unix.FADV_WILLNEED, "POSIX_FADV_WILLNEED"},
	{unix.FADV_DONTNEED, "POSIX_FADV_DONTNEED"}, {unix.FADV_NOREUSE, "POSIX_FADV_NOREUSE"},
}}

// The bits of sync_file_range(2).
const (
	syncRangeWaitBefore = 1
	syncRangeWrite      = 2
	syncRangeWaitAfter  = 4
)

var syncRangeNames = &FlagSet{Names: []FlagName{
	{syncRangeWaitBefore, "SYNC_FILE_RANGE_WAIT_BEFORE"}, {syncRangeWrite, "SYNC_FILE_RANGE_WRITE"},
	{syncRangeWaitAfter, "SYNC_FILE_RANGE_WAIT_AFTER"},
}}

var fallocateNames = &FlagSet{Names: []FlagName{
	{unix.FALLOC_FL_KEEP_SIZE, "FALLOC_FL_KEEP_SIZE"}, {unix.FALLOC_FL_PUNCH_HOLE, "FALLOC_FL_PUNCH_HOLE"},
	{unix.FALLOC_FL_COLLAPSE_RANGE, "FALLOC_FL_COLLAPSE_RANGE"}, {unix.FALLOC_FL_ZERO_RANGE, "FALLOC_FL_ZERO_RANGE"},
	{unix.FALLOC_FL_INSERT_RANGE, "FALLOC_FL_INSERT_RANGE"}, {unix.FALLOC_FL_UNSHARE_RANGE, "FALLOC_FL_UNSHARE_RANGE"},
}}

// openedFile is t.File, and EBADF for O_PATH descriptors.
func openedFile(t *kernel.Task, fd int32) (*vfs.FileDescription, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, err
	}
	if d.Flags()&unix.O_PATH != 0 {
		d.DecRef()
		return nil, unix.EBADF
	}
	return d, nil
}

func sysFsync(t *kernel.Task, a kernel.Args) (uintptr, error) { return 0, fsync(t, a.Int(0), false) }

func sysFdatasync(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, fsync(t, a.Int(0), true)
}

func fsync(t *kernel.Task, fd int32, dataOnly bool) error {
	d, err := openedFile(t, fd)
	if err != nil {
		return err
	}
	defer d.DecRef()
	return vfs.FileFor(t, d.File).Fsync(dataOnly)
}

func sysSync(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }

func sysSyncfs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	// A file that has nothing to write back is no error here.
	if err := vfs.FileFor(t, d.File).Fsync(false); err != nil && err != unix.EINVAL {
		return 0, err
	}
	return 0, nil
}

func sysSyncFileRange(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	off, n := int64(a[1]), int64(a[2])
	if a.Uint(3)&^(syncRangeWaitBefore|syncRangeWrite|syncRangeWaitAfter) != 0 ||
		off < 0 || n < 0 || off > math.MaxInt64-n {
		return 0, unix.EINVAL
	}
	if !seekable(d) {
		return 0, unix.ESPIPE
	}
	if a.Uint(3) == 0 {
		return 0, nil
	}
	return 0, vfs.FileFor(t, d.File).Fsync(true)
}

func sysFallocate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	mode, off, n := a.Uint(1), int64(a[2]), int64(a[3])
	if off < 0 || n <= 0 {
		return 0, unix.EINVAL
	}
	const all = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE |
		unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_INSERT_RANGE | unix.FALLOC_FL_UNSHARE_RANGE
	punch := mode&unix.FALLOC_FL_PUNCH_HOLE != 0
	if mode&^all != 0 || punch && mode&unix.FALLOC_FL_ZERO_RANGE != 0 ||
		punch && mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		return 0, unix.EOPNOTSUPP
	}
	if !d.CanWrite() {
		return 0, unix.EBADF
	}
	attr, err := d.Attr(t)
	if err != nil {
		return 0, err
	}
	switch attr.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		return 0, unix.ESPIPE
	case unix.S_IFDIR:
		return 0, unix.EISDIR
	default:
		return 0, unix.ENODEV
	}
	if off > math.MaxInt64-n {
		return 0, unix.EFBIG
	}
	if limit := t.FSLimit(); limit < uint64(off+n) && mode&(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_COLLAPSE_RANGE) == 0 {
		t.Signal(kernel.KernelSignal(unix.SIGXFSZ))
		return 0, unix.EFBIG
	}
	return 0, vfs.FileFor(t, d.File).Fallocate(mode, off, n)
}

func sysFadvise64(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if pipeOf(d) != nil {
		return 0, unix.ESPIPE
	}
	if int64(a[2]) < 0 || a.Uint(3) > unix.FADV_NOREUSE {
		return 0, unix.EINVAL
	}
	return 0, nil
}

func sysReadahead(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if !d.CanRead() {
		return 0, unix.EBADF
	}
	if mustBeRegular(t, d, unix.EINVAL) != nil {
		return 0, unix.EINVAL
	}
	return 0, nil
}
