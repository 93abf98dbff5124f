package bpf

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

type code = []unix.SockFilter

func op(c uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: c, K: k} }

func jump(c uint16, k uint32, t, f uint8) unix.SockFilter {
	return unix.SockFilter{Code: c, K: k, Jt: t, Jf: f}
}

func alu(o uint16) uint16 { return unix.BPF_ALU | o }

func repeat(n int, in unix.SockFilter) code {
	c := make(code, n, n+1)
	for i := range c {
		c[i] = in
	}
	return c
}

// programs are programs of which valid says whether Linux takes them.
var programs = []struct {
	name  string
	code  code
	valid bool
}{
	{"empty", nil, false},
	{"return", code{op(retK, 5)}, true},
	{"no return", code{op(ldImm, 5)}, false},
	{"return before the end only", code{op(retK, 5), op(ldImm, 5)}, false},
	{"return x", code{op(unix.BPF_RET|unix.BPF_X, 0)}, false},
	{"longest", append(repeat(MaxInstructions-1, op(ldImm, 0)), op(retK, 0)), true},
	{"too long", append(repeat(MaxInstructions, op(ldImm, 0)), op(retK, 0)), false},
	{"last word", code{op(ldAbs, 60), op(retA, 0)}, true},
	{"behind the data", code{op(ldAbs, 64), op(retA, 0)}, false},
	{"unaligned", code{op(ldAbs, 2), op(retA, 0)}, false},
	{"half word", code{op(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, 0), op(retA, 0)}, false},
	{"indirect", code{op(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, 0), op(retA, 0)}, false},
	{"ancillary", code{op(ldAbs, 0xfffff000), op(retA, 0)}, false},
	{"length", code{op(ldLen, 0), op(ldxLen, 0), op(retA, 0)}, true},
	{"msh", code{op(unix.BPF_LDX|unix.BPF_B|unix.BPF_MSH, 0), op(retA, 0)}, false},
	{"jump to the last", code{op(ja, 1), op(ldImm, 0), op(retK, 0)}, true},
	{"jump behind the last", code{op(ja, 2), op(ldImm, 0), op(retK, 0)}, false},
	{"jump very far", code{op(ja, 0xffffffff), op(ldImm, 0), op(retK, 0)}, false},
	{"branch to the last", code{jump(jeqK, 0, 1, 0), op(ldImm, 0), op(retK, 0)}, true},
	{"true branch behind", code{jump(jeqK, 0, 2, 0), op(ldImm, 0), op(retK, 0)}, false},
	{"false branch behind", code{jump(jeqK, 0, 0, 2), op(ldImm, 0), op(retK, 0)}, false},
	{"unknown branch", code{jump(unix.BPF_JMP|0x50, 0, 0, 0), op(retK, 0)}, false},
	{"division by zero", code{op(divK, 0), op(retA, 0)}, false},
	{"division by x", code{op(divX, 0), op(retA, 0)}, true},
	{"modulo", code{op(alu(unix.BPF_MOD), 3), op(retA, 0)}, false},
	{"shift 31", code{op(lshK, 31), op(rshK, 31), op(retA, 0)}, true},
	{"shift left 32", code{op(lshK, 32), op(retA, 0)}, false},
	{"shift right 32", code{op(rshK, 32), op(retA, 0)}, false},
	{"negation", code{op(neg, 0), op(retA, 0)}, true},
	{"negation of x", code{op(neg|unix.BPF_X, 0), op(retA, 0)}, false},
	{"unknown operation", code{op(alu(0xb0), 0), op(retA, 0)}, false},
	{"high bits", code{op(0x100|retK, 0)}, false},
	{"store and load", code{op(st, 15), op(ldMem, 15), op(ldxMem, 15), op(retA, 0)}, true},
	{"store too high", code{op(st, 16), op(retA, 0)}, false},
	{"load too high", code{op(ldMem, 16), op(retA, 0)}, false},
	{"load before store", code{op(ldMem, 0), op(retA, 0)}, false},
	{"load of another word", code{op(stx, 1), op(ldMem, 0), op(retA, 0)}, false},
	{"stored on one branch", code{jump(jeqK, 0, 0, 1), op(st, 3), op(ldMem, 3), op(retA, 0)}, false},
	{"stored on both branches", code{jump(jeqK, 0, 0, 2), op(st, 3), op(ja, 1), op(stx, 3), op(ldMem, 3), op(retA, 0)}, true},
	{"stored where nothing leads", code{op(ja, 1), op(st, 3), op(ldMem, 3), op(retA, 0)}, false},
	{"loaded where nothing leads", code{op(ja, 1), op(ldMem, 3), op(retA, 0)}, true},
}

