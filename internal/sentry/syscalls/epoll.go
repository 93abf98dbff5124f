package syscalls

import (
	"encoding/binary"
	"sync"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/epoll"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func epollRows() []Row {
	return []Row{
		full(213, "epoll_create", sysEpollCreate, P("size", Dec)).returns(FD),
		full(291, "epoll_create1", sysEpollCreate1, PF("flags", Flags, epollFlags)).returns(FD),
		partial(233, "epoll_ctl", sysEpollCtl, "EPOLLEXCLUSIVE wakes every set that waits; EPOLLWAKEUP has no effect",
			P("epfd", FD), PF("op", Enum, epollOps), P("fd", FD), P("event", EpollEvent)),
		full(232, "epoll_wait", sysEpollWait, P("epfd", FD), P("events", OutEpollEvents), P("maxevents", Dec), P("timeout", Dec)),
		full(281, "epoll_pwait", sysEpollPwait, P("epfd", FD), P("events", OutEpollEvents), P("maxevents", Dec),
			P("timeout", Dec), P("sigmask", SigSet), P("sigsetsize", Unsigned)),
		full(441, "epoll_pwait2", sysEpollPwait2, P("epfd", FD), P("events", OutEpollEvents), P("maxevents", Dec),
			P("timeout", Timespec), P("sigmask", SigSet), P("sigsetsize", Unsigned)),
	}
}

var (
	epollFlags = &FlagSet{Names: []FlagName{{unix.EPOLL_CLOEXEC, "EPOLL_CLOEXEC"}}}
	epollOps   = &FlagSet{Values: []FlagName{
		{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"}, {unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"}, {unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"},
	}}
)

// sizeofEpollEvent is sizeof(struct epoll_event), which amd64 packs.
const sizeofEpollEvent = 12

// sysEpollCreate is epoll_create(2).
func sysEpollCreate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return installFile(t, epoll.New(&t.Counts().EpollWatches), false)
}

// sysEpollCreate1 is epoll_create1(2).
func sysEpollCreate1(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(0)
	if flags&^unix.EPOLL_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	return installFile(t, epoll.New(&t.Counts().EpollWatches), flags != 0)
}

// sysEpollCtl is epoll_ctl(2).
func sysEpollCtl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	op, fd := a.Int(1), a.Int(2)
	var event [sizeofEpollEvent]byte
	if op != unix.EPOLL_CTL_DEL {
		if _, err := t.CopyIn(a[3], event[:]); err != nil {
			return 0, err
		}
	}
	self, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer self.DecRef()
	d, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	s, ok := self.File.(*epoll.Set)
	if !ok {
		return 0, unix.EINVAL
	}
	return 0, s.Control(self, op, fd, d,
		binary.LittleEndian.Uint32(event[:]), binary.LittleEndian.Uint64(event[4:]))
}

// sysEpollWait is epoll_wait(2).
func sysEpollWait(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return epollWait(t, a, millisecondsFromNow(a.Int(3)), a.Int(3) == 0)
}

// sysEpollPwait is epoll_pwait(2).
func sysEpollPwait(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if err := pushMask(t, a[4], a[5]); err != nil {
		return 0, err
	}
	n, err := epollWait(t, a, millisecondsFromNow(a.Int(3)), a.Int(3) == 0)
	t.PopMask(err == unix.EINTR)
	return n, err
}

// sysEpollPwait2 is epoll_pwait2(2).
func sysEpollPwait2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var deadline time.Time
	poll := false
	if a[3] != 0 {
		d, err := copyInTimespec(t, a[3])
		if err != nil {
			return 0, err
		}
		deadline, poll = fromNow(d), d == 0
	}
	if err := pushMask(t, a[4], a[5]); err != nil {
		return 0, err
	}
	n, err := epollWait(t, a, deadline, poll)
	t.PopMask(err == unix.EINTR)
	return n, err
}

// epollBuffer holds one call's events on their way to the guest. A call
// returns no more of them at once, whatever its maxevents.
type epollBuffer struct {
	events [256]epoll.Event
	raw    [256 * sizeofEpollEvent]byte
}

var epollBuffers = sync.Pool{New: func() any { return new(epollBuffer) }}

// epollWait waits until deadline for events; poll says not to wait at all. As
// on Linux any signal ends the wait with EINTR (signal(7)).
func epollWait(t *kernel.Task, a kernel.Args, deadline time.Time, poll bool) (uintptr, error) {
	most := a.Int(2)
	if most <= 0 || most > 1<<31/sizeofEpollEvent {
		return 0, unix.EINVAL
	}
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	s, ok := d.File.(*epoll.Set)
	if !ok {
		return 0, unix.EINVAL
	}
	b := epollBuffers.Get().(*epollBuffer)
	defer epollBuffers.Put(b)
	out := b.events[:min(int(most), len(b.events))]
	n := s.Collect(out)
	if n == 0 && !poll {
		err := waitFor(t, s, waiter.In, deadline, func() error {
			if n = s.Collect(out); n == 0 {
				return unix.EAGAIN
			}
			return nil
		})
		switch err {
		case nil, unix.ETIMEDOUT:
		case abi.ERESTARTSYS:
			return 0, unix.EINTR
		default:
			return 0, err
		}
	}
	raw := b.raw[:n*sizeofEpollEvent]
	for i, e := range out[:n] {
		binary.LittleEndian.PutUint32(raw[i*sizeofEpollEvent:], e.Events)
		binary.LittleEndian.PutUint64(raw[i*sizeofEpollEvent+4:], e.Data)
	}
	if err := t.CopyOutLate(a[1], raw); err != nil {
		return 0, err
	}
	return uintptr(n), nil
}
