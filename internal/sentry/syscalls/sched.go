package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

const schedCaveat = "kept and shown, but the host schedules by its own"

func schedRows() []Row {
	return []Row{
		full(24, "sched_yield", sysSchedYield),
		full(140, "getpriority", sysGetpriority, PF("which", Enum, prioNames), P("who", Dec)),
		partial(141, "setpriority", sysSetpriority, schedCaveat, PF("which", Enum, prioNames), P("who", Dec), P("prio", Dec)),
		partial(142, "sched_setparam", sysSchedSetparam, schedCaveat, P("pid", Dec), P("param", Int)),
		full(143, "sched_getparam", sysSchedGetparam, P("pid", Dec), P("param", OutInt)),
		partial(144, "sched_setscheduler", sysSchedSetscheduler, schedCaveat, P("pid", Dec), PF("policy", Flags, policyNames), P("param", Int)),
		full(145, "sched_getscheduler", sysSchedGetscheduler, P("pid", Dec)),
		full(146, "sched_get_priority_max", sysSchedPriorityMax, PF("policy", Enum, policyNames)),
		full(147, "sched_get_priority_min", sysSchedPriorityMin, PF("policy", Enum, policyNames)),
		partial(148, "sched_rr_get_interval", sysSchedRRInterval, "always Linux's default for the policy", P("pid", Dec), P("tp", OutTimespec)),
		partial(203, "sched_setaffinity", sysSchedSetaffinity, "kept and shown, but the host schedules by its own", P("pid", Dec), P("len", Unsigned), P("mask", CPUSet).counts(-1)),
		full(204, "sched_getaffinity", sysSchedGetaffinity, P("pid", Dec), P("len", Unsigned), P("mask", OutCPUSet)),
		partial(251, "ioprio_set", sysIoprioSet, "kept and shown only", PF("which", Enum, ioprioNames), P("who", Dec), P("ioprio", Hex)),
		full(252, "ioprio_get", sysIoprioGet, PF("which", Enum, ioprioNames), P("who", Dec)),
		full(309, "getcpu", sysGetcpu, P("cpu", OutInt), P("node", OutInt)),
		partial(314, "sched_setattr", sysSchedSetattr, schedCaveat, P("pid", Dec), P("attr", SchedAttr), P("flags", Hex)),
		full(315, "sched_getattr", sysSchedGetattr, P("pid", Dec), P("attr", OutSchedAttr), P("size", Unsigned), P("flags", Hex)),
	}
}

var (
	prioNames = &FlagSet{Names: []FlagName{
		{unix.PRIO_PROCESS, "PRIO_PROCESS"}, {unix.PRIO_PGRP, "PRIO_PGRP"}, {unix.PRIO_USER, "PRIO_USER"},
	}}
	ioprioNames = &FlagSet{Names: []FlagName{
		{1, "IOPRIO_WHO_PROCESS"}, {2, "IOPRIO_WHO_PGRP"}, {3, "IOPRIO_WHO_USER"},
	}}
	policies = []FlagName{
		{unix.SCHED_NORMAL, "SCHED_OTHER"}, {unix.SCHED_FIFO, "SCHED_FIFO"}, {unix.SCHED_RR, "SCHED_RR"},
		{unix.SCHED_BATCH, "SCHED_BATCH"}, {unix.SCHED_IDLE, "SCHED_IDLE"}, {unix.SCHED_DEADLINE, "SCHED_DEADLINE"},
	}
	policyNames = &FlagSet{
		Mask: 0xff, Values: policies,
		Names: append([]FlagName{{schedResetOnFork, "SCHED_RESET_ON_FORK"}}, policies...),
	}
)

// schedResetOnFork is SCHED_RESET_ON_FORK, a bit beside the policy.
const schedResetOnFork = 0x40000000

// sysSchedYield is sched_yield(2). The way into the kernel and back is yield
// enough: the thread's stub has slept or let its core go.
func sysSchedYield(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }

// taskByID returns the thread with a number, the caller for 0; EINVAL for
// negative ones, ESRCH.
func taskByID(t *kernel.Task, id int32) (*kernel.Task, error) {
	switch {
	case id < 0:
		return nil, unix.EINVAL
	case id == 0:
		return t, nil
	}
	if o := t.PIDs().Task(id); o != nil {
		return o, nil
	}
	return nil, unix.ESRCH
}