func TestNew(t *testing.T) {
	for _, tt := range programs {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.code)
			if (err == nil) != tt.valid || err != nil && err != unix.EINVAL {
				t.Fatalf("New: %v, want valid %v", err, tt.valid)
			}
			if p != nil && p.Len() != len(tt.code) {
				t.Errorf("Len %d, want %d", p.Len(), len(tt.code))
			}
		})
	}
}

// TestNewIsLinux has the host's kernel judge the same programs.
func TestNewIsLinux(t *testing.T) {
	for _, tt := range programs {
		if tt.code == nil || len(tt.code) > MaxInstructions-3 {
			continue // there is no room for what goes before
		}
		err := hostTakes(t, tt.code)
		if (err == nil) != tt.valid {
			t.Errorf("%s: Linux says %v, want valid %v", tt.name, err, tt.valid)
		}
	}
}

// hostTakes installs a filter that allows everything if it comes to run at
// all, on a thread that ends with the call.
func hostTakes(t *testing.T, c code) error {
	res := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			res <- err
			return
		}
		// The program follows a jump over it to ALLOW, so that it never runs;
		// what can't be reached is checked all the same.
		c = append(code{op(ldAbs, OffArch), jump(jeqK, 1, 1, 0), op(retK, unix.SECCOMP_RET_ALLOW)}, c...)
		prog := unix.SockFprog{Len: uint16(len(c)), Filter: &c[0]}
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
		if errno != 0 {
			res <- errno
			return
		}
		res <- nil
	}()
	err := <-res
	if err == unix.ENOSYS || err == unix.EPERM || err == unix.EACCES {
		t.Skipf("this host does not let filters be installed: %v", err)
	}
	return err
}

