package syscalls

import (
	"math"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func futexRows() []Row {
	return []Row{
		partial(202, "futex", sysFutex,
			"FUTEX_FD returns ENOSYS, as on Linux; PI futexes go to waiters in the order in which they came",
			P("uaddr", Addr), PF("op", Flags, futexOps), P("val", Dec),
			PD("timeout", futexArg(3)), PD("uaddr2", futexArg(4)), PD("val3", futexArg(5))),
		full(273, "set_robust_list", sysSetRobustList, P("head", RobustList), P("len", Unsigned)),
		full(274, "get_robust_list", sysGetRobustList, P("pid", Dec), P("head_ptr", OutAddr), P("len_ptr", OutLong)),
		partial(449, "futex_waitv", sysFutexWaitv, "futexes of 32 bits only, as on Linux",
			P("waiters", FutexWaiters), P("nr_futexes", Unsigned), P("flags", Hex), P("timeout", Timespec), P("clockid", Clock)),
		partial(454, "futex_wake", sysFutexWake, "FUTEX2_NUMA and FUTEX2_MPOL are EINVAL",
			P("uaddr", Addr), P("mask", Hex), P("nr", Dec), PF("flags", Flags, futex2Flags)),
		partial(455, "futex_wait", sysFutexWait, "FUTEX2_NUMA and FUTEX2_MPOL are EINVAL",
			P("uaddr", Addr), P("val", Hex), P("mask", Hex), PF("flags", Flags, futex2Flags), P("timeout", Timespec), P("clockid", Clock)),
		partial(456, "futex_requeue", sysFutexRequeue, "FUTEX2_NUMA and FUTEX2_MPOL are EINVAL",
			P("waiters", FutexPair), P("flags", Hex), P("nr_wake", Dec), P("nr_requeue", Dec)),
	}
}

var futexOps = &FlagSet{
	Mask: 127,
	Values: []FlagName{
		{abi.FUTEX_WAIT, "FUTEX_WAIT"}, {abi.FUTEX_WAKE, "FUTEX_WAKE"}, {abi.FUTEX_FD, "FUTEX_FD"},
		{abi.FUTEX_REQUEUE, "FUTEX_REQUEUE"}, {abi.FUTEX_CMP_REQUEUE, "FUTEX_CMP_REQUEUE"},
		{abi.FUTEX_WAKE_OP, "FUTEX_WAKE_OP"}, {abi.FUTEX_LOCK_PI, "FUTEX_LOCK_PI"},
		{abi.FUTEX_UNLOCK_PI, "FUTEX_UNLOCK_PI"}, {abi.FUTEX_TRYLOCK_PI, "FUTEX_TRYLOCK_PI"},
		{abi.FUTEX_WAIT_BITSET, "FUTEX_WAIT_BITSET"}, {abi.FUTEX_WAKE_BITSET, "FUTEX_WAKE_BITSET"},
		{abi.FUTEX_WAIT_REQUEUE_PI, "FUTEX_WAIT_REQUEUE_PI"},
		{abi.FUTEX_CMP_REQUEUE_PI, "FUTEX_CMP_REQUEUE_PI"}, {abi.FUTEX_LOCK_PI2, "FUTEX_LOCK_PI2"},
	},
	Names: []FlagName{
		{abi.FUTEX_PRIVATE_FLAG, "FUTEX_PRIVATE_FLAG"}, {abi.FUTEX_CLOCK_REALTIME, "FUTEX_CLOCK_REALTIME"},
	},
}

// futex2Flags are those of a futex in the newer calls; the mask is its size.
var futex2Flags = &FlagSet{
	Mask:   abi.FUTEX2_SIZE_MASK,
	Values: []FlagName{{0, "FUTEX2_SIZE_U8"}, {1, "FUTEX2_SIZE_U16"}, {abi.FUTEX2_SIZE_U32, "FUTEX2_SIZE_U32"}, {3, "FUTEX2_SIZE_U64"}},
	Names:  []FlagName{{abi.FUTEX2_NUMA, "FUTEX2_NUMA"}, {abi.FUTEX2_MPOL, "FUTEX2_MPOL"}, {abi.FUTEX2_PRIVATE, "FUTEX2_PRIVATE"}},
}

// sysFutex is futex(2).
func sysFutex(t *kernel.Task, a kernel.Args) (uintptr, error) {
	addr, op, val := a[0], a.Int(1), a.Uint(2)
	timeout, addr2, val3 := a[3], a[4], a.Uint(5)
	shared := op&abi.FUTEX_PRIVATE_FLAG == 0
	cmd := op &^ (abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME)
	clock := int32(unix.CLOCK_MONOTONIC)
	if op&abi.FUTEX_CLOCK_REALTIME != 0 {
		clock = unix.CLOCK_REALTIME
		if cmd != abi.FUTEX_WAIT_BITSET && cmd != abi.FUTEX_LOCK_PI2 && cmd != abi.FUTEX_WAIT_REQUEUE_PI {
			return 0, unix.ENOSYS
		}
	}
	switch cmd {
	case abi.FUTEX_WAIT:
		deadline, err := futexTimeout(t, timeout, clock, false)
		if err != nil {
			return 0, err
		}
		return futexWait(t, addr, val, shared, kernel.FutexMatchAny, deadline)
	case abi.FUTEX_WAIT_BITSET:
		deadline, err := futexTimeout(t, timeout, clock, true)
		if err != nil {
			return 0, err
		}
		return futexWait(t, addr, val, shared, val3, deadline)
	case abi.FUTEX_WAKE:
		n, err := t.FutexWake(addr, wakeCount(val), shared, kernel.FutexMatchAny)
		return uintptr(n), err
	case abi.FUTEX_WAKE_BITSET:
		n, err := t.FutexWake(addr, wakeCount(val), shared, val3)
		return uintptr(n), err
	case abi.FUTEX_REQUEUE, abi.FUTEX_CMP_REQUEUE:
		// The timeout's register holds a count here, a C int.
		woken, moved, err := t.FutexRequeue(addr, shared, addr2, shared,
			int(int32(val)), int(int32(timeout)), cmd == abi.FUTEX_CMP_REQUEUE, val3)
		return uintptr(woken + moved), err
	case abi.FUTEX_WAKE_OP:
		wakeOp, err := kernel.DecodeFutexOp(val3)
		if err != nil {
			return 0, err
		}
		n, err := t.FutexWakeOp(addr, addr2, shared, wakeCount(val), wakeCount(uint32(timeout)), wakeOp)
		return uintptr(n), err
	case abi.FUTEX_LOCK_PI, abi.FUTEX_LOCK_PI2:
		if cmd == abi.FUTEX_LOCK_PI {
			clock = unix.CLOCK_REALTIME
		}
		deadline, err := futexTimeout(t, timeout, clock, true)
		if err != nil {
			return 0, err
		}
		return 0, t.FutexLockPI(addr, shared, false, deadline)
	case abi.FUTEX_TRYLOCK_PI:
		return 0, t.FutexLockPI(addr, shared, true, time.Time{})
	case abi.FUTEX_UNLOCK_PI:
		return 0, t.FutexUnlockPI(addr, shared)
	case abi.FUTEX_WAIT_REQUEUE_PI:
		deadline, err := futexTimeout(t, timeout, clock, true)
		if err != nil {
			return 0, err
		}
		return 0, t.FutexWaitRequeuePI(addr, val, addr2, shared, deadline)
	case abi.FUTEX_CMP_REQUEUE_PI:
		n, err := t.FutexRequeuePI(addr, addr2, shared, int(int32(val)), int(int32(timeout)), val3)
		return uintptr(n), err
	}
	return 0, unix.ENOSYS
}

// wakeCount is the number of waiters to wake: Linux counts after it has woken
// one, so that 0 and negative counts wake one too.
func wakeCount(val uint32) int { return max(1, int(int32(val))) }

// futexTimeout reads the timeout at addr, which may be NULL.
func futexTimeout(t *kernel.Task, addr uint64, clock int32, absolute bool) (time.Time, error) {
	if addr == 0 {
		return time.Time{}, nil
	}
	d, err := copyInTimespec(t, addr)
	if err != nil {
		return time.Time{}, err
	}
	if absolute {
		return t.WallDeadline(clock, d), nil
	}
	return time.Now().Add(d), nil
}

// futexWait waits, and with a deadline goes on until that after a signal.
func futexWait(t *kernel.Task, addr uint64, val uint32, shared bool, bitset uint32, deadline time.Time) (uintptr, error) {
	err := t.FutexWait(addr, val, shared, bitset, deadline)
	if err == abi.ERESTARTSYS && !deadline.IsZero() {
		return 0, t.SetRestart(func(t *kernel.Task) (uintptr, error) {
			return futexWait(t, addr, val, shared, bitset, deadline)
		})
	}
	return 0, err
}

// sysSetRobustList is set_robust_list(2).
func sysSetRobustList(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != kernel.RobustListHeadSize {
		return 0, unix.EINVAL
	}
	t.SetRobustList(a[0])
	return 0, nil
}

// sysGetRobustList is get_robust_list(2).
func sysGetRobustList(t *kernel.Task, a kernel.Args) (uintptr, error) {
	target := t
	if tid := a.Int(0); tid != 0 {
		if target = t.PIDs().Task(tid); target == nil {
			return 0, unix.ESRCH
		}
	}
	if target != t && !mayInspect(t, target) {
		return 0, unix.EPERM
	}
	if err := t.CopyOutUint64(a[2], kernel.RobustListHeadSize); err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint64(a[1], target.RobustList())
}

// mayInspect reports whether t may look into another task, as ptrace(2)'s
// PTRACE_MODE_READ_REALCREDS says.
func mayInspect(t, target *kernel.Task) bool {
	if t.ThreadGroup() == target.ThreadGroup() {
		return true
	}
	return t.MayTrace(target) == nil
}

// futex2Shared checks the flags of the newer calls.
func futex2Shared(flags uint32) (shared bool, err error) {
	if flags&^abi.FUTEX2_PRIVATE != abi.FUTEX2_SIZE_U32 {
		return false, unix.EINVAL
	}
	return flags&abi.FUTEX2_PRIVATE == 0, nil
}

// futex2Deadline reads the absolute timeout of the newer calls.
func futex2Deadline(t *kernel.Task, addr uint64, clock int32) (time.Time, error) {
	if addr == 0 {
		return time.Time{}, nil
	}
	if clock != unix.CLOCK_REALTIME && clock != unix.CLOCK_MONOTONIC {
		return time.Time{}, unix.EINVAL
	}
	return futexTimeout(t, addr, clock, true)
}

// copyInWaitvs reads an array of struct futex_waitv and checks it.
func copyInWaitvs(t *kernel.Task, addr uint64, n int) ([]kernel.FutexWaitv, []bool, error) {
	raw := make([]abi.FutexWaitv, n)
	list := make([]kernel.FutexWaitv, n)
	shared := make([]bool, n)
	for i := range raw {
		if err := kernel.CopyInStruct(t, addr+uint64(i)*24, &raw[i]); err != nil {
			return nil, nil, err
		}
		w := &raw[i]
		s, err := futex2Shared(w.Flags)
		if err != nil || w.Reserved != 0 || w.Val > math.MaxUint32 {
			return nil, nil, unix.EINVAL
		}
		shared[i] = s
		list[i] = kernel.FutexWaitv{Addr: w.Uaddr, Val: uint32(w.Val), Shared: s}
	}
	return list, shared, nil
}

// sysFutexWaitv is futex_waitv(2).
func sysFutexWaitv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	n := a.Uint(1)
	if a.Uint(2) != 0 || n == 0 || n > kernel.MaxFutexWaitv || a[0] == 0 {
		return 0, unix.EINVAL
	}
	deadline, err := futex2Deadline(t, a[3], a.Int(4))
	if err != nil {
		return 0, err
	}
	list, _, err := copyInWaitvs(t, a[0], int(n))
	if err != nil {
		return 0, err
	}
	index, err := t.FutexWaitMultiple(list, deadline)
	return uintptr(index), err
}

