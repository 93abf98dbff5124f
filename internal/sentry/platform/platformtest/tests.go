package platformtest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Test runs all tests on p.
func Test(t *testing.T, p platform.Platform) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A tracer keeps its goroutine's thread.
			done := make(chan struct{})
			go func() { defer close(done); tt.run(t, p) }()
			<-done
		})
	}
}

type test struct {
	name string
	run  func(*testing.T, platform.Platform)
}

var tests = []test{
	{"Syscall", testSyscall},
	{"Result", testResult},
	{"Registers", testRegisters},
	{"Fault", testFault},
	{"ReadOnlyFault", testReadOnlyFault},
	{"BusFault", testBusFault},
	{"Exceptions", testExceptions},
	{"Int80", testInt80},
	{"X32", testX32},
	{"Vsyscall", testVsyscall},
	{"VDSO", testVDSO},
	{"Flags", testFlags},
	{"Rest", testRest},
	{"Interrupt", testInterrupt},
	{"InterruptBefore", testInterruptBefore},
	{"InterruptStorm", testInterruptStorm},
	{"Fork", testFork},
	{"ForkOften", testForkOften},
	{"CloneThread", testCloneThread},
	{"FSBase", testFSBase},
	{"FPKept", testFPKept},
	{"FPInherited", testFPInherited},
	{"FPDebugged", testFPDebugged},
	{"SaveFP", testSaveFP},
	{"RestoreFPBad", testRestoreFPBad},
	{"ResetFP", testResetFP},
	{"CompareAndSwap", testCompareAndSwap},
	{"Copy", testCopy},
	{"CopyLimits", testCopyLimits},
	{"CopyLarge", testCopyLarge},
	{"Resident", testResident},
	{"Poke", testPoke},
	{"Ops", testOps},
	{"OpsMany", testOpsMany},
	{"Late", testLate},
	{"LateFailed", testLateFailed},
	{"OpWrite", testOpWrite},
	{"OpFailed", testOpFailed},
	{"MapFile", testMapFile},
	{"Garbage", testGarbage},
	{"Uretprobe", testUretprobe},
	{"Exit", testExit},
	{"Killed", testKilled},
	{"DeathIsTold", testDeathIsTold},
	{"JumpIntoStub", testJumpIntoStub},
	{"CallsFromStub", testCallsFromStub},
	{"Scribble", testScribble},
	{"ManySpaces", testManySpaces},
	{"ManyThreads", testManyThreads},
	{"Leaks", testLeaks},
}

// exit60 makes call 60.
var exit60 = Asm(MovEAX, 60, Syscall)

func testSyscall(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 39, MovRDI, uint64(0x1122334455667788), Syscall, MovEAX, 40, Syscall))
	defer g.Done()
	g.Syscall(39)
	r := g.Ctx.Regs()
	if r.Rdi != 0x1122334455667788 || int64(r.Rax) != -int64(unix.ENOSYS) || r.Rip != CodeAddr+17 || r.Rcx != r.Rip {
		t.Errorf("registers %+v", *r)
	}
	g.Syscall(40)
}

func testResult(t *testing.T, p platform.Platform) {
	// The result of one call is the number of the next.
	g := NewGuest(t, p, Asm(MovEAX, 1, Syscall, Syscall, Syscall))
	defer g.Done()
	g.Syscall(1)
	for _, n := range []uint64{1234, 0xffffffff00000001} {
		g.Ctx.Regs().Rax = n
		g.Syscall(n)
	}
}

