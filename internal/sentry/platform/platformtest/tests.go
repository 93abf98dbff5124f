package platformtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

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
	{"Interrupt", testInterrupt},
	{"InterruptBefore", testInterruptBefore},
	{"InterruptStorm", testInterruptStorm},
	{"Fork", testFork},
	{"ForkOften", testForkOften},
	{"CloneThread", testCloneThread},
	{"FSBase", testFSBase},
	{"FPKept", testFPKept},
	{"FPInherited", testFPInherited},
	{"SaveFP", testSaveFP},
	{"RestoreFPBad", testRestoreFPBad},
	{"ResetFP", testResetFP},
	{"CompareAndSwap", testCompareAndSwap},
	{"Copy", testCopy},
	{"CopyLimits", testCopyLimits},
	{"Poke", testPoke},
	{"Ops", testOps},
	{"OpsMany", testOpsMany},
	{"OpFailed", testOpFailed},
	{"MapFile", testMapFile},
	{"Garbage", testGarbage},
	{"Uretprobe", testUretprobe},
	{"Exit", testExit},
	{"Killed", testKilled},
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

func testReadOnlyFault(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), StoreRDI))
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: DataAddr, Length: 0x1000, Prot: unix.PROT_READ})
	ev := g.Fault(unix.SIGSEGV)
	if ev.Code != 2 || ev.Addr != DataAddr || ev.ErrorCode&2 == 0 {
		t.Errorf("event %+v", ev)
	}
}

func testBusFault(t *testing.T, p platform.Platform) {
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), LoadRDI))
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000,
		Prot: unix.PROT_READ, Flags: unix.MAP_SHARED | unix.MAP_FIXED, FD: fd})
	unix.Close(fd)
	if ev := g.Fault(unix.SIGBUS); ev.Code != 2 || ev.Addr != DataAddr {
		t.Errorf("event %+v", ev)
	}
	var b [4]byte
	if _, err := g.Ctx.CopyIn(DataAddr, b[:]); err != unix.EFAULT {
		t.Errorf("CopyIn: %v", err)
	}
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
	g.Ctx.CopyOut(CodeAddr, Asm("\xbf", 1, MovRSI, uint64(DataAddr), "\x48\xb8", l.VDSO+entry, "\xff\xd0",
		"\x89\xc7", exit60))
	g.Syscall(60)
	var ts [16]byte
	g.Ctx.CopyIn(DataAddr, ts[:])
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	if sec := int64(binary.LittleEndian.Uint64(ts[:])); now.Sec-sec > 5 || now.Sec < sec || g.Ctx.Regs().Rdi != 0 {
		t.Errorf("clock_gettime: %d, result %d; now %d", sec, g.Ctx.Regs().Rdi, now.Sec)
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

func testInterrupt(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(Loop))
	defer g.Done()
	for range 20 {
		time.AfterFunc(time.Millisecond, g.Ctx.Interrupt)
		if ev := g.Ctx.Switch(); ev.Kind != platform.EventInterrupt || g.Ctx.Regs().Rip != CodeAddr {
			t.Fatalf("event %+v at %#x", ev, g.Ctx.Regs().Rip)
		}
	}
}

func testInterruptBefore(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Ctx.Interrupt()
	g.Ctx.Interrupt()
	if ev := g.Ctx.Switch(); ev.Kind != platform.EventInterrupt || g.Ctx.Regs().Rip != CodeAddr {
		t.Fatalf("event %+v at %#x", ev, g.Ctx.Regs().Rip)
	}
	g.Syscall(60)
}

