package profile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"coffer/internal/bpf"
	"coffer/internal/seccomp/sysno"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func number(t testing.TB, a sysno.Arch, name string) uint32 {
	t.Helper()
	c := sysno.Find(name)
	if c == nil {
		t.Fatalf("there is no call %s", name)
	}
	nr, ok := c.Number(a)
	if !ok {
		t.Fatalf("there is no call %s on %d", name, a)
	}
	return nr
}

// verdictOn runs a filter on a call.
func verdictOn(t testing.TB, p *bpf.Program, a sysno.Arch, name string, args ...uint64) uint32 {
	t.Helper()
	d := bpf.Data{Number: int32(number(t, a, name)), Arch: a.Audit()}
	copy(d.Args[:], args)
	return p.Run(&d)
}

func errnoVerdict(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func TestConditions(t *testing.T) {
	const v = 5<<32 | 7
	around := []uint64{0, 7, 8, 6, v - 1, v, v + 1, 5 << 32, 5<<32 | 0xffffffff, 4<<32 | 0xffffffff, 6 << 32, 6<<32 | 7, ^uint64(0)}
	for op, holds := range map[specs.LinuxSeccompOperator]func(a uint64) bool{
		specs.OpEqualTo:      func(a uint64) bool { return a == v },
		specs.OpNotEqual:     func(a uint64) bool { return a != v },
		specs.OpLessThan:     func(a uint64) bool { return a < v },
		specs.OpLessEqual:    func(a uint64) bool { return a <= v },
		specs.OpGreaterThan:  func(a uint64) bool { return a > v },
		specs.OpGreaterEqual: func(a uint64) bool { return a >= v },
		specs.OpMaskedEqual:  func(a uint64) bool { return a&v == 1<<32|3 },
	} {
		p := ours(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"read"}, Action: specs.ActTrap,
			Args: []specs.LinuxSeccompArg{{Index: 5, Op: op, Value: v, ValueTwo: 1<<32 | 3}},
		}}})
		for _, a := range append(around, 1<<32|3, 1<<32|3|8) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			if holds(a) {
				want = unix.SECCOMP_RET_TRAP
			}
			if got := verdictOn(t, p, sysno.AMD64, "read", 0, 0, 0, 0, 0, a); got != want {
				t.Errorf("%s: %#x gives %#x", op, a, got)
			}
		}
	}
}

func TestRulesOfOneCall(t *testing.T) {
	eq := func(index uint, v uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Op: specs.OpEqualTo, Value: v}
	}
	e := func(n uint) *uint { return &n }
	p := ours(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: e(99), Syscalls: []specs.LinuxSyscall{
		// The first one that holds.
		{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: e(1), Args: []specs.LinuxSeccompArg{eq(0, 1), eq(1, 2)}},
		{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: e(2), Args: []specs.LinuxSeccompArg{eq(0, 1)}},
		// One without conditions decides alone.
		{Names: []string{"pipe"}, Action: specs.ActErrno, ErrnoRet: e(3), Args: []specs.LinuxSeccompArg{eq(0, 1)}},
		{Names: []string{"pipe"}, Action: specs.ActErrno, ErrnoRet: e(4)},
		{Names: []string{"pipe"}, Action: specs.ActErrno, ErrnoRet: e(5)},
		// Two conditions on one argument are alternatives.
		{Names: []string{"dup"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{eq(0, 1), eq(0, 2), eq(1, 3)}},
		// The default action is as if it were not there.
		{Names: []string{"open"}, Action: specs.ActErrno, ErrnoRet: e(99)},
		{Names: []string{"open"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{eq(0, 1)}},
	}})
	for _, test := range []struct {
		name string
		args []uint64
		want uint32
	}{
		{"read", []uint64{1, 2}, errnoVerdict(1)},
		{"read", []uint64{1, 3}, errnoVerdict(2)},
		{"read", []uint64{2, 2}, errnoVerdict(99)},
		{"pipe", []uint64{1}, errnoVerdict(4)},
		{"pipe", []uint64{2}, errnoVerdict(4)},
		{"dup", []uint64{1}, unix.SECCOMP_RET_ALLOW},
		{"dup", []uint64{2}, unix.SECCOMP_RET_ALLOW},
		{"dup", []uint64{9, 3}, unix.SECCOMP_RET_ALLOW},
		{"dup", []uint64{9, 4}, errnoVerdict(99)},
		{"open", []uint64{1}, unix.SECCOMP_RET_ALLOW},
		{"open", []uint64{2}, errnoVerdict(99)},
		{"write", nil, errnoVerdict(99)},
	} {
		if got := verdictOn(t, p, sysno.AMD64, test.name, test.args...); got != test.want {
			t.Errorf("%s%v: verdict %#x, want %#x", test.name, test.args, got, test.want)
		}
	}
}