// sysFutexWake is futex_wake(2), since Linux 6.7.
func sysFutexWake(t *kernel.Task, a kernel.Args) (uintptr, error) {
	shared, err := futex2Shared(a.Uint(3))
	if err != nil || a[1] > math.MaxUint32 {
		return 0, unix.EINVAL
	}
	nr := a.Int(2)
	if nr == 0 {
		return 0, nil
	}
	n, err := t.FutexWake(a[0], max(1, int(nr)), shared, uint32(a[1]))
	return uintptr(n), err
}

// sysFutexWait is futex_wait(2), since Linux 6.7. Its timeout is absolute, so
// it is simply made again after a signal.
func sysFutexWait(t *kernel.Task, a kernel.Args) (uintptr, error) {
	shared, err := futex2Shared(a.Uint(3))
	if err != nil || a[1] > math.MaxUint32 || a[2] > math.MaxUint32 {
		return 0, unix.EINVAL
	}
	deadline, err := futex2Deadline(t, a[4], a.Int(5))
	if err != nil {
		return 0, err
	}
	return 0, t.FutexWait(a[0], uint32(a[1]), shared, uint32(a[2]), deadline)
}

// sysFutexRequeue is futex_requeue(2), since Linux 6.7.
func sysFutexRequeue(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(1) != 0 || a[0] == 0 {
		return 0, unix.EINVAL
	}
	list, shared, err := copyInWaitvs(t, a[0], 2)
	if err != nil {
		return 0, err
	}
	woken, moved, err := t.FutexRequeue(list[0].Addr, shared[0], list[1].Addr, shared[1],
		int(a.Int(2)), int(a.Int(3)), true, list[0].Val)
	return uintptr(woken + moved), err
}