// testInterruptStorm interrupts a guest that counts its own calls: none may
// be lost or made twice, nor a register.
func testInterruptStorm(t *testing.T, p platform.Platform) {
	// 1: inc %rbx; mov %rbx,%rax; syscall; jmp 1b
	g := NewGuest(t, p, Asm("\x48\xff\xc3\x48\x89\xd8", Syscall, "\xeb\xf6"))
	defer g.Done()
	const first = 1000 // beyond the host's own calls
	g.Ctx.Regs().Rbx = first
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
				g.Ctx.Interrupt()
				runtime.Gosched()
			}
		}
	}()
	interrupts := 0
	deadline := time.Now().Add(500 * time.Millisecond)
	n := uint64(first)
	for time.Now().Before(deadline) {
		switch ev := g.Ctx.Switch(); ev.Kind {
		case platform.EventInterrupt:
			interrupts++
		case platform.EventSyscall:
			n++
			if r := g.Ctx.Regs(); r.Orig_rax != n || r.Rbx != n {
				t.Errorf("call %d, register %d, want %d", r.Orig_rax, r.Rbx, n)
				deadline = time.Time{}
			}
		default:
			t.Errorf("event %+v", ev)
			deadline = time.Time{}
		}
	}
	close(stop)
	wg.Wait()
	if n == first || interrupts == 0 {
		t.Errorf("%d calls, %d interrupts", n, interrupts)
	}
}

func testFork(t *testing.T, p platform.Platform) {
	// syscall; mov %rax,(%rdi) ; syscall
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), MovEAX, 57, Syscall, StoreRDI, Syscall))
	defer g.Done()
	g.Syscall(57)
	as, ctx, err := g.Ctx.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if *ctx.Regs() != *g.Ctx.Regs() {
		t.Errorf("registers differ")
	}
	child := &Guest{t, as, ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer child.Done()
		child.Ctx.Regs().Rax = 111
		child.Syscall(111)
		var b [8]byte
		if _, err := as.CopyIn(DataAddr, b[:]); err != nil || b[0] != 111 {
			t.Errorf("child: %v, %v", b, err)
		}
	}()
	g.Ctx.Regs().Rax = 99
	g.Syscall(99)
	<-done
	var b [8]byte
	if _, err := g.AS.CopyIn(DataAddr, b[:]); err != nil || b[0] != 99 {
		t.Errorf("parent: %v, %v", b, err)
	}
}

func testForkOften(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 57, Syscall, exit60))
	defer g.Done()
	g.Syscall(57)
	var wg sync.WaitGroup
	for range 50 {
		as, ctx, err := g.Ctx.Fork()
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			child := &Guest{t, as, ctx}
			defer child.Done()
			child.Syscall(60)
			_, ctx, err := ctx.Fork()
			if err != nil {
				t.Error(err)
				return
			}
			ctx.Release()
		}()
	}
	wg.Wait()
}

func testCloneThread(t *testing.T, p platform.Platform) {
	// Each thread adds 1 to *rdi a thousand times, with lock, and exits.
	// 1: lock incq (%rdi); dec %ecx; jnz 1b
	g := NewGuest(t, p, Asm(MovEAX, 56, Syscall, MovRDI, uint64(DataAddr), "\xb9", 1000,
		"\xf0\x48\xff\x07\xff\xc9\x75\xf8", exit60))
	defer g.Done()
	g.Syscall(56)
	const threads = 8
	var wg sync.WaitGroup
	for round := range 3 {
		for range threads {
			ctx, err := g.Ctx.CloneThread()
			if err != nil {
				t.Fatal(err)
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				child := &Guest{t, g.AS, ctx}
				defer child.Done()
				child.Syscall(60)
			}()
		}
		wg.Wait()
		var b [8]byte
		g.Ctx.CopyIn(DataAddr, b[:])
		if n := binary.LittleEndian.Uint64(b[:]); n != uint64(round+1)*threads*1000 {
			t.Fatalf("count %d", n)
		}
	}
}