// maySchedule reports whether t may change how target runs: the same user, or
// CAP_SYS_NICE.
func maySchedule(t, target *kernel.Task) bool {
	c, o := t.Credentials(), target.Credentials()
	return c.EUID == o.EUID || c.EUID == o.RUID || c.CanIn(o.UserNS, unix.CAP_SYS_NICE)
}

// chosen returns the threads that "which" and "who" of getpriority(2) and
// ioprio_get(2) mean. which is PRIO_*.
func chosen(t *kernel.Task, which, who int32) ([]*kernel.Task, error) {
	ns := t.PIDs()
	var match func(*kernel.ThreadGroup, *kernel.Task) bool
	switch which {
	case unix.PRIO_PROCESS:
		if who == 0 {
			return []*kernel.Task{t}, nil
		}
		if o := t.PIDs().Task(who); o != nil {
			return []*kernel.Task{o}, nil
		}
		return nil, unix.ESRCH
	case unix.PRIO_PGRP:
		if who == 0 {
			who = t.ThreadGroup().PGIDIn(ns)
		}
		match = func(g *kernel.ThreadGroup, _ *kernel.Task) bool { return g.PGIDIn(ns) == who }
	case unix.PRIO_USER:
		uid := t.Credentials().UserNS.ToUID(uint32(who))
		if who == 0 {
			uid = t.Credentials().RUID
		}
		match = func(_ *kernel.ThreadGroup, l *kernel.Task) bool { return l.Credentials().RUID == uid }
	default:
		return nil, unix.EINVAL
	}
	var list []*kernel.Task
	for _, g := range ns.ThreadGroups() {
		if l := g.Representative(); l != nil && match(g, l) {
			list = append(list, g.Tasks()...)
		}
	}
	if len(list) == 0 {
		return nil, unix.ESRCH
	}
	return list, nil
}

// sysGetpriority is getpriority(2). The kernel's result is 20 less the nice
// value, so that it is no error number; libc turns it round.
func sysGetpriority(t *kernel.Task, a kernel.Args) (uintptr, error) {
	list, err := chosen(t, a.Int(0), a.Int(1))
	if err != nil {
		return 0, err
	}
	lowest := int32(19)
	for _, o := range list {
		lowest = min(lowest, o.Attributes().Nice)
	}
	return uintptr(20 - lowest), nil
}

// sysSetpriority is setpriority(2).
func sysSetpriority(t *kernel.Task, a kernel.Args) (uintptr, error) {
	list, err := chosen(t, a.Int(0), a.Int(1))
	if err != nil {
		return 0, err
	}
	nice := min(max(a.Int(2), -20), 19)
	for _, o := range list {
		if !maySchedule(t, o) {
			err = unix.EPERM
			continue
		}
		if !mayNice(t, o, nice) {
			err = unix.EACCES
			continue
		}
		o.UpdateAttributes(func(v *kernel.Attributes) { v.Nice = nice })
	}
	return 0, err
}

// mayNice reports whether t may give target a nice value (RLIMIT_NICE).
func mayNice(t, target *kernel.Task, nice int32) bool {
	return nice >= target.Attributes().Nice ||
		int64(20-nice) <= int64(min(target.Limit(unix.RLIMIT_NICE), 40)) ||
		t.Credentials().Can(unix.CAP_SYS_NICE)
}

// priorityRange returns the priorities of a policy; EINVAL if there is no such.
func priorityRange(policy int32) (low, high int32, err error) {
	switch policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		return 1, 99, nil
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, unix.SCHED_DEADLINE:
		return 0, 0, nil
	}
	return 0, 0, unix.EINVAL
}

func sysSchedPriorityMax(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	_, high, err := priorityRange(a.Int(0))
	return uintptr(high), err
}

func sysSchedPriorityMin(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	low, _, err := priorityRange(a.Int(0))
	return uintptr(low), err
}

