package syscalls

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/mqueue"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func mqueueRows() []Row {
	return []Row{
		full(240, "mq_open", sysMqOpen, P("name", Str), PF("oflag", Flags, mqFlags), P("mode", Mode), P("attr", MqAttr)).returns(FD),
		full(241, "mq_unlink", sysMqUnlink, P("name", Str)),
		full(242, "mq_timedsend", sysMqTimedsend, P("mqdes", FD), P("msg_ptr", Buf), P("msg_len", Unsigned),
			P("msg_prio", Unsigned), P("abs_timeout", Timespec)),
		full(243, "mq_timedreceive", sysMqTimedreceive, P("mqdes", FD), P("msg_ptr", OutBuf), P("msg_len", Unsigned),
			P("msg_prio", OutInt), P("abs_timeout", Timespec)),
		partial(244, "mq_notify", sysMqNotify, "SIGEV_THREAD is EINVAL, since it needs a netlink socket",
			P("mqdes", FD), P("sevp", Sigevent)),
		full(245, "mq_getsetattr", sysMqGetsetattr, P("mqdes", FD), P("newattr", MqAttr), P("oldattr", OutMqAttr)),
	}
}

var mqFlags = &FlagSet{
	Names: []FlagName{
		{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_CLOEXEC, "O_CLOEXEC"},
	},
	Mask:   unix.O_ACCMODE,
	Values: []FlagName{{unix.O_RDONLY, "O_RDONLY"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"}},
}

// mqAttr is struct mq_attr.
type mqAttr struct {
	mqueue.Attr
	_ [4]int64
}

// sysMqOpen is mq_open(2).
func sysMqOpen(t *kernel.Task, a kernel.Args) (uintptr, error) {
	name, err := t.CopyInPath(a[0])
	if err != nil {
		return 0, err
	}
	flags := a.Uint(1)
	var attr *mqueue.Attr
	if flags&unix.O_CREAT != 0 && a[3] != 0 {
		var raw mqAttr
		if err := kernel.CopyInStruct(t, a[3], &raw); err != nil {
			return 0, err
		}
		attr = &raw.Attr
	}
	d, err := t.MessageQueues().Open(t, name, flags, a.Uint(2)&0o7777, attr, t.QueueAllowance())
	if err != nil {
		return 0, err
	}
	// Message queues are close-on-exec always.
	return installFile(t, d, true)
}

// sysMqUnlink is mq_unlink(2).
func sysMqUnlink(t *kernel.Task, a kernel.Args) (uintptr, error) {
	name, err := t.CopyInPath(a[0])
	if err != nil {
		return 0, err
	}
	return 0, t.MessageQueues().Unlink(t, name)
}

// queueOf returns the queue behind fd, and its description with a reference.
func queueOf(t *kernel.Task, fd int32) (*mqueue.Queue, *vfs.FileDescription, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	f, ok := d.File.(*mqueue.File)
	if !ok {
		d.DecRef()
		return nil, nil, unix.EBADF
	}
	return f.Queue, d, nil
}

// mqDeadline reads an absolute time-out of CLOCK_REALTIME; 0 is never.
func mqDeadline(t *kernel.Task, addr uint64) (time.Time, error) {
	if addr == 0 {
		return time.Time{}, nil
	}
	at, err := copyInTimespec(t, addr)
	if err != nil {
		return time.Time{}, err
	}
	return t.WallDeadline(unix.CLOCK_REALTIME, at), nil
}

// sysMqTimedsend is mq_timedsend(2).
func sysMqTimedsend(t *kernel.Task, a kernel.Args) (uintptr, error) {
	deadline, err := mqDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	q, d, err := queueOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if !d.CanWrite() {
		return 0, unix.EBADF
	}
	if a[2] > uint64(q.MsgSize()) {
		return 0, unix.EMSGSIZE
	}
	data := make([]byte, a[2])
	if _, err := t.CopyIn(a[1], data); err != nil {
		return 0, err
	}
	try := func() error { return q.Send(t, data, a.Uint(3)) }
	if d.Nonblocking() {
		return 0, try()
	}
	return 0, waitFor(t, q, waiter.Writable, deadline, try)
}

// sysMqTimedreceive is mq_timedreceive(2).
func sysMqTimedreceive(t *kernel.Task, a kernel.Args) (uintptr, error) {
	deadline, err := mqDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	q, d, err := queueOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if !d.CanRead() {
		return 0, unix.EBADF
	}
	var data []byte
	var prio uint32
	try := func() (err error) {
		data, prio, err = q.Receive(a[2])
		return err
	}
	if err = try(); err == unix.EAGAIN && !d.Nonblocking() {
		q.Waiting(1)
		err = waitFor(t, q, waiter.Readable, deadline, try)
		q.Waiting(-1)
	}
	if err != nil {
		return 0, err
	}
	if a[3] != 0 {
		if err := t.CopyOutUint32(a[3], prio); err != nil {
			return 0, err
		}
	}
	return copyOutBytes(t, a[1], data, int32(len(data)))
}

// sysMqNotify is mq_notify(2).
func sysMqNotify(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const siMesgq = -3
	q, d, err := queueOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if a[1] == 0 {
		return 0, q.SetNotify(t.FirstPID(), nil)
	}
	// struct sigevent begins with value, signo and notify.
	var raw struct {
		Value         uint64
		Signo, Notify int32
	}
	if err := kernel.CopyInStruct(t, a[1], &raw); err != nil {
		return 0, err
	}
	g, users := t.ThreadGroup(), t.Credentials().UserNS
	switch {
	case raw.Notify == kernel.SigevNone:
		return 0, q.SetNotify(t.FirstPID(), func(vfs.Caller) {})
	case raw.Notify == kernel.SigevSignal && kernel.ValidSignal(raw.Signo):
		return 0, q.SetNotify(t.FirstPID(), func(sender vfs.Caller) {
			info := &abi.Siginfo{Signo: raw.Signo, Code: siMesgq}
			if s, ok := sender.(*kernel.Task); ok {
				info.SetPID(s.ThreadGroup().IDIn(g.PIDs()))
				info.SetUID(users.FromUID(s.Credentials().RUID))
			}
			info.SetValue(raw.Value)
			// A full queue of signals loses it, as on Linux.
			_ = g.Signal(info)
		})
	}
	return 0, unix.EINVAL
}

// sysMqGetsetattr is mq_getsetattr(2): of the attributes only O_NONBLOCK can
// be changed.
func sysMqGetsetattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var set mqAttr
	if a[1] != 0 {
		if err := kernel.CopyInStruct(t, a[1], &set); err != nil {
			return 0, err
		}
		if set.Flags&^unix.O_NONBLOCK != 0 {
			return 0, unix.EINVAL
		}
	}
	q, d, err := queueOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	old := mqAttr{Attr: q.Attr()}
	old.Flags = int64(d.Flags() & unix.O_NONBLOCK)
	if a[1] != 0 {
		d.SetStatusFlags(d.Flags()&^unix.O_NONBLOCK | uint32(set.Flags))
	}
	if a[2] == 0 {
		return 0, nil
	}
	return 0, kernel.CopyOutStruct(t, a[2], &old)
}
