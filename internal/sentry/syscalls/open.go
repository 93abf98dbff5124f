package syscalls

import (
	"encoding/binary"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func openRows() []Row {
	return []Row{
		full(2, "open", sysOpen, P("path", PathStr), PF("flags", Flags, openFlags), PD("mode", openMode(1))).returns(FD),
		full(3, "close", sysClose, P("fd", FD)),
		full(85, "creat", sysCreat, P("path", PathStr), P("mode", Mode)).returns(FD),
		full(95, "umask", sysUmask, P("mask", Mode)),
		full(257, "openat", sysOpenat, P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, openFlags), PD("mode", openMode(2))).returns(FD),
		full(436, "close_range", sysCloseRange, P("first", Unsigned), P("last", Unsigned), PF("flags", Flags, closeRangeFlags)),
		full(437, "openat2", sysOpenat2, P("dirfd", DirFD), P("path", PathStr), P("how", OpenHow), P("size", Unsigned)).returns(FD),
	}
}

// oLargefile is O_LARGEFILE, which x/sys/unix has as 0 on amd64; the kernel
// sets it on every open of a 64-bit program.
const oLargefile = 0x8000

var openFlags = &FlagSet{
	Mask: unix.O_ACCMODE,
	Values: []FlagName{
		{unix.O_RDONLY, "O_RDONLY"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"},
	},
	Names: []FlagName{
		{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"},
		{unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_SYNC, "O_SYNC"}, {unix.O_DSYNC, "O_DSYNC"},
		{unix.O_ASYNC, "O_ASYNC"}, {unix.O_DIRECT, "O_DIRECT"}, {oLargefile, "O_LARGEFILE"}, {unix.O_TMPFILE, "O_TMPFILE"},
		{unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_NOATIME, "O_NOATIME"},
		{unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"},
	},
}

var closeRangeFlags = &FlagSet{Names: []FlagName{
	{unix.CLOSE_RANGE_UNSHARE, "CLOSE_RANGE_UNSHARE"}, {unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"},
}}

// validOpenFlags are all that open(2) knows; it ignores others, openat2(2)
// refuses them.
const validOpenFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC |
	unix.O_APPEND | unix.O_NONBLOCK | unix.O_SYNC | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | oLargefile |
	unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE

const tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY

func sysOpen(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return openAt(t, unix.AT_FDCWD, a[0], vfs.OpenHow{Flags: a.Uint(1), Mode: a.Uint(2)})
}

func sysOpenat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return openAt(t, a.Int(0), a[1], vfs.OpenHow{Flags: a.Uint(2), Mode: a.Uint(3)})
}

func sysCreat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return openAt(t, unix.AT_FDCWD, a[0], vfs.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: a.Uint(1)})
}

// openAt is open(2) and openat(2): what makes no sense is ignored.
func openAt(t *kernel.Task, dirfd int32, addr uint64, how vfs.OpenHow) (uintptr, error) {
	how.Flags &= validOpenFlags
	how.Mode &= 0o7777
	if how.Flags&unix.O_PATH != 0 {
		how.Flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	if how.Flags&(unix.O_CREAT|tmpfileBit) == 0 {
		how.Mode = 0
	}
	return doOpen(t, dirfd, addr, how)
}

// openHowSize is the size of struct open_how's first version.
const openHowSize = 24

// maxOpenHow is the largest size that is taken: a page, as on Linux.
const maxOpenHow = 4096

func sysOpenat2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	how, err := copyInOpenHow(t, a[2], a[3])
	if err != nil {
		return 0, err
	}
	return doOpen(t, a.Int(0), a[1], how)
}

// copyInOpenHow reads and checks a struct open_how, as openat2(2) tells.
func copyInOpenHow(t *kernel.Task, addr, size uint64) (vfs.OpenHow, error) {
	var how vfs.OpenHow
	if size < openHowSize {
		return how, unix.EINVAL
	}
	if size > maxOpenHow {
		return how, unix.E2BIG
	}
	b := getBuffer(size)
	defer b.put()
	if _, err := t.CopyIn(addr, b.b); err != nil {
		return how, err
	}
	return parseOpenHow(b.b)
}

func parseOpenHow(b []byte) (vfs.OpenHow, error) {
	var how vfs.OpenHow
	for _, c := range b[openHowSize:] {
		if c != 0 {
			return how, unix.E2BIG
		}
	}
	flags, mode, res := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	const knownResolve = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | resolveCached
	const both = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	const pathFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	switch {
	case flags&^validOpenFlags != 0, res&^knownResolve != 0, res&both == both,
		flags&unix.O_PATH != 0 && flags&^pathFlags != 0,
		flags&(unix.O_CREAT|tmpfileBit) == 0 && mode != 0, mode&^0o7777 != 0:
		return how, unix.EINVAL
	case res&resolveCached != 0 && flags&(unix.O_TRUNC|unix.O_CREAT|tmpfileBit) != 0:
		return how, unix.EAGAIN
	}
	return vfs.OpenHow{Flags: uint32(flags), Mode: uint32(mode), Resolve: res}, nil
}

// resolveCached is RESOLVE_CACHED.
const resolveCached = 0x20

// doOpen opens a path and gives it a descriptor.
func doOpen(t *kernel.Task, dirfd int32, addr uint64, how vfs.OpenHow) (uintptr, error) {
	if how.Flags&tmpfileBit != 0 {
		if how.Flags&unix.O_TMPFILE != unix.O_TMPFILE || how.Flags&unix.O_CREAT != 0 || how.Flags&unix.O_ACCMODE == unix.O_RDONLY {
			return 0, unix.EINVAL
		}
	}
	if how.Flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY {
		return 0, unix.EINVAL
	}
	path, err := t.CopyInPath(addr)
	if err != nil {
		return 0, err
	}
	// A file must not be made if there is no number for it.
	limit := t.Limit(unix.RLIMIT_NOFILE)
	if !t.FDs().HasRoom(limit) {
		return 0, unix.EMFILE
	}
	from := path
	if how.Resolve&(unix.RESOLVE_IN_ROOT|unix.RESOLVE_BENEATH) != 0 {
		from = "" // dirfd counts, even for an absolute path
	}
	o, err := originOf(t, dirfd, from)
	if err != nil {
		return 0, err
	}
	if how.Flags&unix.O_PATH == 0 {
		how.Flags |= oLargefile
	}
	d, err := o.ns.OpenAt(t, o.Origin, path, how)
	o.release()
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if b, ok := d.File.(vfs.BlockingOpener); ok && how.Flags&(unix.O_NONBLOCK|unix.O_PATH) == 0 {
		if err := waitFor(t, b, waiter.All, time.Time{}, b.OpenReady); err != nil {
			return 0, err
		}
	}
	fd, err := t.FDs().Install(d, 0, limit, how.Flags&unix.O_CLOEXEC != 0)
	return uintptr(fd), err
}

func sysClose(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d := t.FDs().Remove(a.Int(0))
	if d == nil {
		return 0, unix.EBADF
	}
	return 0, closeFile(t, d)
}

// lingerer is a file that close(2) may have to wait for once it is released (SO_LINGER in
// socket(7)).
type lingerer interface {
	// Lingers tells how long, 0 for not at all, and what to wait for.
	Lingers() (limit time.Duration, done func() bool)
}

// closeFile drops a descriptor's reference and waits if the file wants that, until a
// signal comes.
func closeFile(t *kernel.Task, d *vfs.FileDescription) error {
	l, lingers := d.File.(lingerer)
	err := t.FDs().Close(t, d)
	if !lingers {
		return err
	}
	limit, done := l.Lingers()
	if limit == 0 {
		return err
	}
	// Nobody tells when a peer has acknowledged what it got.
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; !done() && time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		next := time.Now().Add(pause)
		if next.After(deadline) {
			next = deadline
		}
		if t.Block(nil, next) != unix.ETIMEDOUT {
			break
		}
	}
	return err
}

func sysCloseRange(t *kernel.Task, a kernel.Args) (uintptr, error) {
	first, last, flags := a.Uint(0), a.Uint(1), a.Uint(2)
	if flags&^(unix.CLOSE_RANGE_UNSHARE|unix.CLOSE_RANGE_CLOEXEC) != 0 || first > last {
		return 0, unix.EINVAL
	}
	if flags&unix.CLOSE_RANGE_UNSHARE != 0 && t.FDs().Shared() {
		old := t.SetFDs(t.FDs().Fork())
		for _, d := range old.DecRef() {
			old.Close(t, d)
		}
	}
	if flags&unix.CLOSE_RANGE_CLOEXEC != 0 {
		t.FDs().SetCloexec(first, last, true)
		return 0, nil
	}
	for _, d := range t.FDs().RemoveRange(first, last) {
		closeFile(t, d)
	}
	return 0, nil
}

func sysUmask(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return uintptr(t.FS().SetUmask(a.Uint(0))), nil
}