func testFSBase(t *testing.T, p platform.Platform) {
	// mov %fs:0,%rdi; mov %gs:8,%rsi; syscall
	load := "\x64\x48\x8b\x3c\x25\x00\x00\x00\x00" + "\x65\x48\x8b\x34\x25\x08\x00\x00\x00"
	g := NewGuest(t, p, Asm(load, MovEAX, 1, Syscall, load, MovEAX, 2, Syscall))
	defer g.Done()
	g.Ctx.CopyOut(DataAddr, Asm(uint64(11), uint64(22), uint64(33)))
	r := g.Ctx.Regs()
	r.Fs_base, r.Gs_base = DataAddr, DataAddr
	g.Syscall(1)
	if r.Rdi != 11 || r.Rsi != 22 {
		t.Errorf("%d %d", r.Rdi, r.Rsi)
	}
	r.Fs_base, r.Gs_base = DataAddr+8, DataAddr+8
	ctx, err := g.Ctx.CloneThread()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		child := &Guest{t, g.AS, ctx}
		defer child.Done()
		child.Syscall(2)
		if r := ctx.Regs(); r.Rdi != 22 || r.Rsi != 33 || r.Fs_base != DataAddr+8 {
			t.Errorf("thread: %d %d", r.Rdi, r.Rsi)
		}
	}()
	<-done
	r.Fs_base, r.Gs_base = DataAddr+16, DataAddr
	g.Syscall(2)
	if r.Rdi != 33 || r.Rsi != 22 || r.Fs_base != DataAddr+16 {
		t.Errorf("%d %d", r.Rdi, r.Rsi)
	}
}

func testCompareAndSwap(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	for range 2 {
		g.Ctx.CopyOut(DataAddr, Asm(5))
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 4, 6); v != 5 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 5, 6); v != 5 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 0, 6); v != 6 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		for _, addr := range []uint64{0, DataAddr + 1, 0x12345678, p.Limits().Max, ^uint64(3)} {
			if _, err := g.Ctx.CompareAndSwap32(addr, 0, 6); err != unix.EFAULT {
				t.Errorf("%#x: %v", addr, err)
			}
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
	}
}

func testCopy(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: DataAddr + 0x2000, Length: 0x1000})
	data := make([]byte, 0x3000)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	type copier interface {
		CopyIn(uint64, []byte) (int, error)
		CopyOut(uint64, []byte) (int, error)
	}
	for range 2 {
		for _, c := range []copier{g.Ctx, g.AS} {
			for _, tt := range []struct {
				off, n, want int
			}{
				{0, 0, 0}, {0, 1, 1}, {3, 64, 64}, {0, 0x2000, 0x2000}, {0xfff, 2, 2},
				{0x1fff, 2, 1}, {0x1ff0, 64, 16}, {0x100, 0x2000, 0x1f00}, {0x2000, 8, 0},
			} {
				n, err := c.CopyOut(DataAddr+uint64(tt.off), data[:tt.n])
				if n != tt.want || (err == unix.EFAULT) != (tt.want < tt.n) {
					t.Errorf("CopyOut %+v: %d, %v", tt, n, err)
				}
				got := make([]byte, tt.n)
				n, err = c.CopyIn(DataAddr+uint64(tt.off), got)
				if n != tt.want || (err == unix.EFAULT) != (tt.want < tt.n) {
					t.Errorf("CopyIn %+v: %d, %v", tt, n, err)
				}
				if !bytes.Equal(got[:n], data[:n]) {
					t.Errorf("CopyIn %+v: wrong bytes", tt)
				}
			}
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
	}
}

// testCopyLimits: the stub's own memory is not the guest's.
func testCopyLimits(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	var b [64]byte
	for range 2 {
		for _, addr := range []uint64{p.Limits().Max, p.Limits().Max + 0x1000, p.Limits().Max + 512<<20, 1 << 63, ^uint64(0)} {
			for _, n := range []int{1, 64} {
				if n, err := g.Ctx.CopyIn(addr, b[:n]); n != 0 || err != unix.EFAULT {
					t.Errorf("CopyIn %#x: %d, %v", addr, n, err)
				}
				if n, err := g.Ctx.CopyOut(addr, b[:n]); n != 0 || err != unix.EFAULT {
					t.Errorf("CopyOut %#x: %d, %v", addr, n, err)
				}
			}
		}
		g.Syscall(60)
		g.Ctx.Regs().Rip = CodeAddr
	}
}