// setPolicy checks and sets a policy and its priority.
func setPolicy(t *kernel.Task, id, policy, priority int32, reset bool, more func(*kernel.Attributes)) error {
	target, err := taskByID(t, id)
	if err != nil {
		return err
	}
	low, high, err := priorityRange(policy)
	if err != nil || priority < low || priority > high {
		return unix.EINVAL
	}
	old := target.Attributes()
	if !t.Credentials().Can(unix.CAP_SYS_NICE) {
		if !maySchedule(t, target) || old.ResetOnFork && !reset || policy == unix.SCHED_DEADLINE {
			return unix.EPERM
		}
		realtime := policy == unix.SCHED_FIFO || policy == unix.SCHED_RR
		if realtime && policy != old.Policy && target.Limit(unix.RLIMIT_RTPRIO) == 0 {
			return unix.EPERM
		}
		if realtime && priority > old.Priority && uint64(priority) > target.Limit(unix.RLIMIT_RTPRIO) {
			return unix.EPERM
		}
	}
	target.UpdateAttributes(func(a *kernel.Attributes) {
		a.Policy, a.Priority, a.ResetOnFork = policy, priority, reset
		if more != nil {
			more(a)
		}
	})
	return nil
}

func sysSchedSetscheduler(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, policy := a.Int(0), a.Int(1)
	if policy < 0 || id < 0 || a[2] == 0 {
		return 0, unix.EINVAL
	}
	priority, err := t.CopyInUint32(a[2])
	if err != nil {
		return 0, err
	}
	reset := policy&schedResetOnFork != 0
	policy &^= schedResetOnFork
	if policy == unix.SCHED_DEADLINE { // needs sched_setattr
		return 0, unix.EINVAL
	}
	return 0, setPolicy(t, id, policy, int32(priority), reset, nil)
}

