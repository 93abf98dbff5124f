package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func fcntlRows() []Row {
	return []Row{
		full(32, "dup", sysDup, P("fd", FD)).returns(FD),
		full(33, "dup2", sysDup2, P("fd", FD), P("newfd", Dec)).returns(FD),
		partial(72, "fcntl", sysFcntl, "no leases and no F_NOTIFY; SIGIO is sent by terminals, pipes and sockets only",
			P("fd", FD), PF("cmd", Enum, fcntlNames), PD("arg", fcntlArg)),
		full(73, "flock", sysFlock, P("fd", FD), PF("operation", Flags, flockNames)),
		full(292, "dup3", sysDup3, P("fd", FD), P("newfd", Dec), PF("flags", Flags, openFlags)).returns(FD),
	}
}

// Kinds of owners, as in struct f_owner_ex.
const (
	ownerThread  = 0
	ownerProcess = 1
	ownerGroup   = 2
)

// Commands of fcntl(2) that x/sys/unix lacks.
const (
	fDupfdQuery    = 1027
	fCreatedQuery  = 1028
	fGetRWHint     = 1035
	fSetRWHint     = 1036
	fGetFileRWHint = 1037
	fSetFileRWHint = 1038
)

var fcntlNames = &FlagSet{Names: []FlagName{
	{unix.F_DUPFD, "F_DUPFD"}, {unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
	{unix.F_GETFD, "F_GETFD"}, {unix.F_SETFD, "F_SETFD"}, {unix.F_GETFL, "F_GETFL"}, {unix.F_SETFL, "F_SETFL"},
	{unix.F_GETLK, "F_GETLK"}, {unix.F_SETLK, "F_SETLK"}, {unix.F_SETLKW, "F_SETLKW"},
	{unix.F_OFD_GETLK, "F_OFD_GETLK"}, {unix.F_OFD_SETLK, "F_OFD_SETLK"}, {unix.F_OFD_SETLKW, "F_OFD_SETLKW"},
	{unix.F_GETOWN, "F_GETOWN"}, {unix.F_SETOWN, "F_SETOWN"}, {unix.F_GETOWN_EX, "F_GETOWN_EX"},
	{unix.F_SETOWN_EX, "F_SETOWN_EX"}, {unix.F_GETSIG, "F_GETSIG"}, {unix.F_SETSIG, "F_SETSIG"},
	{unix.F_GETLEASE, "F_GETLEASE"}, {unix.F_SETLEASE, "F_SETLEASE"}, {unix.F_NOTIFY, "F_NOTIFY"},
	{unix.F_GETPIPE_SZ, "F_GETPIPE_SZ"}, {unix.F_SETPIPE_SZ, "F_SETPIPE_SZ"},
	{unix.F_ADD_SEALS, "F_ADD_SEALS"}, {unix.F_GET_SEALS, "F_GET_SEALS"},
	{fDupfdQuery, "F_DUPFD_QUERY"}, {fCreatedQuery, "F_CREATED_QUERY"},
	{fGetRWHint, "F_GET_RW_HINT"}, {fSetRWHint, "F_SET_RW_HINT"},
	{fGetFileRWHint, "F_GET_FILE_RW_HINT"}, {fSetFileRWHint, "F_SET_FILE_RW_HINT"},
}}

var flockNames = &FlagSet{Names: []FlagName{
	{unix.LOCK_SH, "LOCK_SH"}, {unix.LOCK_EX, "LOCK_EX"}, {unix.LOCK_UN, "LOCK_UN"}, {unix.LOCK_NB, "LOCK_NB"},
}}

func sysDup(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), false)
	return uintptr(fd), err
}

func sysDup2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Int(0) == a.Int(1) {
		d, err := t.File(a.Int(0))
		if err != nil {
			return 0, err
		}
		d.DecRef()
		return uintptr(a.Int(1)), nil
	}
	return dupTo(t, a.Int(0), a.Int(1), false)
}

func sysDup3(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(2)&^unix.O_CLOEXEC != 0 || a.Int(0) == a.Int(1) {
		return 0, unix.EINVAL
	}
	return dupTo(t, a.Int(0), a.Int(1), a.Uint(2)&unix.O_CLOEXEC != 0)
}

func dupTo(t *kernel.Task, from, to int32, cloexec bool) (uintptr, error) {
	d, err := t.File(from)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	old, err := t.FDs().InstallAt(d, to, t.Limit(unix.RLIMIT_NOFILE), cloexec)
	if err != nil {
		return 0, err
	}
	if old != nil {
		closeFile(t, old)
	}
	return uintptr(to), nil
}

func sysFcntl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	fd, cmd := a.Int(0), a.Int(1)
	d, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		limit := t.Limit(unix.RLIMIT_NOFILE)
		if a.Int(2) < 0 || uint64(a.Int(2)) >= limit {
			return 0, unix.EINVAL
		}
		n, err := t.FDs().Install(d, a.Int(2), limit, cmd == unix.F_DUPFD_CLOEXEC)
		return uintptr(n), err
	case unix.F_GETFD:
		set, ok := t.FDs().Cloexec(fd)
		if !ok {
			return 0, unix.EBADF
		}
		if set {
			return unix.FD_CLOEXEC, nil
		}
		return 0, nil
	case unix.F_SETFD:
		t.FDs().SetCloexec(uint32(fd), uint32(fd), a[2]&unix.FD_CLOEXEC != 0)
		return 0, nil
	case unix.F_GETFL:
		return uintptr(d.Flags()), nil
	case fDupfdQuery:
		other, err := t.File(a.Int(2))
		if err != nil {
			return 0, err
		}
		other.DecRef()
		if other == d {
			return 1, nil
		}
		return 0, nil
	}
	if d.Flags()&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	return fcntlFile(t, d, fd, cmd, a[2])
}