func testPoke(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	u, ok := g.AS.(platform.MappingUser)
	if !ok {
		t.Fatal("not a MappingUser")
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: DataAddr, Length: 0x2000, Prot: unix.PROT_READ})
	g.Ctx.Flush()
	want := bytes.Repeat([]byte("poke"), 0x500)
	if _, err := g.AS.Poke(DataAddr, want); err != unix.EFAULT {
		t.Errorf("without mappings: %v", err)
	}
	u.SetMappings(func(addr uint64) (platform.Mapping, bool) {
		return platform.Mapping{Start: DataAddr, End: DataAddr + 0x2000, Prot: unix.PROT_READ, Private: true}, addr < DataAddr+0x2000
	})
	if n, err := g.AS.Poke(DataAddr, want); n != len(want) || err != nil {
		t.Errorf("Poke: %d, %v", n, err)
	}
	got := make([]byte, len(want))
	if _, err := g.AS.CopyIn(DataAddr, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("poked bytes are wrong (%v)", err)
	}
	if _, err := g.AS.CopyOut(DataAddr, want); err != unix.EFAULT {
		t.Errorf("the protection was not put back: %v", err)
	}
}

func testOps(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	const a = 0x10000000
	g.Map(a, 0x4000, unix.PROT_READ|unix.PROT_WRITE)
	g.Ctx.CopyOut(a, []byte("moved"))
	for _, op := range []platform.Op{
		{Kind: platform.OpMadvise, Addr: a, Length: 0x1000, Advice: unix.MADV_WILLNEED},
		{Kind: platform.OpMsync, Addr: a, Length: 0x1000, Flags: unix.MS_ASYNC},
		{Kind: platform.OpMlock, Addr: a, Length: 0x1000},
		{Kind: platform.OpMunlock, Addr: a, Length: 0x1000},
		{Kind: platform.OpMremap, Addr: a, Length: 0x4000, NewAddr: a + 0x10000, NewLength: 0x5000,
			Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED},
		{Kind: platform.OpMprotect, Addr: a + 0x10000, Length: 0x1000, Prot: unix.PROT_READ},
	} {
		g.Ctx.Queue(op)
	}
	if err := g.Ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := g.Ctx.CopyIn(a, b); err != unix.EFAULT {
		t.Errorf("old place: %v", err)
	}
	if _, err := g.Ctx.CopyIn(a+0x10000, b); err != nil || string(b) != "moved" {
		t.Errorf("new place: %q, %v", b, err)
	}
	if _, err := g.Ctx.CopyOut(a+0x10000, b); err != unix.EFAULT {
		t.Errorf("read-only: %v", err)
	}
	if _, err := g.Ctx.CopyOut(a+0x14000, b); err != nil {
		t.Errorf("grown part: %v", err)
	}
}

func testOpsMany(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Ftruncate(fd, 0x1000)
	unix.Pwrite(fd, []byte("file"), 0)
	// More than a batch and more than the socket holds.
	const a, n = 0x10000000, 1000
	for i := range uint64(n) {
		g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: a + i*0x2000, Length: 0x1000,
			Prot: unix.PROT_READ, Flags: unix.MAP_PRIVATE | unix.MAP_FIXED, FD: fd})
	}
	g.Syscall(60)
	for i := range uint64(n) {
		b := make([]byte, 4)
		if _, err := g.AS.CopyIn(a+i*0x2000, b); err != nil || string(b) != "file" {
			t.Fatalf("mapping %d: %q, %v", i, b, err)
		}
	}
}

func testOpFailed(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	bad := platform.Op{Kind: platform.OpMprotect, Addr: 0x70000000, Length: 0x1000, Prot: unix.PROT_READ}
	g.Ctx.Queue(bad)
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: 0x70000001, Length: 0x1000})
	ev := g.Ctx.Switch()
	var oe *platform.OpError
	if ev.Kind != platform.EventOpFailed || !errors.As(ev.Err, &oe) || oe.Op != bad || oe.Errno != unix.ENOMEM {
		t.Fatalf("event %+v", ev)
	}
	if g.Ctx.Regs().Rip != CodeAddr {
		t.Errorf("guest code ran")
	}
	g.Ctx.Queue(bad)
	if err := g.Ctx.Flush(); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("Flush: %v", err)
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000, FD: 99999})
	if err := g.Ctx.Flush(); !errors.Is(err, unix.EBADF) {
		t.Errorf("Flush: %v", err)
	}
	g.Syscall(60)
}

