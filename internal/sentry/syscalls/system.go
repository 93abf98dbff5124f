package syscalls

import (
	"crypto/rand"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func systemRows() []Row {
	return []Row{
		full(63, "uname", sysUname, P("buf", OutUtsname)),
		partial(99, "sysinfo", sysSysinfo, "memory is the host's within the sandbox's limit", P("info", OutSysinfo)),
		full(100, "times", sysTimes, P("buf", OutTms)),
		partial(103, "syslog", sysSyslog, "the log is empty", PF("type", Enum, syslogActions), P("buf", OutBuf), P("len", Dec)),
		partial(135, "personality", sysPersonality, "kept; PER_LINUX32 changes what uname says and ADDR_NO_RANDOMIZE the next execve, others have no effect",
			P("persona", Hex)),
		partial(153, "vhangup", sysVhangup, "does nothing", []Param{}...),
		partial(163, "acct", sysAcct, "EPERM, or ENOSYS as without BSD process accounting", P("filename", PathStr)),
		partial(167, "swapon", sysEPERM, "always EPERM", P("path", PathStr), P("flags", Hex)),
		partial(168, "swapoff", sysEPERM, "always EPERM", P("path", PathStr)),
		partial(169, "reboot", sysReboot, "always EPERM or EINVAL", P("magic", Hex), P("magic2", Hex), P("op", Hex), P("arg", Addr)),
		full(170, "sethostname", sysSethostname, P("name", Buf), P("len", Unsigned)),
		full(171, "setdomainname", sysSetdomainname, P("name", Buf), P("len", Unsigned)),
		partial(172, "iopl", sysEPERM, "always EPERM", P("level", Dec)),
		partial(173, "ioperm", sysEPERM, "always EPERM", P("from", Hex), P("num", Unsigned), P("turn_on", Dec)),
		partial(175, "init_module", sysEPERM, "always EPERM", P("module_image", Buf), P("len", Unsigned), P("param_values", Str)),
		partial(176, "delete_module", sysEPERM, "always EPERM", P("name", Str), P("flags", Hex)),
		partial(246, "kexec_load", sysEPERM, "always EPERM", P("entry", Addr), P("nr_segments", Unsigned), P("segments", Addr), P("flags", Hex)),
		partial(312, "kcmp", sysKcmp, "KCMP_FILE, VM, FILES, FS and SIGHAND; others are EOPNOTSUPP, as without their features",
			P("pid1", Dec), P("pid2", Dec), PF("type", Enum, kcmpNames), P("idx1", Hex), P("idx2", Hex)),
		partial(313, "finit_module", sysEPERM, "always EPERM", P("fd", FD), P("param_values", Str), P("flags", Hex)),
		full(318, "getrandom", sysGetrandom, P("buf", OutBuf), P("buflen", Unsigned), PF("flags", Flags, getrandomFlags)),
		partial(320, "kexec_file_load", sysEPERM, "always EPERM", P("kernel_fd", FD), P("initrd_fd", FD)),
		missing(179, "quotactl", PF("op", Hex, nil), P("special", PathStr), P("id", Dec), P("addr", Addr)),
		missing(321, "bpf", P("cmd", Dec), P("attr", Buf), P("size", Unsigned)),
		missing(444, "landlock_create_ruleset", P("attr", Buf), P("size", Unsigned), P("flags", Hex)),
		missing(445, "landlock_add_rule", P("ruleset_fd", FD), P("rule_type", Dec), P("rule_attr", Addr), P("flags", Hex)),
		missing(446, "landlock_restrict_self", P("ruleset_fd", FD), P("flags", Hex)),
	}
}

// sysEPERM answers what no sandbox may do, whatever its capabilities.
func sysEPERM(*kernel.Task, kernel.Args) (uintptr, error) { return 0, unix.EPERM }

const utsLen = 65

// machine is uname(2)'s: programs that setarch(8) has put into the execution domain
// of 32-bit Linux are told of such a machine.
func machine(t *kernel.Task) string {
	const (
		domains = 0xff // PER_MASK
		linux32 = 8    // PER_LINUX32
	)
	if t.Attributes().Personality&domains == linux32 {
		return "i686"
	}
	return abi.Machine
}

// sysUname is uname(2).
func sysUname(t *kernel.Task, a kernel.Args) (uintptr, error) {
	buf := make([]byte, 6*utsLen)
	names := t.UTS()
	release := abi.OSRelease
	for i, s := range []string{abi.OSType, names.Hostname(), release, abi.OSVersion, machine(t), names.Domainname()} {
		copy(buf[i*utsLen:(i+1)*utsLen-1], s)
	}
	return 0, t.CopyOutLate(a[0], buf)
}

// copyInHostname reads a name for sethostname(2) or setdomainname(2).
func copyInHostname(t *kernel.Task, a kernel.Args) (string, error) {
	if !t.Credentials().CanIn(t.UTS().Owner(), unix.CAP_SYS_ADMIN) {
		return "", unix.EPERM
	}
	n := a.Int(1)
	if n < 0 || n > utsLen-1 {
		return "", unix.EINVAL
	}
	buf := make([]byte, n)
	if _, err := t.CopyIn(a[0], buf); err != nil {
		return "", err
	}
	for i, c := range buf {
		if c == 0 {
			buf = buf[:i]
			break
		}
	}
	return string(buf), nil
}

func sysSethostname(t *kernel.Task, a kernel.Args) (uintptr, error) {
	name, err := copyInHostname(t, a)
	if err == nil {
		t.UTS().SetHostname(name)
	}
	return 0, err
}

func sysSetdomainname(t *kernel.Task, a kernel.Args) (uintptr, error) {
	name, err := copyInHostname(t, a)
	if err == nil {
		t.UTS().SetDomainname(name)
	}
	return 0, err
}

// sysinfo is struct sysinfo, 112 bytes with its tail's padding.
type sysinfo struct {
	Uptime                               int64
	Loads                                [3]uint64
	TotalRAM, FreeRAM, SharedRAM, Buffer uint64
	TotalSwap, FreeSwap                  uint64
	Procs, _                             uint16
	_                                    uint32
	TotalHigh, FreeHigh                  uint64
	Unit, _                              uint32
}

// sysSysinfo is sysinfo(2).
func sysSysinfo(t *kernel.Task, a kernel.Args) (uintptr, error) {
	k := t.Kernel()
	m := k.MemoryInfo()
	info := sysinfo{
		Uptime: int64((time.Since(k.BootTime()) + t.ClockOffset(unix.CLOCK_BOOTTIME) + time.Second - 1) / time.Second), Loads: m.Loads,
		TotalRAM: m.Total, FreeRAM: m.Free, SharedRAM: m.Shared, Buffer: m.Buffers,
		TotalSwap: m.SwapTotal, FreeSwap: m.SwapFree,
		Procs: uint16(min(k.TaskCount(), 0xffff)), Unit: 1,
	}
	return 0, kernel.CopyOutStruct(t, a[0], &info)
}

// sysTimes is times(2).
func sysTimes(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const tick = time.Second / kernel.ClockTicks
	if a[0] != 0 {
		g := t.ThreadGroup()
		user, system := g.CPUTime()
		childUser, childSystem := g.ChildCPUTime()
		tms := [4]int64{int64(user / tick), int64(system / tick), int64(childUser / tick), int64(childSystem / tick)}
		if err := kernel.CopyOutStruct(t, a[0], &tms); err != nil {
			return 0, err
		}
	}
	return uintptr(time.Since(t.Kernel().BootTime()) / tick), nil
}

// Actions of syslog(2).
const (
	syslogClose        = 0
	syslogRead         = 2
	syslogReadAll      = 3
	syslogReadClear    = 4
	syslogConsoleLevel = 8
	syslogSizeBuffer   = 10
)

var syslogActions = &FlagSet{Names: []FlagName{
	{syslogClose, "SYSLOG_ACTION_CLOSE"}, {1, "SYSLOG_ACTION_OPEN"}, {syslogRead, "SYSLOG_ACTION_READ"},
	{syslogReadAll, "SYSLOG_ACTION_READ_ALL"}, {syslogReadClear, "SYSLOG_ACTION_READ_CLEAR"}, {5, "SYSLOG_ACTION_CLEAR"},
	{6, "SYSLOG_ACTION_CONSOLE_OFF"}, {7, "SYSLOG_ACTION_CONSOLE_ON"}, {syslogConsoleLevel, "SYSLOG_ACTION_CONSOLE_LEVEL"},
	{9, "SYSLOG_ACTION_SIZE_UNREAD"}, {syslogSizeBuffer, "SYSLOG_ACTION_SIZE_BUFFER"},
}}

// sysSyslog is syslog(2): a log buffer that holds nothing.
func sysSyslog(t *kernel.Task, a kernel.Args) (uintptr, error) {
	action, n := a.Int(0), a.Int(2)
	c := t.Credentials()
	open := action == syslogReadAll || action == syslogSizeBuffer
	if !open && !c.Can(unix.CAP_SYSLOG) && !c.Can(unix.CAP_SYS_ADMIN) {
		return 0, unix.EPERM
	}
	switch {
	case action < syslogClose || action > syslogSizeBuffer:
		return 0, unix.EINVAL
	case action == syslogRead, action == syslogReadAll, action == syslogReadClear:
		if a[1] == 0 || n < 0 {
			return 0, unix.EINVAL
		}
		if action == syslogRead && n > 0 { // waits for a message: none comes
			return 0, t.Block(nil, time.Time{})
		}
		return 0, nil
	case action == syslogConsoleLevel && (n < 1 || n > 8):
		return 0, unix.EINVAL
	case action == syslogSizeBuffer:
		return 1 << 17, nil
	}
	return 0, nil
}

// sysPersonality is personality(2).
func sysPersonality(t *kernel.Task, a kernel.Args) (uintptr, error) {
	old := t.Attributes().Personality
	if p := a.Uint(0); p != 0xffffffff {
		t.UpdateAttributes(func(v *kernel.Attributes) { v.Personality = p })
	}
	return uintptr(old), nil
}

// sysVhangup is vhangup(2).
func sysVhangup(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	if !t.Credentials().Can(unix.CAP_SYS_TTY_CONFIG) {
		return 0, unix.EPERM
	}
	return 0, nil
}

// sysAcct is acct(2).
func sysAcct(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	if !t.Credentials().Can(unix.CAP_SYS_PACCT) {
		return 0, unix.EPERM
	}
	return 0, unix.ENOSYS
}

// sysReboot is reboot(2): the sandbox ends when its first process does.
func sysReboot(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !t.Credentials().Can(unix.CAP_SYS_BOOT) {
		return 0, unix.EPERM
	}
	switch a.Uint(1) {
	case 0x28121969, 0x05121996, 0x16041998, 0x20112000: // LINUX_REBOOT_MAGIC2, 2A, 2B, 2C
	default:
		return 0, unix.EINVAL
	}
	if a.Uint(0) != 0xfee1dead {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

var getrandomFlags = &FlagSet{Names: []FlagName{
	{unix.GRND_NONBLOCK, "GRND_NONBLOCK"}, {unix.GRND_RANDOM, "GRND_RANDOM"}, {unix.GRND_INSECURE, "GRND_INSECURE"},
}}

// randomStep is how much is made and copied at a time.
const randomStep = 4096

// sysGetrandom is getrandom(2). Requests up to 256 bytes are never
// interrupted; longer ones stop at a signal.
func sysGetrandom(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(2)
	if flags&^(unix.GRND_NONBLOCK|unix.GRND_RANDOM|unix.GRND_INSECURE) != 0 ||
		flags&(unix.GRND_RANDOM|unix.GRND_INSECURE) == unix.GRND_RANDOM|unix.GRND_INSECURE {
		return 0, unix.EINVAL
	}
	const maxRW = 0x7ffff000 // as for read(2)
	want := min(a[1], maxRW)
	buf := make([]byte, min(want, randomStep))
	for done := uint64(0); done < want; {
		part := buf[:min(want-done, randomStep)]
		rand.Read(part) // crypto/rand never fails
		n, err := t.CopyOut(a[0]+done, part)
		done += uint64(n)
		if err != nil {
			if done > 0 {
				return uintptr(done), nil
			}
			return 0, err
		}
		if done < want && t.Interrupted() {
			return uintptr(done), nil
		}
	}
	return uintptr(want), nil
}

// Types of kcmp(2).
const (
	kcmpFile    = 0
	kcmpVM      = 1
	kcmpFiles   = 2
	kcmpFS      = 3
	kcmpSighand = 4
	kcmpTypes   = 8
)

var kcmpNames = &FlagSet{Names: []FlagName{
	{kcmpFile, "KCMP_FILE"}, {kcmpVM, "KCMP_VM"}, {kcmpFiles, "KCMP_FILES"}, {kcmpFS, "KCMP_FS"}, {kcmpSighand, "KCMP_SIGHAND"},
	{5, "KCMP_IO"}, {6, "KCMP_SYSVSEM"}, {7, "KCMP_EPOLL_TFD"},
}}

// sysKcmp is kcmp(2).
func sysKcmp(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t1, t2 := t.PIDs().Task(a.Int(0)), t.PIDs().Task(a.Int(1))
	if t1 == nil || t2 == nil {
		return 0, unix.ESRCH
	}
	if !mayInspect(t, t1) || !mayInspect(t, t2) {
		return 0, unix.EPERM
	}
	m1, fds1, fs1 := t1.Resources()
	m2, fds2, fs2 := t2.Resources()
	if m1 == nil || m2 == nil || fds1 == nil || fds2 == nil {
		return 0, unix.ESRCH
	}
	switch kind := a.Int(2); {
	case kind == kcmpFile:
		f1, f2 := fds1.Get(a.Int(3)), fds2.Get(a.Int(4))
		if f1 != nil {
			defer f1.DecRef()
		}
		if f2 != nil {
			defer f2.DecRef()
		}
		if f1 == nil || f2 == nil {
			return 0, unix.EBADF
		}
		return compare(f1, f2), nil
	case kind == kcmpVM:
		return compare(m1, m2), nil
	case kind == kcmpFiles:
		return compare(fds1, fds2), nil
	case kind == kcmpFS:
		return compare(fs1, fs2), nil
	case kind == kcmpSighand:
		return compare(t1.ThreadGroup().SignalHandlers(), t2.ThreadGroup().SignalHandlers()), nil
	case kind < 0 || kind >= kcmpTypes:
		return 0, unix.EINVAL
	}
	return 0, unix.EOPNOTSUPP
}
