package procfs

import (
	"strconv"
	"strings"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// This file holds the files of a process that say one small thing.

// text makes a file with a fixed content.
func text(v string) content {
	return func(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
		if !s.alive() {
			return nil, unix.ESRCH
		}
		return append(b, v...), nil
	}
}

var (
	empty     = text("")
	wchan     = text("0")
	schedstat = text("0 0 0\n")
	cpuset    = text("/\n")
	cgroup    = text("0::/\n")
	sessionid = text("4294967295")
	loginuid  = text("4294967295")
	// coredumpFilter is the default of core(5).
	coredumpFilter = text("00000033\n")
	ioFile         = text("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n")
)

func personality(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return append(hexWidth(b, uint64(t.Attributes().Personality), 8), '\n'), nil
}

func timerslack(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return append(strconv.AppendUint(b, t.Attributes().TimerSlack, 10), '\n'), nil
}

// setTimerslack sets the slack in nanoseconds; 0 is the default.
func setTimerslack(s subject, _ vfs.Caller, data []byte) error {
	v, err := parseInt(data)
	if err != nil || v < 0 {
		return unix.EINVAL
	}
	t, err := s.task()
	if err != nil {
		return err
	}
	t.UpdateAttributes(func(a *kernel.Attributes) {
		a.TimerSlack = uint64(v)
		if v == 0 {
			a.TimerSlack = a.DefaultSlack
		}
	})
	return nil
}

// accept takes what is written and does nothing with it.
func accept(s subject, _ vfs.Caller, _ []byte) error {
	if !s.alive() {
		return unix.ESRCH
	}
	return nil
}

func comm(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return append(append(b, t.Comm()...), '\n'), nil
}

// setComm names a thread of the caller's own process.
func setComm(s subject, c vfs.Caller, data []byte) error {
	t, err := s.task()
	if err != nil {
		return err
	}
	if caller := taskOf(c); caller == nil || caller.ThreadGroup() != s.group {
		return unix.EINVAL
	}
	name, _, _ := strings.Cut(string(data), "\x00")
	t.SetComm(strings.TrimSuffix(name, "\n"))
	return nil
}

// syscallFile says "running": the registers of a thread that runs are not
// known, and those of one that sleeps are its own.
func syscallFile(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	return append(b, "running\n"...), nil
}

// stack is for who may see the kernel's own state: nobody.
func stack(subject, vfs.Caller, []byte) ([]byte, error) { return nil, unix.EPERM }

// sched renders the beginning of /proc/PID/sched, which a few programs read
// to find out their number outside of the namespace.
func sched(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	b = append(b, t.Comm()...)
	b = append(b, " ("...)
	b = strconv.AppendInt(b, int64(s.id()), 10)
	b = append(b, ", #threads: "...)
	b = strconv.AppendInt(b, int64(max(len(s.group.Tasks()), 1)), 10)
	return append(b, ")\n-------------------------------------------------------------------\n"...), nil
}

// children renders /proc/PID/task/TID/children. Children belong to the
// process; they are shown with its leader.
func children(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	if s.of != s.group.IDIn(s.pids) {
		return b, nil
	}
	var ids []int32
	for _, g := range s.group.Children() {
		ids = append(ids, g.IDIn(s.pids))
	}
	sortIDs(ids)
	for _, id := range ids {
		b = append(strconv.AppendInt(b, int64(id), 10), ' ')
	}
	return b, nil
}

// clearRefs takes the values that proc(5) names and does nothing: the
// reference bits are the host's.
func clearRefs(s subject, _ vfs.Caller, data []byte) error {
	v, err := parseInt(data)
	if err != nil || v < 1 || v > 5 {
		return unix.EINVAL
	}
	return accept(s, nil, nil)
}

// parseInt parses a number that was written, with white space around it.
func parseInt(data []byte) (int64, error) {
	v, err := strconv.ParseInt(strings.Trim(string(data), " \t\n\x00"), 0, 64)
	if err != nil {
		return 0, unix.EINVAL
	}
	return v, nil
}

// The bounds of oom_score_adj, and of the older oom_adj.
const (
	oomScoreAdjMin, oomScoreAdjMax = -1000, 1000
	oomAdjMin, oomAdjMax           = -17, 15
)

func oomScoreAdj(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	return append(strconv.AppendInt(b, int64(s.group.OOMScoreAdj()), 10), '\n'), nil
}

func setOOMScoreAdj(s subject, c vfs.Caller, data []byte) error {
	v, err := parseInt(data)
	if err != nil || v < oomScoreAdjMin || v > oomScoreAdjMax {
		return unix.EINVAL
	}
	return s.adjustOOM(c, int32(v))
}

// adjustOOM sets the value. EACCES for who lowers it without CAP_SYS_RESOURCE.
func (s subject) adjustOOM(c vfs.Caller, v int32) error {
	if !s.alive() {
		return unix.ESRCH
	}
	if v < s.group.OOMScoreAdj() && !c.Credentials().Can(unix.CAP_SYS_RESOURCE) {
		return unix.EACCES
	}
	s.group.SetOOMScoreAdj(v)
	return nil
}

func oomAdj(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	v := int64(s.group.OOMScoreAdj())
	if v == oomScoreAdjMax {
		v = oomAdjMax
	} else {
		v = v * -oomAdjMin / oomScoreAdjMax
	}
	return append(strconv.AppendInt(b, v, 10), '\n'), nil
}

func setOOMAdj(s subject, c vfs.Caller, data []byte) error {
	v, err := parseInt(data)
	if err != nil || v < oomAdjMin || v > oomAdjMax {
		return unix.EINVAL
	}
	if v == oomAdjMax {
		return s.adjustOOM(c, oomScoreAdjMax)
	}
	return s.adjustOOM(c, int32(v*oomScoreAdjMax/-oomAdjMin))
}

// oomScore follows from the adjustment alone: 2/3 of a thousand in the middle,
// as Linux scales it for a process that uses next to nothing.
func oomScore(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	score := max(0, (1000+int64(s.group.OOMScoreAdj()))*2/3)
	return append(strconv.AppendInt(b, score, 10), '\n'), nil
}