func TestCallsNewerThanTheProfile(t *testing.T) {
	at := func(action specs.LinuxSeccompAction, list ...specs.Arch) *bpf.Program {
		return ours(t, &specs.LinuxSeccomp{DefaultAction: action, Architectures: list, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "openat2"}, Action: specs.ActKillProcess},
		}})
	}
	const eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys := errnoVerdict(unix.ENOSYS)
	for _, test := range []struct {
		p    *bpf.Program
		a    sysno.Arch
		name string
		want uint32
	}{
		{at(specs.ActErrno, specs.ArchX86_64), sysno.AMD64, "mseal", enosys},
		{at(specs.ActErrno, specs.ArchX86_64), sysno.AMD64, "write", eperm},
		{at(specs.ActErrno), sysno.AMD64, "mseal", eperm},
		{at(specs.ActErrno, specs.ArchX86_64, specs.ArchX32, specs.ArchX86), sysno.X86, "mseal", enosys},
		{at(specs.ActErrno, specs.ArchX86_64, specs.ArchX32), sysno.X32, "mseal", enosys},
		{at(specs.ActErrno, specs.ArchX86_64), sysno.X32, "read", badArch},
		{at(specs.ActErrno, specs.ArchX86_64), sysno.X86, "read", badArch},
		{at(specs.ActKill, specs.ArchX86_64), sysno.AMD64, "mseal", enosys},
		{at(specs.ActAllow, specs.ArchX86_64), sysno.AMD64, "mseal", unix.SECCOMP_RET_ALLOW},
		{at(specs.ActLog, specs.ArchX86_64), sysno.AMD64, "mseal", unix.SECCOMP_RET_LOG},
		{at(specs.ActTrace, specs.ArchX86_64), sysno.AMD64, "mseal", unix.SECCOMP_RET_TRACE | 1},
	} {
		if got := verdictOn(t, test.p, test.a, test.name); got != test.want {
			t.Errorf("%s on %d: verdict %#x, want %#x", test.name, test.a, got, test.want)
		}
	}
}

// On x86 a call behind another one can't be told by its arguments: who may make
// it only with some may not, and who may not with some may not at all.
func TestCallsBehindOthers(t *testing.T) {
	vsock := []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: unix.AF_VSOCK}}
	profile := func(def, action specs.LinuxSeccompAction, args []specs.LinuxSeccompArg) *bpf.Program {
		return ours(t, &specs.LinuxSeccomp{DefaultAction: def, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"socket", "shmat"}, Action: action, Args: args},
		}})
	}
	allow, eperm := uint32(unix.SECCOMP_RET_ALLOW), errnoVerdict(unix.EPERM)
	for _, test := range []struct {
		name  string
		p     *bpf.Program
		want  uint32 // of socketcall(SYS_SOCKET)
		else_ uint32 // of socketcall(SYS_BIND)
	}{
		{"denied", profile(specs.ActAllow, specs.ActErrno, nil), eperm, allow},
		{"denied with some", profile(specs.ActAllow, specs.ActErrno, vsock), eperm, allow},
		{"allowed", profile(specs.ActErrno, specs.ActAllow, nil), allow, eperm},
		{"allowed with some", profile(specs.ActErrno, specs.ActAllow, vsock), eperm, eperm},
	} {
		if got := verdictOn(t, test.p, sysno.X86, "socketcall", 1, unix.AF_VSOCK); got != test.want {
			t.Errorf("%s: socketcall(SYS_SOCKET) gives %#x, want %#x", test.name, got, test.want)
		}
		if got := verdictOn(t, test.p, sysno.X86, "socketcall", 2); got != test.else_ {
			t.Errorf("%s: socketcall(SYS_BIND) gives %#x, want %#x", test.name, got, test.else_)
		}
		if got := verdictOn(t, test.p, sysno.X86, "ipc", 21); got != test.want {
			t.Errorf("%s: ipc(SHMAT) gives %#x, want %#x", test.name, got, test.want)
		}
	}
}

