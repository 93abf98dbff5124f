package procfs

import (
	"fmt"
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// stateNames are the words behind the letters in status.
var stateNames = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "disk sleep", 'T': "stopped", 't': "tracing stop", 'Z': "zombie", 'X': "dead",
}

// status renders /proc/PID/status (proc_pid_status(5)).
func status(s subject, c vfs.Caller, b []byte) ([]byte, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	g := s.group
	cred := t.Credentials()
	m, fds, fs := t.Resources()
	line := func(name string, value string) {
		b = append(append(append(append(b, name...), ":\t"...), value...), '\n')
	}
	number := func(name string, v int64) { line(name, strconv.FormatInt(v, 10)) }

	b = append(b, "Name:\t"...)
	b = appendComm(b, t.Comm(), true)
	b = append(b, '\n')
	if fs != nil {
		line("Umask", fmt.Sprintf("%04o", fs.Umask()))
	}
	letter := state(s, t)
	line("State", string(letter)+" ("+stateNames[letter]+")")
	number("Tgid", int64(g.IDIn(s.pids)))
	number("Ngid", 0)
	number("Pid", int64(s.id()))
	number("PPid", int64(g.PPIDIn(s.pids)))
	number("TracerPid", int64(t.TracerPID(s.pids)))
	users := c.Credentials().UserNS
	line("Uid", fmt.Sprintf("%d\t%d\t%d\t%d", users.FromUID(cred.RUID), users.FromUID(cred.EUID),
		users.FromUID(cred.SUID), users.FromUID(cred.FSUID)))
	line("Gid", fmt.Sprintf("%d\t%d\t%d\t%d", users.FromGID(cred.RGID), users.FromGID(cred.EGID),
		users.FromGID(cred.SGID), users.FromGID(cred.FSGID)))
	number("FDSize", int64(fdSize(fds)))
	b = append(b, "Groups:\t"...)
	for _, gid := range cred.Groups {
		b = append(strconv.AppendUint(b, uint64(users.FromGID(gid)), 10), ' ')
	}
	b = append(b, '\n')
	pg := g.ProcessGroup()
	line("NStgid", numbers(g.Numbers(s.pids)))
	line("NSpid", numbers(t.Numbers(s.pids)))
	line("NSpgid", numbers(pg.Numbers(s.pids)))
	sid := []int32{0}
	if pg != nil {
		sid = pg.Session().Numbers(s.pids)
	}
	line("NSsid", numbers(sid))
	number("Kthread", 0)
	if m != nil {
		total, use, _ := usage(m)
		for _, v := range [...]struct {
			name  string
			bytes uint64
		}{
			{"VmPeak", total.Peak}, {"VmSize", total.Size}, {"VmLck", total.Locked}, {"VmPin", 0},
			{"VmHWM", use.RSS}, {"VmRSS", use.RSS}, {"RssAnon", use.Anon},
			{"RssFile", sub(use.RSS, use.Anon+use.Shared)}, {"RssShmem", use.Shared},
			{"VmData", total.Data}, {"VmStk", total.Stack}, {"VmExe", total.Exe}, {"VmLib", total.Lib},
			{"VmPTE", (total.Size/pageSize*8 + 3*pageSize) &^ (pageSize - 1)}, {"VmSwap", 0}, {"HugetlbPages", 0},
		} {
			b = append(append(b, v.name...), ":\t"...)
			b = appendRight(b, v.bytes>>10, 8)
			b = append(b, " kB\n"...)
		}
		number("CoreDumping", 0)
		number("THP_enabled", 0)
		line("untag_mask", "0xffffffffffffffff")
	}
	number("Threads", int64(max(len(g.Tasks()), 1)))
	own, shared, queued, limit := t.PendingSets()
	line("SigQ", fmt.Sprintf("%d/%d", queued, limit))
	caught, ignored := signalSets(g)
	for _, v := range [...]struct {
		name string
		set  uint64
	}{
		{"SigPnd", uint64(own)}, {"ShdPnd", uint64(shared)}, {"SigBlk", uint64(t.SignalMask())},
		{"SigIgn", ignored}, {"SigCgt", caught},
		{"CapInh", uint64(cred.Inheritable)}, {"CapPrm", uint64(cred.Permitted)}, {"CapEff", uint64(cred.Effective)},
		{"CapBnd", uint64(cred.Bounding)}, {"CapAmb", uint64(cred.Ambient)},
	} {
		b = append(append(b, v.name...), ":\t"...)
		b = append(hexWidth(b, v.set, 16), '\n')
	}
	noNewPrivs := int64(0)
	if cred.NoNewPrivs {
		noNewPrivs = 1
	}
	number("NoNewPrivs", noNewPrivs)
	mode, filters := t.SeccompMode()
	number("Seccomp", int64(mode))
	number("Seccomp_filters", int64(filters))
	line("Speculation_Store_Bypass", "vulnerable")
	line("SpeculationIndirectBranch", "conditional enabled")
	allowed := genfs.Bitmap(t.Attributes().Affinity)
	line("Cpus_allowed", string(allowed.Mask(nil, genfs.Bitmap(kernel.CPUs()).Len())))
	line("Cpus_allowed_list", string(allowed.List(nil)))
	line("Mems_allowed", "00000000,00000001")
	line("Mems_allowed_list", "0")
	number("voluntary_ctxt_switches", 0)
	number("nonvoluntary_ctxt_switches", 0)
	return b, nil
}

// numbers joins a process's numbers in nested namespaces.
func numbers(ids []int32) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, '\t')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return string(b)
}

// fdSize is how many slots the descriptor table has, as Linux allocates them.
func fdSize(fds *vfs.FDTable) int {
	size := 64
	if fds == nil {
		return 0
	}
	if n := fds.Numbers(); len(n) > 0 {
		for size <= int(n[len(n)-1]) {
			size *= 2
		}
	}
	return size
}

// appendRight writes a number right-aligned.
func appendRight(b []byte, v uint64, width int) []byte {
	var d [20]byte
	s := strconv.AppendUint(d[:0], v, 10)
	for i := len(s); i < width; i++ {
		b = append(b, ' ')
	}
	return append(b, s...)
}

// limitNames are the rows of /proc/PID/limits by resource number.
var limitNames = [kernel.NumLimits]struct{ name, unit string }{
	{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"},
	{"Max core file size", "bytes"}, {"Max resident set", "bytes"}, {"Max processes", "processes"},
	{"Max open files", "files"}, {"Max locked memory", "bytes"}, {"Max address space", "bytes"},
	{"Max file locks", "locks"}, {"Max pending signals", "signals"}, {"Max msgqueue size", "bytes"},
	{"Max nice priority", ""}, {"Max realtime priority", ""}, {"Max realtime timeout", "us"},
}

// limits renders /proc/PID/limits.
func limits(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	b = fmt.Appendf(b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	show := func(v uint64) string {
		if v == kernel.Infinity {
			return "unlimited"
		}
		return strconv.FormatUint(v, 10)
	}
	for r, n := range limitNames {
		l := s.group.Limits().Get(r)
		b = fmt.Appendf(b, "%-25s %-20s %-20s ", n.name, show(l.Cur), show(l.Max))
		if n.unit != "" {
			b = fmt.Appendf(b, "%-10s", n.unit)
		}
		b = append(b, '\n')
	}
	return b, nil
}