func testRegisters(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(Syscall, Syscall))
	defer g.Done()
	r := g.Ctx.Regs()
	want := *r
	want.Rax = 7
	for i, v := range []*uint64{&want.Rbx, &want.Rdx, &want.Rsi, &want.Rdi, &want.Rbp,
		&want.R8, &want.R9, &want.R10, &want.R12, &want.R13, &want.R14, &want.R15} {
		*v = 0xabcdef0000000000 + uint64(i)
	}
	*r = want
	for range 2 {
		g.Syscall(7)
		want.Rcx, want.Rip = r.Rcx, r.Rip
		want.R11, want.Eflags = r.R11, r.Eflags
		want.Rax, want.Orig_rax = r.Rax, r.Orig_rax
		want.Cs, want.Ss = r.Cs, r.Ss
		if *r != want {
			t.Fatalf("registers %+v, want %+v", *r, want)
		}
		r.Rax = 7
	}
}

func testFault(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(0x12345678), LoadRDI))
	defer g.Done()
	ev := g.Fault(unix.SIGSEGV)
	if ev.Code != 1 || ev.Addr != 0x12345678 || ev.TrapNo != 14 || ev.ErrorCode != 4 || g.Ctx.Regs().Rip != CodeAddr+10 {
		t.Errorf("event %+v at %#x", ev, g.Ctx.Regs().Rip)
	}
	if orig := int64(g.Ctx.Regs().Orig_rax); orig != -1 {
		t.Errorf("orig_rax %d", orig)
	}
	// Map it and try again.
	g.Map(0x12345000, 0x1000, unix.PROT_READ)
	g.Ctx.CopyOut(CodeAddr+13, exit60)
	g.Syscall(60)
}

func testExceptions(t *testing.T, p platform.Platform) {
	for _, tt := range []struct {
		name string
		code []byte
		sig  unix.Signal
		rip  uint64
	}{
		{"int3", Asm(Int3), unix.SIGTRAP, 1},
		{"ud2", Asm(UD2), unix.SIGILL, 0},
		{"hlt", Asm("\xf4"), unix.SIGSEGV, 0},
		{"divide", Asm("\x31\xc9\xf7\xf1"), unix.SIGFPE, 2},
		{"far", Asm(MovRDI, uint64(0x8000000000000000), LoadRDI), unix.SIGSEGV, 10},
		// pushf; orl $0x100,(%rsp); popf; nop
		{"step", Asm("\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d\x90\x90"), unix.SIGTRAP, 10},
	} {
		g := NewGuest(t, p, tt.code)
		g.Fault(tt.sig)
		if rip := g.Ctx.Regs().Rip - CodeAddr; rip != tt.rip {
			t.Errorf("%s: at %#x, want %#x", tt.name, rip, tt.rip)
		}
		g.Done()
	}
}

func testInt80(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 20, "\xcd\x80"))
	defer g.Done()
	ev := g.Ctx.Switch()
	if r := g.Ctx.Regs(); ev.Kind != platform.EventFault || ev.Signal != int32(unix.SIGSEGV) || r.Rip != CodeAddr+5 || r.Rax != 20 {
		t.Errorf("event %+v at %#x, rax %#x", ev, r.Rip, r.Rax)
	}
}

func testX32(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 0x40000000+39, Syscall))
	defer g.Done()
	g.Syscall(0x40000000 + 39)
}

// testUretprobe: some hosts let this call pass every filter.
func testUretprobe(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 335, Syscall, exit60))
	defer g.Done()
	g.Syscall(335)
	if r := g.Ctx.Regs(); int64(r.Rax) != -int64(unix.ENOSYS) || r.Rip != CodeAddr+7 {
		t.Errorf("registers %+v", *r)
	}
	g.Syscall(60)
}

func testVsyscall(t *testing.T, p platform.Platform) {
	// mov $-0x9ffc00 (0xffffffffff600400),%rax; call *%rax
	g := NewGuest(t, p, Asm("\x48\xc7\xc0", -0x9ffc00, "\xff\xd0", exit60))
	defer g.Done()
	ev := g.Ctx.Switch()
	r := g.Ctx.Regs()
	switch {
	case ev.Kind == platform.EventFault && ev.Signal == int32(unix.SIGSEGV):
		t.Skip("the host has no vsyscall page")
	case ev.Kind != platform.EventSyscall || r.Orig_rax != 201 || r.Rip != CodeAddr+9:
		t.Fatalf("event %+v, orig_rax %d, at %#x", ev, r.Orig_rax, r.Rip)
	}
	g.Syscall(60)
}