func TestProfilesThatAreRefused(t *testing.T) {
	e := func(n uint) *uint { return &n }
	ok := func() *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno}}}
	}
	for want, change := range map[string]func(*specs.LinuxSeccomp){
		"defaultAction is \"\"":            func(p *specs.LinuxSeccomp) { p.DefaultAction = "" },
		"defaultAction is SCMP_ACT_NOTIFY": func(p *specs.LinuxSeccomp) { p.DefaultAction = specs.ActNotify },
		"defaultErrnoRet is set":           func(p *specs.LinuxSeccomp) { p.DefaultErrnoRet = e(1) },
		"flags[0] is \"X\"":                func(p *specs.LinuxSeccomp) { p.Flags = []specs.LinuxSeccompFlag{"X"} },
		"architectures[0] is \"X\"":        func(p *specs.LinuxSeccomp) { p.Architectures = []specs.Arch{"X"} },
		"syscalls[0].names is empty":       func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names = nil },
		"syscalls[0].action is \"X\"":      func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = "X" },
		"syscalls[0].errnoRet is 4096":     func(p *specs.LinuxSeccomp) { p.Syscalls[0].ErrnoRet = e(4096) },
		"syscalls[0].errnoRet is set":      func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action, p.Syscalls[0].ErrnoRet = specs.ActLog, e(1) },
		"syscalls[0].args[0].index is 6": func(p *specs.LinuxSeccomp) {
			p.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}
		},
		"syscalls[0].args[0].op is \"X\"": func(p *specs.LinuxSeccomp) { p.Syscalls[0].Args = []specs.LinuxSeccompArg{{Op: "X"}} },
		"listenerPath is empty":           func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActNotify },
		"has write with SCMP_ACT_NOTIFY": func(p *specs.LinuxSeccomp) {
			p.ListenerPath, p.Syscalls[0].Action, p.Syscalls[0].Names = "/x", specs.ActNotify, []string{"read", "write"}
		},
		"more than 65536 rules": func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names = slices.Repeat([]string{"read"}, 1<<16+1) },
		"instructions, and Linux takes 4096": func(p *specs.LinuxSeccomp) {
			p.Syscalls = nil
			for i := range 3000 {
				p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno,
					Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo, Value: uint64(i)}}})
			}
		},
	} {
		p := ok()
		change(p)
		if _, err := Compile(p); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "linux.seccomp") {
			t.Errorf("error %v, want one of linux.seccomp with %s", err, want)
		}
	}
	if p, err := Compile(nil); p != nil || err != nil {
		t.Errorf("no profile gives %v, %v", p, err)
	}
	if l, err := (*Program)(nil).Install(); l != nil || err != nil {
		t.Errorf("installing no profile gives %v, %v", l, err)
	}
}

func TestWhatAProgramTells(t *testing.T) {
	p, err := Compile(&specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: "/x",
		Flags:         []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, flagTSync},
		Architectures: []specs.Arch{specs.ArchS390X, specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"no_such_call", "read", "_llseek", "no_such_call"}, Action: specs.ActNotify},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Notify || p.Flags != unix.SECCOMP_FILTER_FLAG_LOG|unix.SECCOMP_FILTER_FLAG_TSYNC {
		t.Errorf("notify %v, flags %#x", p.Notify, p.Flags)
	}
	if want := []string{"no_such_call", "_llseek"}; !slices.Equal(p.Unknown, want) {
		t.Errorf("unknown are %q, want %q", p.Unknown, want)
	}
}

// largeProfile is of the kind that engines come with: it allows what programs
// need, some of it by its arguments, and has ENOSYS and EPERM for the rest.
func largeProfile() *specs.LinuxSeccomp {
	refused := []string{"acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "fanotify_init",
		"finit_module", "get_kernel_syms", "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
		"lookup_dcookie", "mount", "move_mount", "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
		"pivot_root", "process_vm_readv", "ptrace", "query_module", "quotactl", "reboot", "request_key", "setns", "settimeofday",
		"stime", "swapon", "swapoff", "syslog", "_sysctl", "sysfs", "umount", "umount2", "unshare", "uselib", "userfaultfd",
		"ustat", "vhangup", "vm86", "vm86old", "io_uring_setup", "io_uring_enter", "io_uring_register"}
	byArgument := []string{"clone", "personality", "socket", "ioctl"}
	eperm, enosys := uint(unix.EPERM), uint(unix.ENOSYS)
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	}
	allowed := specs.LinuxSyscall{Action: specs.ActAllow}
	for _, c := range sysno.All() {
		if !slices.Contains(refused, c.Name) && !slices.Contains(byArgument, c.Name) && c.Name != "clone3" {
			allowed.Names = append(allowed.Names, c.Name)
		}
	}
	p.Syscalls = append(p.Syscalls, allowed,
		specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys},
		specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 0, Value: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUSER | unix.CLONE_NEWNET, Op: specs.OpMaskedEqual}}},
		specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 0, Value: unix.AF_VSOCK, Op: specs.OpNotEqual}}},
		specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 1, Value: 0xffffffff, ValueTwo: unix.TIOCSTI, Op: specs.OpGreaterThan}}},
	)
	for _, persona := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"personality"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: persona, Op: specs.OpEqualTo}}})
	}
	return p
}