func TestRun(t *testing.T) {
	d := &Data{Number: -2, Arch: unix.AUDIT_ARCH_X86_64, InstructionPointer: 0x1111222233334444,
		Args: [6]uint64{0xa1a1a1a1b1b1b1b1, 1, 2, 3, 4, 0xf1f1f1f1e1e1e1e1}}
	for _, tt := range []struct {
		name string
		code code
		want uint32
	}{
		{"number", code{op(ldAbs, 0), op(retA, 0)}, 0xfffffffe},
		{"arch", code{op(ldAbs, 4), op(retA, 0)}, unix.AUDIT_ARCH_X86_64},
		{"low instruction pointer", code{op(ldAbs, 8), op(retA, 0)}, 0x33334444},
		{"high instruction pointer", code{op(ldAbs, 12), op(retA, 0)}, 0x11112222},
		{"low first argument", code{op(ldAbs, 16), op(retA, 0)}, 0xb1b1b1b1},
		{"high first argument", code{op(ldAbs, 20), op(retA, 0)}, 0xa1a1a1a1},
		{"low last argument", code{op(ldAbs, 56), op(retA, 0)}, 0xe1e1e1e1},
		{"high last argument", code{op(ldAbs, 60), op(retA, 0)}, 0xf1f1f1f1},
		{"length", code{op(ldLen, 0), op(retA, 0)}, 64},
		{"length in x", code{op(ldxLen, 0), op(txa, 0), op(retA, 0)}, 64},
		{"constant", code{op(ldImm, 9), op(retK, 7)}, 7},
		{"tax", code{op(ldImm, 9), op(tax, 0), op(ldImm, 1), op(txa, 0), op(retA, 0)}, 9},
		{"memory", code{op(ldImm, 9), op(st, 2), op(ldxImm, 8), op(stx, 3), op(ldMem, 3), op(ldxMem, 2),
			op(alu(unix.BPF_SUB|unix.BPF_X), 0), op(retA, 0)}, 0xffffffff},
		{"add wraps", code{op(ldImm, 0xffffffff), op(alu(unix.BPF_ADD), 2), op(retA, 0)}, 1},
		{"multiply wraps", code{op(ldImm, 0x10001), op(alu(unix.BPF_MUL), 0x10000), op(retA, 0)}, 0x10000},
		{"divide", code{op(ldImm, 0xffffffff), op(divK, 2), op(retA, 0)}, 0x7fffffff},
		{"divide by x", code{op(ldImm, 9), op(ldxImm, 2), op(divX, 0), op(retA, 0)}, 4},
		{"divide by no x", code{op(ldImm, 9), op(divX, 0), op(retK, 5)}, 0},
		{"or", code{op(ldImm, 9), op(alu(unix.BPF_OR), 6), op(retA, 0)}, 15},
		{"and", code{op(ldImm, 9), op(andK, 12), op(retA, 0)}, 8},
		{"xor", code{op(ldImm, 9), op(alu(unix.BPF_XOR), 12), op(retA, 0)}, 5},
		{"shift by x", code{op(ldImm, 9), op(ldxImm, 33), op(alu(unix.BPF_LSH|unix.BPF_X), 0), op(retA, 0)}, 18},
		{"shift right", code{op(ldImm, 0x80000000), op(rshK, 31), op(retA, 0)}, 1},
		{"negate", code{op(ldImm, 1), op(neg, 0), op(retA, 0)}, 0xffffffff},
		{"jump", code{op(ja, 1), op(retK, 1), op(retK, 2)}, 2},
		{"equal", code{op(ldImm, 4), jump(jeqK, 4, 1, 0), op(retK, 1), op(retK, 2)}, 2},
		{"greater", code{op(ldImm, 4), jump(jgtK, 4, 1, 0), op(retK, 1), op(retK, 2)}, 1},
		{"greater is unsigned", code{op(ldImm, 0x80000000), jump(jgtK, 4, 1, 0), op(retK, 1), op(retK, 2)}, 2},
		{"greater or equal", code{op(ldImm, 4), jump(jgeK, 4, 1, 0), op(retK, 1), op(retK, 2)}, 2},
		{"set", code{op(ldImm, 6), jump(jsetK, 4, 1, 0), op(retK, 1), op(retK, 2)}, 2},
		{"set, none", code{op(ldImm, 6), jump(jsetK, 9, 1, 0), op(retK, 1), op(retK, 2)}, 1},
		{"compare with x", code{op(ldImm, 6), op(ldxImm, 6), jump(jeqK|unix.BPF_X, 0, 1, 0), op(retK, 1), op(retK, 2)}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.code)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Run(d); got != tt.want {
				t.Errorf("%#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestConstant(t *testing.T) {
	const arch = unix.AUDIT_ARCH_X86_64
	filter := code{
		op(ldAbs, 4), jump(jeqK, arch, 1, 0), op(retK, unix.SECCOMP_RET_KILL_PROCESS),
		op(ldAbs, 0), jump(jeqK, unix.SYS_READ, 2, 0), jump(jeqK, unix.SYS_IOCTL, 2, 0), op(retK, unix.SECCOMP_RET_LOG),
		op(retK, unix.SECCOMP_RET_ALLOW),
		op(ldAbs, 24), jump(jeqK, 5, 0, 1), op(retK, unix.SECCOMP_RET_ALLOW), op(retK, unix.SECCOMP_RET_TRAP),
	}
	p, err := New(filter)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		nr   int32
		arch uint32
		want uint32
		ok   bool
	}{
		{unix.SYS_READ, arch, unix.SECCOMP_RET_ALLOW, true},
		{unix.SYS_WRITE, arch, unix.SECCOMP_RET_LOG, true},
		{unix.SYS_IOCTL, arch, 0, false},
		{unix.SYS_READ, unix.AUDIT_ARCH_I386, unix.SECCOMP_RET_KILL_PROCESS, true},
	} {
		if got, ok := p.Constant(tt.nr, tt.arch); got != tt.want || ok != tt.ok {
			t.Errorf("call %d of %#x: %#x, %v; want %#x, %v", tt.nr, tt.arch, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzProgram looks for programs that pass the check and then fail, or whose
// constant result is not the one that they have.
func FuzzProgram(f *testing.F) {
	for _, tt := range programs {
		b := make([]byte, 0, 8*len(tt.code))
		for _, in := range tt.code {
			b = binary.LittleEndian.AppendUint16(b, in.Code)
			b = append(b, in.Jt, in.Jf)
			b = binary.LittleEndian.AppendUint32(b, in.K)
		}
		f.Add(b, int32(1), uint64(2), uint64(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, nr int32, ip, arg uint64) {
		var c code
		for ; len(b) >= 8; b = b[8:] {
			c = append(c, unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
		}
		p, err := New(c)
		if err != nil {
			return
		}
		d := &Data{Number: nr, Arch: unix.AUDIT_ARCH_X86_64, InstructionPointer: ip, Args: [6]uint64{arg, arg + 1, 0, 0, 0, ^arg}}
		got := p.Run(d)
		if want, ok := p.Constant(nr, d.Arch); ok && want != got {
			t.Errorf("%s: constant %#x, run %#x", describe(c), want, got)
		}
	})
}

func describe(c code) string {
	var b strings.Builder
	for _, in := range c {
		fmt.Fprintf(&b, "{%#x %d %d %#x} ", in.Code, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

// BenchmarkRun runs a filter as container engines have: 300 comparisons.
func BenchmarkRun(b *testing.B) {
	c := code{op(ldAbs, 0)}
	for i := range uint32(300) {
		c = append(c, jump(jeqK, 1000+i, 0, 1), op(retK, unix.SECCOMP_RET_ALLOW))
	}
	p, err := New(append(c, op(retK, unix.SECCOMP_RET_ERRNO)))
	if err != nil {
		b.Fatal(err)
	}
	d := &Data{Number: 1}
	b.ReportAllocs()
	for b.Loop() {
		p.Run(d)
	}
}
