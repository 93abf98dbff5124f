package syscalls

import (
	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func spliceRows() []Row {
	return []Row{
		partial(275, "splice", sysSplice, "data is copied; of two readers of one pipe both may see what one splices",
			P("fd_in", FD), P("off_in", InOutOff), P("fd_out", FD), P("off_out", InOutOff), P("size", Unsigned), PF("flags", Flags, spliceNames)),
		partial(276, "tee", sysTee, "data is copied",
			P("fd_in", FD), P("fd_out", FD), P("size", Unsigned), PF("flags", Flags, spliceNames)),
		partial(278, "vmsplice", sysVmsplice, "data is copied, as writev and readv do",
			P("fd", FD), P("iov", RangeVec), P("nr_segs", Unsigned), PF("flags", Flags, spliceNames)),
	}
}

var spliceNames = &FlagSet{Names: []FlagName{
	{unix.SPLICE_F_MOVE, "SPLICE_F_MOVE"}, {unix.SPLICE_F_NONBLOCK, "SPLICE_F_NONBLOCK"},
	{unix.SPLICE_F_MORE, "SPLICE_F_MORE"}, {unix.SPLICE_F_GIFT, "SPLICE_F_GIFT"},
}}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MORE | unix.SPLICE_F_GIFT

// pipeOf returns the pipe that a description is an end of, or nil.
func pipeOf(d *vfs.FileDescription) *pipefs.Pipe {
	p, _, _ := pipefs.Of(d.File)
	return p
}

func sysSplice(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(5)
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	if a[4] == 0 {
		return 0, nil
	}
	var p filePair
	if err := p.open(t, a.Int(0), a.Int(2)); err != nil {
		return 0, err
	}
	defer p.close()
	from, to := pipeOf(p.in.d), pipeOf(p.out.d)
	if from != nil && a[1] != 0 || to != nil && a[3] != 0 {
		return 0, unix.ESPIPE
	}
	if from == nil && to == nil || from == to || p.out.flags&unix.O_APPEND != 0 {
		return 0, unix.EINVAL
	}
	if err := p.in.offsetArg(t, a[1]); err != nil {
		return 0, err
	}
	if err := p.out.offsetArg(t, a[3]); err != nil {
		return 0, err
	}
	// The flag speaks of the pipes only.
	if flags&unix.SPLICE_F_NONBLOCK != 0 {
		p.in.nonblock = p.in.nonblock || from != nil
		p.out.nonblock = p.out.nonblock || to != nil
	}
	count := min(a[4], maxStep)
	var n int
	var err error
	if from != nil {
		n, err = p.fromPipe(t, from, count, true)
	} else {
		n, err = p.intoPipe(t, to, count)
	}
	if err != nil {
		p.out.signal(t, err)
		return 0, err
	}
	if err := p.in.storeOffset(t, a[1]); err != nil {
		return 0, err
	}
	return uintptr(n), p.out.storeOffset(t, a[3])
}

// fromPipe moves what a pipe holds, up to count bytes, and with consume set
// takes it out of the pipe. 0 is the end of the pipe.
func (p *filePair) fromPipe(t *kernel.Task, from *pipefs.Pipe, count uint64, consume bool) (int, error) {
	buf := getBuffer(min(count, uint64(from.Size())))
	defer buf.put()
	n := 0
	err := p.in.wait(t, waiter.Readable, func() (err error) {
		n, err = from.Peek(buf.b, 0)
		if n == 0 && err == nil && p.in.d.Readiness(waiter.Hup)&waiter.Hup == 0 {
			err = unix.EAGAIN
		}
		return err
	})
	if err != nil || n == 0 {
		return 0, err
	}
	w, err := p.out.writeAll(t, buf.b[:n])
	if w == 0 {
		return 0, err
	}
	if consume {
		p.in.d.Read(t, buf.b[:w])
	}
	return w, nil
}

// intoPipe moves up to count bytes of a file or stream into a pipe: as much as
// there is room for.
func (p *filePair) intoPipe(t *kernel.Task, to *pipefs.Pipe, count uint64) (int, error) {
	room := 0
	err := p.out.wait(t, waiter.Writable, func() error {
		if p.out.d.Readiness(waiter.Err)&waiter.Err != 0 {
			return unix.EPIPE
		}
		if room = to.Free(); room == 0 {
			return unix.EAGAIN
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	buf := getBuffer(min(count, uint64(room)))
	defer buf.put()
	n := 0
	err = p.in.wait(t, waiter.Readable|waiter.RdHup, func() (err error) {
		n, err = p.in.readOnce(t, buf.b)
		return err
	})
	if err != nil || n == 0 {
		return 0, err
	}
	// Another writer may have taken the room: what was read must go in.
	p.out.nonblock = false
	return p.out.writeAll(t, buf.b[:n])
}

func sysTee(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	if a[2] == 0 {
		return 0, nil
	}
	var p filePair
	if err := p.open(t, a.Int(0), a.Int(1)); err != nil {
		return 0, err
	}
	defer p.close()
	from, to := pipeOf(p.in.d), pipeOf(p.out.d)
	if from == nil || to == nil || from == to {
		return 0, unix.EINVAL
	}
	if flags&unix.SPLICE_F_NONBLOCK != 0 {
		p.in.nonblock, p.out.nonblock = true, true
	}
	n, err := p.fromPipe(t, from, min(a[2], maxStep), false)
	if err != nil {
		p.out.signal(t, err)
		return 0, err
	}
	return uintptr(n), nil
}

func sysVmsplice(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	var x transfer
	var g guestBuffer
	if err := x.open(t, a.Int(0)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	if pipeOf(x.d) == nil {
		return 0, unix.EBADF
	}
	v, err := g.getVector(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	defer v.put()
	if g.total == 0 {
		return 0, nil
	}
	if flags&unix.SPLICE_F_NONBLOCK != 0 {
		x.nonblock = true
	}
	if x.d.CanWrite() {
		return x.write(t, &g)
	}
	return x.read(t, &g)
}
