package procfs

import (
	"math/bits"
	"strconv"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// ticks turns a duration into units of 1/100 s.
func ticks(d time.Duration) int64 { return int64(d) * kernel.ClockTicks / int64(time.Second) }

// usage is what an address space takes, all zero for none.
func usage(m *mm.MemoryManager) (t mm.Totals, u platform.Usage, i mm.Info) {
	if m == nil {
		return
	}
	return m.Totals(), m.AddressSpace().Usage(), m.Info()
}

// stat renders /proc/PID/stat: 52 fields (proc_pid_stat(5)).
func stat(s subject, c vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	g, k := s.group, s.group.Kernel()
	m, _, _ := t.Resources()
	total, use, info := usage(m)

	var user, system time.Duration
	if s.of == 0 {
		user, system = g.CPUTime()
	} else {
		user, system = t.CPUTime()
	}
	childUser, childSystem := g.ChildCPUTime()
	var ttyNr, foreground int64 = 0, -1
	if tty := g.TTY(); tty != nil {
		major, minor := tty.Device()
		ttyNr = int64(int32(unix.Mkdev(major, minor)))
		if sess := k.TTYSession(tty); sess != nil {
			if pg := sess.Foreground(); pg != nil {
				foreground = int64(pg.IDIn(s.pids))
			}
		}
	}
	own, shared, _, _ := t.PendingSets()
	caught, ignored := signalSets(g)
	threads := int64(len(g.Tasks()))
	attrs := t.Attributes()
	nice := int64(attrs.Nice)
	// As Linux shows it: 20 + nice, or for the real-time policies below zero.
	priority, realtime := 20+nice, int64(attrs.Priority)
	if attrs.Policy == unix.SCHED_FIFO || attrs.Policy == unix.SCHED_RR {
		priority = -1 - realtime
	}
	start := t.StartTime()
	if s.of == 0 {
		start = g.StartTime()
	}
	exitCode := int64(0)
	if g.Zombie() {
		exitCode = int64(g.Status())
	}
	// Addresses and the like are for those who may look only. Others see
	// where code is as 1, which tells a program from a kernel's thread.
	code := [2]uint64{info.StartCode, info.EndCode}
	if s.mayLook(c) != nil {
		info, exitCode = mm.Info{}, 0
		if m != nil {
			code = [2]uint64{1, 1}
		}
	}
	wchan := int64(0)
	if state(s, t) != 'R' {
		wchan = 1
	}

	b = strconv.AppendInt(b, int64(s.id()), 10)
	b = append(b, " ("...)
	b = appendComm(b, t.Comm(), false)
	b = append(b, ") "...)
	b = append(b, state(s, t))
	for _, v := range [...]int64{
		int64(g.PPIDIn(s.pids)), int64(g.PGIDIn(s.pids)), int64(g.SIDIn(s.pids)), ttyNr, foreground,
		0,          // flags
		0, 0, 0, 0, // minflt cminflt majflt cmajflt
		ticks(user), ticks(system), ticks(childUser), ticks(childSystem),
		priority, nice, max(threads, 1), 0,
		ticks(start.Sub(k.BootTime()) + bootOffset(c)),
		int64(total.Size), int64(use.RSS / pageSize),
	} {
		b = strconv.AppendInt(append(b, ' '), v, 10)
	}
	b = append(b, ' ')
	b = strconv.AppendUint(b, g.Limits().Cur(unix.RLIMIT_RSS), 10)
	for _, v := range [...]int64{
		int64(code[0]), int64(code[1]), int64(info.StartStack), 0, 0,
		int64(own|shared) & (1<<31 - 1), int64(t.SignalMask()) & (1<<31 - 1),
		int64(ignored) & (1<<31 - 1), int64(caught) & (1<<31 - 1),
		wchan, 0, 0, int64(exitSignal(s, t)),
		0, realtime, int64(attrs.Policy), // processor rt_priority policy
		0, 0, 0, // delayacct guest cguest
		int64(info.StartData), int64(info.EndData), int64(info.StartBrk),
		int64(info.ArgStart), int64(info.ArgEnd), int64(info.EnvStart), int64(info.EnvEnd), exitCode,
	} {
		b = strconv.AppendInt(append(b, ' '), v, 10)
	}
	return append(b, '\n'), nil
}

// exitSignal is the process's for its leader, and none for other threads.
func exitSignal(s subject, t *kernel.Task) int32 {
	if s.of != 0 && s.of != s.group.IDIn(s.pids) {
		return -1
	}
	return s.group.ExitSignal()
}

// state is the letter of the thread, or of the process: one that has a running
// thread runs.
func state(s subject, t *kernel.Task) byte {
	if s.of == 0 && s.group.Zombie() {
		return 'Z'
	}
	return t.State()
}

func signalSets(g *kernel.ThreadGroup) (caught, ignored uint64) {
	h := g.SignalHandlers()
	if h == nil {
		return 0, 0
	}
	return uint64(h.Caught()), uint64(h.Ignored())
}

// appendComm writes a thread's name; with escape, newlines and backslashes as
// status shows them.
func appendComm(b []byte, name string, escape bool) []byte {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case escape && c == '\n':
			b = append(b, `\n`...)
		case escape && c == '\\':
			b = append(b, `\\`...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// statm renders /proc/PID/statm, in pages.
func statm(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	m, err := s.memory()
	if err != nil {
		return nil, err
	}
	total, use, _ := usage(m)
	for i, v := range [...]uint64{total.Size, use.RSS, sub(use.RSS, use.Anon), total.Exe, 0, total.Data + total.Stack, 0} {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, v/pageSize, 10)
	}
	return append(b, '\n'), nil
}

// sub is a-b, or 0: figures that the host tells one after the other need not
// fit together.
func sub(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// hexWidth writes v in hexadecimal with leading zeros.
func hexWidth(b []byte, v uint64, width int) []byte {
	digits := (bits.Len64(v) + 3) / 4
	for i := max(digits, 1); i < width; i++ {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, v, 16)
}