// fcntlFile answers the commands that are not for O_PATH descriptors.
func fcntlFile(t *kernel.Task, d *vfs.FileDescription, fd, cmd int32, arg uint64) (uintptr, error) {
	switch cmd {
	case unix.F_SETFL:
		return 0, setStatusFlags(t, d, fd, uint32(arg))
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW:
		return 0, recordLock(t, d, cmd, arg, false)
	case unix.F_OFD_GETLK:
		return 0, recordLock(t, d, unix.F_GETLK, arg, true)
	case unix.F_OFD_SETLK:
		return 0, recordLock(t, d, unix.F_SETLK, arg, true)
	case unix.F_OFD_SETLKW:
		return 0, recordLock(t, d, unix.F_SETLKW, arg, true)
	case unix.F_GETOWN, unix.F_SETOWN, unix.F_GETOWN_EX, unix.F_SETOWN_EX, unix.F_GETSIG, unix.F_SETSIG:
		return asyncOwner(t, d, cmd, arg)
	case unix.F_GETLEASE:
		return unix.F_UNLCK, nil
	case unix.F_SETLEASE:
		return 0, setLease(d, arg)
	case unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ:
		p, ok := d.File.(vfs.PipeSizer)
		if !ok {
			return 0, unix.EBADF
		}
		if cmd == unix.F_GETPIPE_SZ {
			return uintptr(p.PipeSize()), nil
		}
		if uint32(arg) > 1<<31 {
			return 0, unix.EINVAL
		}
		n, err := p.SetPipeSize(t, int(uint32(arg)))
		return uintptr(n), err
	case unix.F_ADD_SEALS, unix.F_GET_SEALS:
		s, ok := d.File.(vfs.Sealer)
		if !ok {
			return 0, unix.EINVAL
		}
		if cmd == unix.F_GET_SEALS {
			n, err := s.Seals()
			return uintptr(n), err
		}
		if !d.CanWrite() {
			return 0, unix.EPERM
		}
		return 0, s.AddSeals(uint32(arg))
	case fCreatedQuery:
		return 0, nil
	case fGetRWHint, fGetFileRWHint:
		return 0, t.CopyOutUint64(arg, 0) // RWH_WRITE_LIFE_NOT_SET
	case fSetRWHint, fSetFileRWHint:
		n, err := t.CopyInUint64(arg)
		if err == nil && n > 5 {
			err = unix.EINVAL
		}
		return 0, err
	}
	return 0, unix.EINVAL
}

func setStatusFlags(t *kernel.Task, d *vfs.FileDescription, fd int32, flags uint32) error {
	if flags&unix.O_NOATIME != 0 && d.Flags()&unix.O_NOATIME == 0 && d.Inode != nil {
		a, err := d.Attr(t)
		if err != nil {
			return err
		}
		if c := t.Credentials(); c.FSUID != a.UID && !c.CanOverUser(unix.CAP_FOWNER, a.UID) {
			return unix.EPERM
		}
	}
	changed := (flags ^ d.Flags()) & unix.O_ASYNC
	d.SetStatusFlags(flags)
	if changed != 0 {
		setAsync(t, d, fd)
	}
	return nil
}

// setLease refuses a lease as a file system without them does.
func setLease(d *vfs.FileDescription, arg uint64) error {
	switch int32(arg) {
	case unix.F_UNLCK:
		return unix.EAGAIN // there is none to remove
	case unix.F_RDLCK, unix.F_WRLCK:
	}
	return unix.EINVAL
}

// asyncOwner answers the commands about who gets SIGIO.
func asyncOwner(t *kernel.Task, d *vfs.FileDescription, cmd int32, arg uint64) (uintptr, error) {
	var o vfs.AsyncOwner
	if p := d.Owner(); p != nil {
		o = *p
	}
	switch cmd {
	case unix.F_GETOWN:
		if o.Type == ownerGroup {
			return uintptr(-int64(o.PID)), nil
		}
		return uintptr(o.PID), nil
	case unix.F_SETOWN:
		o.Type, o.PID = ownerProcess, int32(arg)
		if o.PID < 0 {
			if o.PID == -1<<31 {
				return 0, unix.EINVAL
			}
			o.Type, o.PID = ownerGroup, -o.PID
		}
	case unix.F_GETOWN_EX:
		return 0, t.CopyOutUint64(arg, uint64(uint32(o.Type))|uint64(uint32(o.PID))<<32)
	case unix.F_SETOWN_EX:
		n, err := t.CopyInUint64(arg)
		if err != nil {
			return 0, err
		}
		o.Type, o.PID = int32(n), int32(n>>32)
		if o.Type < ownerThread || o.Type > ownerGroup {
			return 0, unix.EINVAL
		}
	case unix.F_GETSIG:
		return uintptr(o.Signal), nil
	case unix.F_SETSIG:
		if n := int32(arg); n != 0 && !kernel.ValidSignal(n) {
			return 0, unix.EINVAL
		}
		o.Signal = int32(arg)
	}
	if cmd == unix.F_SETOWN || cmd == unix.F_SETOWN_EX {
		tell, err := ownerTeller(t, &o)
		if err != nil {
			return 0, err
		}
		o.Tell = tell
	}
	d.SetOwner(&o)
	return 0, nil
}