func sysSchedGetscheduler(t *kernel.Task, a kernel.Args) (uintptr, error) {
	o, err := taskByID(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	attrs := o.Attributes()
	policy := uintptr(attrs.Policy)
	if attrs.ResetOnFork {
		policy |= schedResetOnFork
	}
	return policy, nil
}

func sysSchedSetparam(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id := a.Int(0)
	if id < 0 || a[1] == 0 {
		return 0, unix.EINVAL
	}
	priority, err := t.CopyInUint32(a[1])
	if err != nil {
		return 0, err
	}
	o, err := taskByID(t, id)
	if err != nil {
		return 0, err
	}
	attrs := o.Attributes()
	return 0, setPolicy(t, id, attrs.Policy, int32(priority), attrs.ResetOnFork, nil)
}

func sysSchedGetparam(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] == 0 {
		return 0, unix.EINVAL
	}
	o, err := taskByID(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint32(a[1], uint32(o.Attributes().Priority))
}

// sysSchedRRInterval is sched_rr_get_interval(2): 100 ms for SCHED_RR, which is
// Linux's sched_rr_timeslice_ms; none for SCHED_FIFO.
func sysSchedRRInterval(t *kernel.Task, a kernel.Args) (uintptr, error) {
	o, err := taskByID(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	switch o.Attributes().Policy {
	case unix.SCHED_RR:
		return 0, t.CopyOutTime(a[1], 0, 100e6)
	case unix.SCHED_FIFO, unix.SCHED_DEADLINE:
		return 0, t.CopyOutTime(a[1], 0, 0)
	}
	return 0, t.CopyOutTime(a[1], 0, 3e6)
}

// schedAttr is struct sched_attr (linux/sched/types.h).
type schedAttr struct {
	Size, Policy              uint32
	Flags                     uint64
	Nice                      int32
	Priority                  uint32
	Runtime, Deadline, Period uint64
	UtilMin, UtilMax          uint32
}

const (
	schedAttrSizeV0 = 48
	schedAttrSize   = 56
)

// Bits of schedAttr.Flags.
const (
	schedFlagResetOnFork = 0x01
	schedFlagReclaim     = 0x02
	schedFlagOverrun     = 0x04
	schedFlagKeepPolicy  = 0x08
	schedFlagKeepParams  = 0x10
	schedFlagAll         = 0x7f
)

// sysSchedSetattr is sched_setattr(2).
func sysSchedSetattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id := a.Int(0)
	if a[1] == 0 || id < 0 || a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	attr, err := copyInSchedAttr(t, a[1])
	if err != nil {
		return 0, err
	}
	o, err := taskByID(t, id)
	if err != nil {
		return 0, err
	}
	if int32(attr.Policy) < 0 || attr.Flags&^schedFlagAll != 0 {
		return 0, unix.EINVAL
	}
	old := o.Attributes()
	policy, priority := int32(attr.Policy), int32(attr.Priority)
	if attr.Flags&schedFlagKeepPolicy != 0 {
		policy = old.Policy
	}
	if attr.Flags&schedFlagKeepParams != 0 {
		priority = old.Priority
	}
	if policy == unix.SCHED_DEADLINE &&
		(attr.Runtime < 1024 || attr.Deadline < attr.Runtime || attr.Period != 0 && attr.Period < attr.Deadline) {
		return 0, unix.EINVAL
	}
	nice := min(max(attr.Nice, -20), 19)
	fair := policy == unix.SCHED_NORMAL || policy == unix.SCHED_BATCH
	setNice := fair && attr.Flags&schedFlagKeepParams == 0
	if setNice && !mayNice(t, o, nice) {
		return 0, unix.EPERM
	}
	err = setPolicy(t, id, policy, priority, attr.Flags&schedFlagResetOnFork != 0, func(v *kernel.Attributes) {
		v.Runtime, v.Deadline, v.Period = 0, 0, 0
		if policy == unix.SCHED_DEADLINE {
			v.Runtime, v.Deadline, v.Period = attr.Runtime, attr.Deadline, attr.Period
		}
	})
	if err == nil && setNice {
		o.UpdateAttributes(func(v *kernel.Attributes) { v.Nice = nice })
	}
	return 0, err
}

// copyInSchedAttr reads the structure in the size that the caller knows it in.
// What is beyond what we know must be zero, else E2BIG, with our size written
// back.
func copyInSchedAttr(t *kernel.Task, addr uint64) (schedAttr, error) {
	var attr schedAttr
	size, err := t.CopyInUint32(addr)
	if err != nil {
		return attr, err
	}
	if size == 0 {
		size = schedAttrSizeV0
	}
	tooBig := func() error {
		if err := t.CopyOutUint32(addr, schedAttrSize); err != nil {
			return err
		}
		return unix.E2BIG
	}
	if size < schedAttrSizeV0 || size > 4096 {
		return attr, tooBig()
	}
	raw := make([]byte, max(size, schedAttrSize))
	if _, err := t.CopyIn(addr, raw[:size]); err != nil {
		return attr, err
	}
	for _, b := range raw[schedAttrSize:] {
		if b != 0 {
			return attr, tooBig()
		}
	}
	return schedAttr{
		Policy: native.Uint32(raw[4:]), Flags: native.Uint64(raw[8:]),
		Nice: int32(native.Uint32(raw[16:])), Priority: native.Uint32(raw[20:]),
		Runtime: native.Uint64(raw[24:]), Deadline: native.Uint64(raw[32:]), Period: native.Uint64(raw[40:]),
		UtilMin: native.Uint32(raw[48:]), UtilMax: native.Uint32(raw[52:]),
	}, nil
}

// sysSchedGetattr is sched_getattr(2).
func sysSchedGetattr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, size := a.Int(0), a.Uint(2)
	if a[1] == 0 || id < 0 || size > 4096 || size < schedAttrSizeV0 || a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	o, err := taskByID(t, id)
	if err != nil {
		return 0, err
	}
	v := o.Attributes()
	var raw [schedAttrSize]byte
	size = min(size, schedAttrSize)
	native.PutUint32(raw[0:], size)
	native.PutUint32(raw[4:], uint32(v.Policy))
	if v.ResetOnFork {
		native.PutUint64(raw[8:], schedFlagResetOnFork)
	}
	if v.Policy == unix.SCHED_NORMAL || v.Policy == unix.SCHED_BATCH {
		native.PutUint32(raw[16:], uint32(o.Attributes().Nice))
	}
	native.PutUint32(raw[20:], uint32(v.Priority))
	native.PutUint64(raw[24:], v.Runtime)
	native.PutUint64(raw[32:], v.Deadline)
	native.PutUint64(raw[40:], v.Period)
	native.PutUint32(raw[52:], 1024) // util_max: SCHED_CAPACITY_SCALE
	_, err = t.CopyOut(a[1], raw[:size])
	return 0, err
}

