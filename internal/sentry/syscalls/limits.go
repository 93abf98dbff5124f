package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

func limitRows() []Row {
	return []Row{
		full(97, "getrlimit", sysGetrlimit, PF("resource", Enum, rlimitNames), P("rlim", OutRLimit)),
		partial(160, "setrlimit", sysSetrlimit, limitCaveat, PF("resource", Enum, rlimitNames), P("rlim", RLimit)),
		partial(302, "prlimit64", sysPrlimit, limitCaveat,
			P("pid", Dec), PF("resource", Enum, rlimitNames), P("new_limit", RLimit), P("old_limit", OutRLimit)),
		partial(98, "getrusage", sysGetrusage, "the times, and the largest size of the resident set; the other counts are 0",
			PF("who", Enum, rusageNames), P("usage", OutRusage)),
	}
}

const limitCaveat = "kept for all resources; RSS, RTPRIO, RTTIME, NICE and LOCKS have no effect"

var rlimitNames = &FlagSet{Names: []FlagName{
	{unix.RLIMIT_CPU, "RLIMIT_CPU"}, {unix.RLIMIT_FSIZE, "RLIMIT_FSIZE"}, {unix.RLIMIT_DATA, "RLIMIT_DATA"},
	{unix.RLIMIT_STACK, "RLIMIT_STACK"}, {unix.RLIMIT_CORE, "RLIMIT_CORE"}, {unix.RLIMIT_RSS, "RLIMIT_RSS"},
	{unix.RLIMIT_NPROC, "RLIMIT_NPROC"}, {unix.RLIMIT_NOFILE, "RLIMIT_NOFILE"}, {unix.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
	{unix.RLIMIT_AS, "RLIMIT_AS"}, {unix.RLIMIT_LOCKS, "RLIMIT_LOCKS"}, {unix.RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
	{unix.RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"}, {unix.RLIMIT_NICE, "RLIMIT_NICE"}, {unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
	{unix.RLIMIT_RTTIME, "RLIMIT_RTTIME"},
}}

var rusageNames = &FlagSet{Names: []FlagName{
	{unix.RUSAGE_SELF, "RUSAGE_SELF"}, {0xffffffff, "RUSAGE_CHILDREN"}, {unix.RUSAGE_THREAD, "RUSAGE_THREAD"},
}}

// maxNOFILE is /proc/sys/fs/nr_open, above which RLIMIT_NOFILE can't go.
const maxNOFILE = 1 << 20

// sysGetrlimit is getrlimit(2).
func sysGetrlimit(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return prlimit(t, t.ThreadGroup(), a.Uint(0), 0, a[1])
}

// sysSetrlimit is setrlimit(2).
func sysSetrlimit(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] == 0 {
		return 0, unix.EFAULT
	}
	return prlimit(t, t.ThreadGroup(), a.Uint(0), a[1], 0)
}

// sysPrlimit is prlimit64(2).
func sysPrlimit(t *kernel.Task, a kernel.Args) (uintptr, error) {
	target := t
	if pid := a.Int(0); pid != 0 {
		if target = t.PIDs().Task(pid); target == nil {
			return 0, unix.ESRCH
		}
	}
	if target.ThreadGroup() != t.ThreadGroup() && !mayLimit(t, target) {
		return 0, unix.EPERM
	}
	return prlimit(t, target.ThreadGroup(), a.Uint(1), a[2], a[3])
}

// mayLimit reports whether t may see and change another process's limits
// (prlimit(2): CAP_SYS_RESOURCE, or all IDs the same).
func mayLimit(t, target *kernel.Task) bool {
	c, o := t.Credentials(), target.Credentials()
	return c.CanIn(o.UserNS, unix.CAP_SYS_RESOURCE) ||
		c.RUID == o.EUID && c.RUID == o.SUID && c.RUID == o.RUID &&
			c.RGID == o.EGID && c.RGID == o.SGID && c.RGID == o.RGID
}

// prlimit changes a limit to what is at newAddr, and writes the former one to
// oldAddr; 0 leaves either out.
func prlimit(t *kernel.Task, g *kernel.ThreadGroup, resource uint32, newAddr, oldAddr uint64) (uintptr, error) {
	if resource >= kernel.NumLimits {
		return 0, unix.EINVAL
	}
	r := int(resource)
	old := g.Limits().Get(r)
	if newAddr != 0 {
		var v kernel.RLimit
		err := kernel.CopyInStruct(t, newAddr, &v)
		if err != nil {
			return 0, err
		}
		if r == unix.RLIMIT_NOFILE && v.Max > maxNOFILE {
			return 0, unix.EPERM
		}
		if old, err = g.Limits().Set(r, v, t.Credentials().Can(unix.CAP_SYS_RESOURCE)); err != nil {
			return 0, err
		}
		if r == unix.RLIMIT_CPU {
			g.CPULimitChanged()
		}
	}
	if oldAddr == 0 {
		return 0, nil
	}
	return 0, kernel.CopyOutStructLate(t, oldAddr, &old)
}

// sysGetrusage is getrusage(2).
func sysGetrusage(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var ru unix.Rusage
	g := t.ThreadGroup()
	switch a.Int(0) {
	case unix.RUSAGE_SELF:
		user, system := g.CPUTime()
		ru.Utime, ru.Stime = unix.NsecToTimeval(int64(user)), unix.NsecToTimeval(int64(system))
		ru.Maxrss = maxRSS(t)
	case unix.RUSAGE_THREAD:
		user, system := t.CPUTime()
		ru.Utime, ru.Stime = unix.NsecToTimeval(int64(user)), unix.NsecToTimeval(int64(system))
		ru.Maxrss = maxRSS(t)
	case unix.RUSAGE_CHILDREN:
		user, system := g.ChildCPUTime()
		ru.Utime, ru.Stime = unix.NsecToTimeval(int64(user)), unix.NsecToTimeval(int64(system))
		ru.Maxrss = int64(g.ChildMaxRSS() >> 10)
	default:
		return 0, unix.EINVAL
	}
	return 0, kernel.CopyOutStructLate(t, a[1], &ru)
}

// maxRSS is the largest resident set so far, in KiB, the unit of ru_maxrss.
func maxRSS(t *kernel.Task) int64 {
	as := t.Context().AddressSpace()
	if p, ok := as.(platform.PeakTeller); ok {
		return int64(p.PeakRSS() >> 10)
	}
	return int64(as.Usage().RSS >> 10)
}
