package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func pipeRows() []Row {
	return []Row{
		full(22, "pipe", sysPipe, P("pipefd", OutFDPair)),
		full(293, "pipe2", sysPipe2, P("pipefd", OutFDPair), PF("flags", Flags, pipeFlags)),
	}
}

var pipeFlags = &FlagSet{Names: []FlagName{
	{unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DIRECT, "O_DIRECT"},
}}

// sysPipe is pipe(2).
func sysPipe(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, makePipe(t, a[0], 0)
}

// sysPipe2 is pipe2(2).
func sysPipe2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, makePipe(t, a[0], a.Uint(1))
}

func makePipe(t *kernel.Task, addr uint64, flags uint32) error {
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return unix.EINVAL
	}
	r, w := pipefs.New(t.Credentials(), flags)
	return installPair(t, addr, r, w, flags&unix.O_CLOEXEC != 0)
}

// installFile gives a new description a descriptor. It takes over the
// caller's reference.
func installFile(t *kernel.Task, d *vfs.FileDescription, cloexec bool) (uintptr, error) {
	defer d.DecRef()
	fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), cloexec)
	if err != nil {
		return 0, err
	}
	return uintptr(fd), nil
}

// installPair gives two new descriptions descriptors, both or none, and
// writes them to int[2] at addr. It takes over the caller's references.
func installPair(t *kernel.Task, addr uint64, x, y *vfs.FileDescription, cloexec bool) error {
	defer x.DecRef()
	defer y.DecRef()
	limit := t.Limit(unix.RLIMIT_NOFILE)
	fdX, err := t.FDs().Install(x, 0, limit, cloexec)
	if err != nil {
		return err
	}
	fdY, err := t.FDs().Install(y, 0, limit, cloexec)
	if err != nil {
		uninstall(t, fdX)
		return err
	}
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(fdX))
	binary.LittleEndian.PutUint32(b[4:], uint32(fdY))
	if _, err := t.CopyOut(addr, b[:]); err != nil {
		uninstall(t, fdX)
		uninstall(t, fdY)
		return err
	}
	return nil
}

// uninstall undoes Install for a call that fails after it.
func uninstall(t *kernel.Task, fd int32) {
	if d := t.FDs().Remove(fd); d != nil {
		d.DecRef()
	}
}
