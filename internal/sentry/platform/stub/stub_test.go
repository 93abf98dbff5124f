package stub

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"coffer/internal/bpf"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// run returns the filter's verdict, once it is checked as the host would.
func run(t *testing.T, prog []unix.SockFilter, arch, nr uint32, ip uint64, args [6]uint64) uint32 {
	t.Helper()
	p, err := bpf.New(prog)
	if err != nil {
		t.Fatalf("the host would refuse the filter: %v", err)
	}
	return p.Run(&bpf.Data{Number: int32(nr), Arch: arch, InstructionPointer: ip, Args: args})
}

func TestFilter(t *testing.T) {
	const text = 0x7fff_e000_0000
	prog := filter(text)
	const allow, trap = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_TRAP
	for _, tt := range []struct {
		name string
		arch uint32
		nr   uint32
		ip   uint64
		args [6]uint64
		want uint32
	}{
		{"mmap", auditArchX8664, unix.SYS_MMAP, text + 2, [6]uint64{}, allow},
		{"last byte", auditArchX8664, unix.SYS_MMAP, text + textSize, [6]uint64{}, allow},
		{"behind", auditArchX8664, unix.SYS_MMAP, text + textSize + 1, [6]uint64{}, trap},
		{"before", auditArchX8664, unix.SYS_MMAP, text, [6]uint64{}, trap},
		{"low half", auditArchX8664, unix.SYS_MMAP, text&0xffffffff + 2, [6]uint64{}, trap},
		{"high half", auditArchX8664, unix.SYS_MMAP, text + 1<<32 + 2, [6]uint64{}, trap},
		{"guest", auditArchX8664, unix.SYS_MMAP, 0x401000, [6]uint64{}, trap},
		{"32-bit", 0x40000003, unix.SYS_MMAP, text + 2, [6]uint64{}, trap},
		{"x32", auditArchX8664, 0x40000000 | unix.SYS_MMAP, text + 2, [6]uint64{}, trap},
		{"open", auditArchX8664, unix.SYS_OPEN, text + 2, [6]uint64{}, trap},
		{"execve", auditArchX8664, unix.SYS_EXECVE, text + 2, [6]uint64{}, trap},
		{"kill", auditArchX8664, unix.SYS_KILL, text + 2, [6]uint64{}, trap},
		{"sigreturn", auditArchX8664, unix.SYS_RT_SIGRETURN, text + 2, [6]uint64{}, trap},
		{"sigprocmask", auditArchX8664, unix.SYS_RT_SIGPROCMASK, text + 2, [6]uint64{}, trap},
		{"fork", auditArchX8664, unix.SYS_CLONE, text + 2, [6]uint64{forkFlags}, allow},
		{"thread", auditArchX8664, unix.SYS_CLONE, text + 2, [6]uint64{threadFlags}, allow},
		{"namespace", auditArchX8664, unix.SYS_CLONE, text + 2, [6]uint64{unix.CLONE_NEWUSER}, trap},
		{"traced child", auditArchX8664, unix.SYS_CLONE, text + 2, [6]uint64{forkFlags | unix.CLONE_PTRACE}, trap},
		{"wait", auditArchX8664, unix.SYS_FUTEX, text + 2, [6]uint64{1: 0}, allow},
		{"wake", auditArchX8664, unix.SYS_FUTEX, text + 2, [6]uint64{1: 1}, allow},
		{"lock", auditArchX8664, unix.SYS_FUTEX, text + 2, [6]uint64{1: 6}, trap},
		{"receive", auditArchX8664, unix.SYS_RECVMSG, text + 2, [6]uint64{0}, allow},
		{"receive elsewhere", auditArchX8664, unix.SYS_RECVMSG, text + 2, [6]uint64{5}, trap},
		{"death", auditArchX8664, unix.SYS_PRCTL, text + 2, [6]uint64{unix.PR_SET_PDEATHSIG}, allow},
		{"name", auditArchX8664, unix.SYS_PRCTL, text + 2, [6]uint64{unix.PR_SET_NAME}, trap},
	} {
		if got := run(t, prog, tt.arch, tt.nr, tt.ip, tt.args); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// TestFindSpecial compares what is found without /proc with what /proc says.
func TestFindSpecial(t *testing.T) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	var want special
	for s := bufio.NewScanner(f); s.Scan(); {
		var from, to uint64
		fmt.Sscanf(s.Text(), "%x-%x", &from, &to)
		switch {
		case strings.Contains(s.Text(), "[vvar") && want.vvar == 0:
			want.vvar = from
		case strings.Contains(s.Text(), "[vdso]"):
			want.vdso, want.end = from, to
		}
	}
	got, ok := findSpecial()
	if ok != (want.vdso != 0) || ok && got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
}

func TestPatience(t *testing.T) {
	var p patience
	wait := func(answered bool) bool {
		full := p.full()
		p.learn(full, answered)
		return full
	}
	for range failuresAllowed {
		if !wait(false) {
			t.Fatal("impatient too soon")
		}
	}
	if wait(false) {
		t.Error("spins in full after it was in vain")
	}
	spins := 0
	for range 10000 {
		if wait(false) {
			spins++
		}
	}
	if spins == 0 || spins > 10000/50 {
		t.Errorf("%d full spins in 10000 waits in vain", spins)
	}
	wait(true)
	if !wait(true) {
		t.Error("does not spin though answered")
	}
}

func TestCode(t *testing.T) {
	c, err := findCode()
	if err != nil {
		t.Fatal(err)
	}
	var fetches [fetchCalls]uint64
	fetches[1] = encodeFetch(platform.Fetch{Arg: 1, Max: 128, Counted: true, Also: [platform.AlsoMax]platform.Part{{Arg: 5, Max: 128}, {Arg: 2, Max: 8}}})
	b := c.copyFor(bases[0], &fetches)
	if len(b) != textSize {
		t.Errorf("%d bytes, want %d", len(b), textSize)
	}
	if e := binary.LittleEndian.Uint64(b[fetchOffset+8:]); e != 0x0a<<24|0x85<<16|128<<8|0x40|13 {
		t.Errorf("entry %#x", e)
	}
	for _, b := range bases {
		if b%slotsSize != 0 || b>>32 != (b+slotsSize+textSize)>>32 {
			t.Errorf("base %#x", b)
		}
	}
}

func TestFPFormat(t *testing.T) {
	f := findFPFormat()
	if f.size < fpMinSize || f.size > stackOffset || f.mask&3 != 3 {
		t.Errorf("%+v", f)
	}
}

func TestSpinForTurn(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if old.IsSet(i) {
			one.Set(i)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &old)
	here := cpu()
	if here == ^uint32(0) {
		t.Skip("this host does not tell processors apart")
	}
	for _, tt := range []struct {
		name string
		page page
		want spinResult
	}{
		{"answered", page{turn: turnSentry, stubCPU: here + 1}, spinAnswered},
		{"answered here", page{turn: turnSentry, stubCPU: here}, spinMet},
		{"elsewhere", page{stubCPU: here + 1}, spinVain},
		{"nowhere", page{stubCPU: stubAnywhere}, spinVain},
		{"here", page{stubCPU: here}, spinSameCPU},
	} {
		if got := spinForTurn(&tt.page, 1000); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		if tt.page.sentryCPU != here {
			t.Errorf("%s: the stub is told of %#x, want %#x", tt.name, tt.page.sentryCPU, here)
		}
	}
}
