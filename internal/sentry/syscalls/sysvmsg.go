package syscalls

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func sysvmsgRows() []Row {
	return []Row{
		full(68, "msgget", sysMsgget, P("key", Hex), PF("msgflg", Flags, ipcFlags)),
		full(69, "msgsnd", sysMsgsnd, P("msqid", Dec), P("msgp", MsgBuf), P("msgsz", Unsigned), PF("msgflg", Flags, msgFlagsIPC)),
		partial(70, "msgrcv", sysMsgrcv, "MSG_COPY is ENOSYS, as without CONFIG_CHECKPOINT_RESTORE",
			P("msqid", Dec), P("msgp", OutMsgBuf), P("msgsz", Unsigned), P("msgtyp", Dec), PF("msgflg", Flags, msgFlagsIPC)),
		partial(71, "msgctl", sysMsgctl, "msg_qbytes above 16384 is EPERM for everybody",
			P("msqid", Dec), PF("cmd", Enum, msgCommands), PD("buf", msgArg)),
	}
}

const (
	msgStat    = 11
	msgInfo    = 12
	msgStatAny = 13
)

var (
	msgFlagsIPC = &FlagSet{Names: []FlagName{
		{ipc.NoWait, "IPC_NOWAIT"}, {ipc.MsgNoError, "MSG_NOERROR"}, {ipc.MsgExcept, "MSG_EXCEPT"}, {ipc.MsgCopy, "MSG_COPY"},
	}}
	msgCommands = &FlagSet{Values: append(ipcCommands[:len(ipcCommands):len(ipcCommands)],
		FlagName{msgStat, "MSG_STAT"}, FlagName{msgInfo, "MSG_INFO"}, FlagName{msgStatAny, "MSG_STAT_ANY"})}
)

// sysMsgget is msgget(2).
func sysMsgget(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, err := t.IPC().Messages.Get(t.IPCActor(), a.Int(0), a.Uint(1))
	return uintptr(id), err
}

// waitMessages makes try again until the queue lets it. full is the error
// for IPC_NOWAIT. Handlers end the wait always (signal(7)).
func waitMessages(t *kernel.Task, q *ipc.MsgQueue, mask waiter.Mask, nowait bool, full error, try func() error) error {
	if nowait {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		return full
	}
	err := waitFor(t, q, mask, time.Time{}, try)
	if err == abi.ERESTARTSYS {
		return abi.ERESTARTNOHAND
	}
	return err
}

// sysMsgsnd is msgsnd(2).
func sysMsgsnd(t *kernel.Task, a kernel.Args) (uintptr, error) {
	typ, err := t.CopyInUint64(a[1])
	if err != nil {
		return 0, err
	}
	if a[2] > ipc.MaxMessage || int64(typ) < 1 || a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	data := make([]byte, a[2])
	if _, err := t.CopyIn(a[1]+8, data); err != nil {
		return 0, err
	}
	q, err := t.IPC().Messages.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, waitMessages(t, q, waiter.Writable, a.Uint(3)&ipc.NoWait != 0, unix.EAGAIN, func() error {
		return q.Send(t.IPCActor(), int64(typ), data)
	})
}

// sysMsgrcv is msgrcv(2).
func sysMsgrcv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(4)
	if flags&ipc.MsgCopy != 0 {
		return 0, unix.ENOSYS
	}
	if int64(a[2]) < 0 || a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	q, err := t.IPC().Messages.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	var typ int64
	var data []byte
	err = waitMessages(t, q, waiter.Readable, flags&ipc.NoWait != 0, unix.ENOMSG, func() (err error) {
		typ, data, err = q.Receive(t.IPCActor(), int64(a[3]), a[2], flags)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := t.CopyOutUint64(a[1], uint64(typ)); err != nil {
		return 0, err
	}
	return copyOutBytes(t, a[1]+8, data, int32(len(data)))
}

// sysMsgctl is msgctl(2).
func sysMsgctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	queues, actor, cmd := &t.IPC().Messages, t.IPCActor(), a.Int(1)&^ipc64
	switch cmd {
	case ipcInfo, msgInfo:
		n, highest := queues.Usage()
		pool := int32(0)
		if cmd == msgInfo {
			pool = int32(n)
		}
		b := ints(pool, 0, ipc.MaxMessage, ipc.MaxQueued, 4096, 16, ipc.MaxQueued, 0xffff)
		return copyOutBytes(t, a[2], b, highest)
	case msgStat, msgStatAny:
		q, id, err := queues.ByIndex(a.Int(0))
		if err != nil {
			return 0, err
		}
		b, err := q.Stat(actor, cmd == msgStatAny)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[2], b, id)
	}
	q, err := queues.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	switch cmd {
	case ipcStat:
		b, err := q.Stat(actor, false)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[2], b, 0)
	case ipcSet:
		p, b, err := copyInPerm(t, a[2], ipc.MsqidSize)
		if err != nil {
			return 0, err
		}
		return 0, q.Set(actor, p, le.Uint64(b[88:]))
	case ipcRmid:
		return 0, q.Remove(actor)
	}
	return 0, unix.EINVAL
}
