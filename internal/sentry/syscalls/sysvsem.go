package syscalls

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const semCaveat = "CLONE_SYSVSEM changes nothing: the threads of a process share what SEM_UNDO undoes, and others don't"

func sysvsemRows() []Row {
	return []Row{
		full(64, "semget", sysSemget, P("key", Hex), P("nsems", Dec), PF("semflg", Flags, ipcFlags)),
		partial(65, "semop", sysSemop, semCaveat, P("semid", Dec), P("sops", SemOps), P("nsops", Unsigned)),
		full(66, "semctl", sysSemctl, P("semid", Dec), P("semnum", Dec), PF("cmd", Enum, semCommands), PD("arg", semArg)),
		partial(220, "semtimedop", sysSemtimedop, semCaveat, P("semid", Dec), P("sops", SemOps), P("nsops", Unsigned), P("timeout", Timespec)),
	}
}

const (
	semGetpid  = 11
	semGetval  = 12
	semGetall  = 13
	semGetncnt = 14
	semGetzcnt = 15
	semSetval  = 16
	semSetall  = 17
	semStat    = 18
	semInfo    = 19
	semStatAny = 20
)

var semCommands = &FlagSet{Values: append(ipcCommands[:len(ipcCommands):len(ipcCommands)],
	FlagName{semGetpid, "GETPID"}, FlagName{semGetval, "GETVAL"}, FlagName{semGetall, "GETALL"},
	FlagName{semGetncnt, "GETNCNT"}, FlagName{semGetzcnt, "GETZCNT"}, FlagName{semSetval, "SETVAL"},
	FlagName{semSetall, "SETALL"}, FlagName{semStat, "SEM_STAT"}, FlagName{semInfo, "SEM_INFO"},
	FlagName{semStatAny, "SEM_STAT_ANY"})}

// sysSemget is semget(2).
func sysSemget(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, err := t.IPC().Semaphores.Get(t.IPCActor(), a.Int(0), a.Int(1), a.Uint(2))
	return uintptr(id), err
}

// sysSemop is semop(2).
func sysSemop(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, semOperate(t, a, time.Time{})
}

// sysSemtimedop is semtimedop(2).
func sysSemtimedop(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3] == 0 {
		return 0, semOperate(t, a, time.Time{})
	}
	d, err := copyInTimespec(t, a[3])
	if err != nil {
		return 0, err
	}
	return 0, semOperate(t, a, fromNow(d))
}

// semOperate does the operations at a[1], and waits until they can be done.
// A signal ends the wait with EINTR always (signal(7)).
func semOperate(t *kernel.Task, a kernel.Args, deadline time.Time) error {
	n := a.Uint(2)
	switch {
	case n == 0:
		return unix.EINVAL
	case n > ipc.MaxSemOps:
		return unix.E2BIG
	}
	raw := make([]byte, 6*n)
	if _, err := t.CopyIn(a[1], raw); err != nil {
		return err
	}
	ops := make([]ipc.SemOp, n)
	for i := range ops {
		b := raw[6*i:]
		ops[i] = ipc.SemOp{Num: le.Uint16(b), Op: int16(le.Uint16(b[2:])), Flags: int16(le.Uint16(b[4:]))}
	}
	set, err := t.IPC().Semaphores.Find(a.Int(0))
	if err != nil {
		return err
	}
	// block is what the last attempt had to wait for; the set counts those
	// who sleep.
	var block ipc.SemBlock
	counted := false
	refused := false
	err = waitFor(t, set, waiter.All, deadline, func() error {
		if counted {
			set.Wait(block, -1)
			counted = false
		}
		var err error
		block, err = set.Operate(t.IPCActor(), t.ThreadGroup(), ops)
		if err != unix.EAGAIN {
			return err
		}
		if block.NoWait {
			refused = true
			return nil
		}
		set.Wait(block, 1)
		counted = true
		return err
	})
	if counted {
		set.Wait(block, -1)
	}
	switch {
	case refused || err == unix.ETIMEDOUT:
		return unix.EAGAIN
	case err == abi.ERESTARTSYS:
		return unix.EINTR
	}
	return err
}

// sysSemctl is semctl(2).
func sysSemctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	sets, actor, cmd := &t.IPC().Semaphores, t.IPCActor(), a.Int(2)&^ipc64
	switch cmd {
	case ipcInfo, semInfo:
		n, total, highest := sets.Usage()
		usz, aem := int32(20), int32(ipc.MaxSemValue)
		if cmd == semInfo {
			usz, aem = int32(n), int32(total)
		}
		b := ints(ipc.MaxSems, 4096, ipc.MaxSems, ipc.MaxSems, ipc.MaxSemsPerSet, ipc.MaxSemOps,
			ipc.MaxSemOps, usz, ipc.MaxSemValue, aem)
		return copyOutBytes(t, a[3], b, highest)
	case semStat, semStatAny:
		set, id, err := sets.ByIndex(a.Int(0))
		if err != nil {
			return 0, err
		}
		b, err := set.Stat(actor, cmd == semStatAny)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[3], b, id)
	}
	set, err := sets.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	switch cmd {
	case ipcStat:
		b, err := set.Stat(actor, false)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[3], b, 0)
	case ipcSet:
		p, _, err := copyInPerm(t, a[3], ipc.PermSize)
		if err != nil {
			return 0, err
		}
		return 0, set.Set(actor, p)
	case ipcRmid:
		return 0, set.Remove(actor)
	case semSetval:
		return 0, set.SetValue(actor, a.Int(1), a.Int(3))
	case semSetall:
		return 0, semSetAll(t, set, a[3])
	case semGetall, semGetval, semGetpid, semGetncnt, semGetzcnt:
		return semGet(t, set, cmd, a.Int(1), a[3])
	}
	return 0, unix.EINVAL
}

func semSetAll(t *kernel.Task, set *ipc.SemSet, addr uint64) error {
	raw := make([]byte, 2*set.Len())
	if _, err := t.CopyIn(addr, raw); err != nil {
		return err
	}
	values := make([]uint16, set.Len())
	for i := range values {
		values[i] = le.Uint16(raw[2*i:])
	}
	return set.SetAll(t.IPCActor(), values)
}

// semGet answers the commands that tell of one semaphore, and GETALL.
func semGet(t *kernel.Task, set *ipc.SemSet, cmd, num int32, addr uint64) (uintptr, error) {
	list, err := set.Info(t.IPCActor())
	if err != nil {
		return 0, err
	}
	if cmd == semGetall {
		var b []byte
		for _, s := range list {
			b = le.AppendUint16(b, uint16(s.Value))
		}
		return copyOutBytes(t, addr, b, 0)
	}
	if num < 0 || int(num) >= len(list) {
		return 0, unix.EINVAL
	}
	s := list[num]
	return uintptr(map[int32]int32{
		semGetval: s.Value, semGetpid: s.PID, semGetncnt: s.WaitUp, semGetzcnt: s.WaitZero,
	}[cmd]), nil
}