func TestLargeProfile(t *testing.T) {
	p := ours(t, largeProfile())
	if p.Len() > 1000 {
		t.Errorf("the filter has %d instructions", p.Len())
	}
	allow, eperm := uint32(unix.SECCOMP_RET_ALLOW), errnoVerdict(unix.EPERM)
	for _, test := range []struct {
		name string
		args []uint64
		want uint32
	}{
		{"read", nil, allow}, {"exit_group", nil, allow}, {"mount", nil, eperm}, {"clone3", nil, errnoVerdict(unix.ENOSYS)},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD}, allow}, {"clone", []uint64{unix.CLONE_NEWUSER}, eperm},
		{"personality", []uint64{8}, allow}, {"personality", []uint64{9}, eperm},
		{"socket", []uint64{unix.AF_INET}, allow}, {"socket", []uint64{unix.AF_VSOCK}, eperm},
	} {
		if got := verdictOn(t, p, sysno.AMD64, test.name, test.args...); got != test.want {
			t.Errorf("%s%v: verdict %#x, want %#x", test.name, test.args, got, test.want)
		}
	}
}

func TestEveryFeatureCompiles(t *testing.T) {
	f := Features()
	if len(f.SupportedFlags) == 0 {
		t.Error("the host has no flag at all")
	}
	for _, a := range f.Actions {
		p := everything()
		for i, op := range f.Operators {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"dup"}, Action: specs.LinuxSeccompAction(a),
				Args: []specs.LinuxSeccompArg{{Index: uint(i % 6), Op: specs.LinuxSeccompOperator(op), Value: uint64(i)}}})
		}
		ours(t, p)
	}
}

// everything is a profile with all architectures and flags.
func everything() *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, ListenerPath: "/x"}
	f := Features()
	for _, a := range f.Archs {
		p.Architectures = append(p.Architectures, specs.Arch(a))
	}
	for _, flag := range f.KnownFlags {
		p.Flags = append(p.Flags, specs.LinuxSeccompFlag(flag))
	}
	return p
}

// Any profile is refused with a word of where, or gives a filter that Linux
// takes.
func FuzzCompile(f *testing.F) {
	all := everything()
	all.Syscalls = []specs.LinuxSyscall{
		{Names: []string{"read", "socket", "x"}, Action: specs.ActNotify, Args: []specs.LinuxSeccompArg{{Index: 1, Op: specs.OpMaskedEqual, Value: 1 << 40, ValueTwo: 7}}},
		{Names: []string{"semop"}, Action: specs.ActKill},
	}
	for _, p := range []*specs.LinuxSeccomp{{DefaultAction: specs.ActAllow}, all} {
		data, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p specs.LinuxSeccomp
		if json.Unmarshal(data, &p) != nil {
			return
		}
		c, err := Compile(&p)
		if err != nil {
			if !strings.Contains(err.Error(), "linux.seccomp") {
				t.Errorf("the error names no field: %v", err)
			}
			return
		}
		if _, err := bpf.New(c.Filter); err != nil {
			t.Errorf("Linux refuses the filter: %v", err)
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	p := largeProfile()
	b.ReportAllocs()
	for b.Loop() {
		c, err := Compile(p)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(c.Filter)), "instructions")
	}
}

// BenchmarkFilter is what the filter of a large profile adds to each call, by
// our interpreter; Linux compiles it.
func BenchmarkFilter(b *testing.B) {
	p := ours(b, largeProfile())
	for _, name := range []string{"read", "openat", "socket", "mseal"} {
		d := bpf.Data{Number: int32(number(b, sysno.AMD64, name)), Arch: sysno.AMD64.Audit()}
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			for b.Loop() {
				p.Run(&d)
			}
		})
	}
}