func testVDSO(t *testing.T, p platform.Platform) {
	l := p.Limits()
	if l.VDSO == 0 {
		t.Skip("the host has none")
	}
	if l.VVAR >= l.VDSO || l.VDSO >= l.VDSOEnd || l.VDSOEnd > l.Max {
		t.Errorf("limits %+v", l)
	}
	g := NewGuest(t, p, exit60)
	defer g.Done()
	image := make([]byte, l.VDSOEnd-l.VDSO)
	if _, err := g.Ctx.CopyIn(l.VDSO, image); err != nil || !bytes.HasPrefix(image, []byte("\x7fELF")) {
		t.Fatalf("vDSO: %v, % x", err, image[:4])
	}
	entry := findSymbol(t, image, "__vdso_clock_gettime")
	// mov $1,%edi; movabs $data,%rsi; movabs $entry,%rax; call *%rax; exit
	calls := Asm("\xbf", 1, MovRSI, uint64(DataAddr), "\x48\xb8", l.VDSO+entry, "\xff\xd0")
	g.Ctx.CopyOut(CodeAddr, Asm(calls, "\x89\xc7", exit60))
	g.Syscall(60)
	var ts [16]byte
	g.Ctx.CopyIn(DataAddr, ts[:])
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	if sec := int64(binary.LittleEndian.Uint64(ts[:])); now.Sec-sec > 5 || now.Sec < sec || g.Ctx.Regs().Rdi != 0 {
		t.Errorf("clock_gettime: %d, result %d; now %d", sec, g.Ctx.Regs().Rdi, now.Sec)
	}

	// A fork whose vDSO asks, and what is forked from that.
	as, ctx, err := g.Ctx.Fork()
	if err != nil {
		t.Fatal(err)
	}
	defer ctx.Release()
	for range 2 {
		if err := as.(platform.ClockAsker).AskForClocks(); err != nil {
			t.Fatal(err)
		}
	}
	_, again, err := ctx.Fork()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Release()
	for i, c := range []platform.Context{ctx, again, g.Ctx} {
		r := c.Regs()
		r.Rip, r.Rdi, r.Rsi, r.Rax = l.VDSO+entry, unix.CLOCK_MONOTONIC, uint64(DataAddr), 0
		r.Rsp -= 8
		if _, err := c.CopyOut(r.Rsp, binary.LittleEndian.AppendUint64(nil, uint64(CodeAddr+len(calls)))); err != nil {
			t.Fatal(err)
		}
		want := uint64(unix.SYS_CLOCK_GETTIME)
		if c == g.Ctx {
			want = 60 // the original has its own still
		}
		ev := c.Switch()
		if ev.Kind != platform.EventSyscall || r.Orig_rax != want || want != 60 && (r.Rdi != unix.CLOCK_MONOTONIC || r.Rsi != uint64(DataAddr)) {
			t.Errorf("%d: event %+v, call %d of %#x, %#x, want call %d", i, ev, r.Orig_rax, r.Rdi, r.Rsi, want)
		}
	}
}

func testFlags(t *testing.T, p platform.Platform) {
	// With AC, NT, DF set: the stub's own code must not mind.
	// pushf; orq $0x44400,(%rsp); popf; syscall; syscall
	g := NewGuest(t, p, Asm("\x9c\x48\x81\x0c\x24", 0x44400, "\x9d", MovEAX, 1, Syscall, Syscall))
	defer g.Done()
	g.Syscall(1)
	if fl := g.Ctx.Regs().Eflags; fl&0x44400 != 0x44400 {
		t.Errorf("flags %#x", fl)
	}
	g.Map(DataAddr, 0x1000, unix.PROT_READ)
	g.Ctx.Regs().Rax = 2
	g.Syscall(2)
}