func testMapFile(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), "\x48\xc7\x07", 0x21646f67, exit60)) // movq $"god!",(%rdi)
	defer g.Done()
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Ftruncate(fd, 0x2000)
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000, Offset: 0x1000,
		Prot: unix.PROT_READ | unix.PROT_WRITE, Flags: unix.MAP_SHARED | unix.MAP_FIXED, FD: fd})
	g.Syscall(60)
	b := make([]byte, 4)
	unix.Pread(fd, b, 0x1000)
	if string(b) != "god!" {
		t.Errorf("file: %q", b)
	}
	// The stub keeps no descriptor: the file goes when it is unmapped.
	g.Ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: DataAddr, Length: 0x1000})
	if err := g.Ctx.Flush(); err != nil {
		t.Error(err)
	}
}

func testGarbage(t *testing.T, p platform.Platform) {
	// Collections stop the world while goroutines spin and sleep in Switch.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g := NewGuest(t, p, Asm(MovEAX, 39, Syscall, "\xeb\xf7"))
			defer g.Done()
			for {
				select {
				case <-stop:
					return
				default:
					g.Syscall(39)
				}
			}
		}()
	}
	for range 50 {
		runtime.GC()
	}
	close(stop)
	wg.Wait()
}

// testLeaks: what is released leaves no descriptor and no process.
func testLeaks(t *testing.T, p platform.Platform) {
	count := func() (fds, stubs int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		procs, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, f := range procs {
			b, _ := os.ReadFile(f)
			if bytes.Contains(b, []byte("(coffer-stub)")) && bytes.Contains(b, fmt.Appendf(nil, ") %c %d ", b[bytes.LastIndexByte(b, ')')+2], os.Getpid())) {
				stubs++
			}
		}
		return len(entries), stubs
	}
	settle := func() (fds, stubs int) {
		for range 200 {
			f, s := count()
			if f == fds && s == stubs && fds != 0 {
				return
			}
			fds, stubs = f, s
			time.Sleep(20 * time.Millisecond)
		}
		return
	}
	fds, stubs := settle()
	for range 20 {
		g := NewGuest(t, p, Asm(MovEAX, 57, Syscall, exit60))
		g.Syscall(57)
		_, forked, err := g.Ctx.Fork()
		if err != nil {
			t.Fatal(err)
		}
		thread, err := g.Ctx.CloneThread()
		if err != nil {
			t.Fatal(err)
		}
		thread.Release()
		g.Done()
		forked.Release()
	}
	if f, s := settle(); f > fds || s > stubs {
		t.Errorf("%d descriptors and %d stubs, before %d and %d", f, s, fds, stubs)
	}
}

func testManySpaces(t *testing.T, p platform.Platform) {
	n := 200
	if testing.Short() {
		n = 20
	}
	var guests []*Guest
	for range n {
		guests = append(guests, NewGuest(t, p, Asm(MovEAX, 39, Syscall, exit60)))
	}
	var wg sync.WaitGroup
	for _, g := range guests {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer g.Done()
			g.Syscall(39)
			g.Syscall(60)
		}()
	}
	wg.Wait()
}

func testManyThreads(t *testing.T, p platform.Platform) {
	n := 1000
	if testing.Short() {
		n = 50
	}
	g := NewGuest(t, p, Asm(MovEAX, 56, Syscall, exit60))
	defer g.Done()
	g.Syscall(56)
	var wg sync.WaitGroup
	release := make(chan struct{})
	for range n {
		ctx, err := g.Ctx.CloneThread()
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			child := &Guest{t, g.AS, ctx}
			defer child.Done()
			child.Syscall(60)
			<-release
		}()
	}
	close(release)
	wg.Wait()
}