// maxAffinityBytes bounds how much of a CPU mask is read: Linux has 8192 CPUs at most.
const maxAffinityBytes = 1024

// sysSchedSetaffinity is sched_setaffinity(2).
func sysSchedSetaffinity(t *kernel.Task, a kernel.Args) (uintptr, error) {
	raw := make([]byte, maxAffinityBytes)
	if _, err := t.CopyIn(a[2], raw[:min(a.Uint(1), maxAffinityBytes)]); err != nil {
		return 0, err
	}
	o, err := taskByID(t, a.Int(0))
	if err != nil {
		return 0, unix.ESRCH
	}
	if !maySchedule(t, o) {
		return 0, unix.EPERM
	}
	set := make([]uint64, maxAffinityBytes/8)
	for i := range set {
		set[i] = native.Uint64(raw[i*8:])
	}
	return 0, o.SetAffinity(set)
}

// sysSchedGetaffinity is sched_getaffinity(2): the system call returns how many
// bytes it wrote.
func sysSchedGetaffinity(t *kernel.Task, a kernel.Args) (uintptr, error) {
	size := a.Uint(1)
	cpus := len(kernel.CPUs()) * 8
	if size%8 != 0 || int(min(size, maxAffinityBytes)) < cpus {
		return 0, unix.EINVAL
	}
	o, err := taskByID(t, a.Int(0))
	if err != nil {
		return 0, unix.ESRCH
	}
	for i, word := range o.Attributes().Affinity {
		if err := t.CopyOutUint64(a[2]+uint64(i)*8, word); err != nil {
			return 0, err
		}
	}
	return uintptr(cpus), nil
}

// sysGetcpu is getcpu(2): a CPU of the task's set. The vDSO says which it
// really is.
func sysGetcpu(t *kernel.Task, a kernel.Args) (uintptr, error) {
	cpu := uint32(0)
	for i, word := range t.Attributes().Affinity {
		if word != 0 {
			for word&1 == 0 {
				word >>= 1
				cpu++
			}
			cpu += uint32(i) * 64
			break
		}
	}
	if a[0] != 0 {
		if err := t.CopyOutUint32(a[0], cpu); err != nil {
			return 0, err
		}
	}
	if a[1] != 0 {
		return 0, t.CopyOutUint32(a[1], 0)
	}
	return 0, nil
}

// sysIoprioSet is ioprio_set(2).
func sysIoprioSet(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const (
		classShift = 13
		classRT    = 1
		classBE    = 2
		classIdle  = 3
	)
	prio := a.Int(2)
	switch class, level := prio>>classShift, prio&7; class {
	case classRT:
		if !t.Credentials().Can(unix.CAP_SYS_NICE) && !t.Credentials().Can(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
	case classBE, classIdle:
	case 0:
		if level != 0 {
			return 0, unix.EINVAL
		}
	default:
		return 0, unix.EINVAL
	}
	list, err := chosen(t, a.Int(0)-1, a.Int(1))
	if err != nil {
		return 0, err
	}
	for _, o := range list {
		if !maySchedule(t, o) {
			return 0, unix.EPERM
		}
		o.UpdateAttributes(func(v *kernel.Attributes) { v.IOPrio = prio })
	}
	return 0, nil
}

// sysIoprioGet is ioprio_get(2): the best of the threads meant. A class of 0
// is worse than the others, although its number is lower.
func sysIoprioGet(t *kernel.Task, a kernel.Args) (uintptr, error) {
	list, err := chosen(t, a.Int(0)-1, a.Int(1))
	if err != nil {
		return 0, err
	}
	best := int32(0)
	for _, o := range list {
		if p := o.Attributes().IOPrio; p != 0 && (best == 0 || p < best) {
			best = p
		}
	}
	return uintptr(best), nil
}
