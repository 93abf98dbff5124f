package platformtest

import (
	"math/rand/v2"
	"testing"
	"time"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Where the stub's code is, which only the tests of attacks on it know.
func stubText(p platform.Platform) uint64 { return p.Limits().Max + 512<<20 }

// checkGone checks what a context answers whose stub has ended.
func checkGone(t *testing.T, g *Guest) {
	t.Helper()
	if ev := g.Ctx.Switch(); ev.Kind != platform.EventGone {
		t.Errorf("second event %+v", ev)
	}
	var b [8]byte
	if _, err := g.Ctx.CopyIn(DataAddr, b[:]); err != unix.EFAULT {
		t.Errorf("CopyIn: %v", err)
	}
	if _, err := g.AS.CopyOut(DataAddr, b[:]); err != unix.EFAULT {
		t.Errorf("CopyOut: %v", err)
	}
	if _, _, err := g.Ctx.Fork(); err == nil {
		t.Errorf("Fork worked")
	}
	if _, err := g.Ctx.CloneThread(); err == nil {
		t.Errorf("CloneThread worked")
	}
	if err := g.Ctx.SaveFP(DataAddr); err == nil {
		t.Errorf("SaveFP worked")
	}
	g.Map(DataAddr, 0x1000, 0)
	if err := g.Ctx.Flush(); err == nil {
		t.Errorf("Flush worked")
	}
}

// testExit has a guest end its own stub, where it can.
func testExit(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm("\x48\xb8", stubText(p), "\xff\xe0")) // movabs, jmp *%rax
	defer g.Done()
	switch ev := g.Ctx.Switch(); ev.Kind {
	case platform.EventGone:
		checkGone(t, g)
	case platform.EventSyscall:
		// A tracer sees the stub's own calls as the guest's.
	default:
		t.Errorf("event %+v", ev)
	}
}

// testKilled has the host end a stub that runs, and one that waits.
func testKilled(t *testing.T, p platform.Platform) {
	other := NewGuest(t, p, Asm(MovEAX, 39, Syscall, exit60))
	defer other.Done()
	other.Syscall(39)
	for _, wait := range []bool{false, true} {
		g := NewGuest(t, p, Asm(MovEAX, 39, Syscall, Loop))
		g.Syscall(39)
		kill := g.AS.(interface{ Kill() }).Kill
		if wait {
			kill()
			time.Sleep(10 * time.Millisecond)
		} else {
			time.AfterFunc(10*time.Millisecond, kill)
		}
		if ev := g.Ctx.Switch(); ev.Kind != platform.EventGone {
			t.Errorf("event %+v", ev)
		}
		checkGone(t, g)
		g.Done()
	}
	other.Syscall(60)
}

// testDeathIsTold checks that the death of a stub is told while nobody runs in
// it, and at once if it is dead already.
func testDeathIsTold(t *testing.T, p platform.Platform) {
	for _, ran := range []bool{false, true} {
		g := NewGuest(t, p, Asm(MovEAX, 39, Syscall, Loop))
		m, ok := g.AS.(platform.Mortal)
		if !ok {
			t.Skip("the platform does not tell of deaths")
		}
		if ran {
			g.Syscall(39)
		}
		told := make(chan string, 2)
		m.SetDeath(func() { told <- "first" })
		g.AS.(interface{ Kill() }).Kill()
		for _, want := range []string{"first", "second"} {
			if got := <-told; got != want {
				t.Errorf("the %s watcher was told, not the %s", got, want)
			}
			m.SetDeath(func() { told <- "second" })
		}
		checkGone(t, g)
		g.Done()
	}
}

// runAttack lets a guest run for a while, answering whatever it does, until
// it is gone or was interrupted often enough.
func runAttack(t *testing.T, g *Guest) {
	t.Helper()
	defer g.Done()
	for range 5 {
		timer := time.AfterFunc(2*time.Millisecond, func() { g.Ctx.Interrupt(false) })
		done := make(chan platform.Event, 1)
		hung := time.AfterFunc(2*time.Minute, func() { panic("a guest hangs the sentry") })
		done <- g.Ctx.Switch()
		hung.Stop()
		timer.Stop()
		ev := <-done
		if ev.Kind == platform.EventGone {
			return
		}
		var b [16]byte
		g.Ctx.CopyIn(DataAddr, b[:])
		g.Ctx.Regs().Rax = 0
	}
}

// testJumpIntoStub jumps to every place in the stub's code.
func testJumpIntoStub(t *testing.T, p platform.Platform) {
	step := uint64(3)
	if testing.Short() {
		step = 61
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for off := uint64(0); off < 0x600; off += step {
		g := NewGuest(t, p, Asm("\x48\xb8", stubText(p)+off, "\xff\xe0"))
		r := g.Ctx.Regs()
		for _, v := range []*uint64{&r.Rbx, &r.Rcx, &r.Rdx, &r.Rsi, &r.Rdi, &r.Rbp, &r.R8, &r.R9, &r.R12, &r.R14} {
			switch rnd.IntN(4) {
			case 0:
				*v = p.Limits().Max
			case 1:
				*v = DataAddr + 0x100
			case 2:
				*v = uint64(rnd.IntN(256))
			case 3:
				*v = rnd.Uint64()
			}
		}
		runAttack(t, g)
	}
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Syscall(60)
}

// testCallsFromStub makes calls from a syscall instruction of the stub's.
func testCallsFromStub(t *testing.T, p platform.Platform) {
	finder := NewGuest(t, p, exit60)
	// The code can be read by the guest itself: it searches the syscall
	// instruction. 1: inc %rdi; cmpw $0x050f,(%rdi); jne 1b; jmp *%rdi
	finder.Done()
	search := Asm("\x48\xff\xc7\x66\x81\x3f\x0f\x05\x75\xf6\xff\xe7")
	for nr := uint64(0); nr < 470; nr++ {
		g := NewGuest(t, p, search)
		r := g.Ctx.Regs()
		r.Rdi, r.Rax = stubText(p), nr
		r.Rsi, r.Rdx, r.R10, r.R8 = 1, 2, 3, ^uint64(0)
		runAttack(t, g)
	}
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Syscall(60)
}

// testScribble writes over a thread's slot from another thread.
func testScribble(t *testing.T, p platform.Platform) {
	rounds := 30
	if testing.Short() {
		rounds = 3
	}
	for seed := range rounds {
		// xorshift into the slots' pages:
		// 1: mov %rax,%rdx; shl $13,%rdx; xor %rdx,%rax; mov %rax,%rdx;
		//    shr $7,%rdx; xor %rdx,%rax; mov %rax,%rdx; shl $17,%rdx; xor %rdx,%rax
		//    mov %rax,%rdx; and $0x1ffff,%edx; mov %rax,(%rdi,%rdx,1); jmp 1b
		code := Asm("\x48\x89\xc2\x48\xc1\xe2\x0d\x48\x31\xd0\x48\x89\xc2\x48\xc1\xea\x07\x48\x31\xd0"+
			"\x48\x89\xc2\x48\xc1\xe2\x11\x48\x31\xd0\x48\x89\xc2\x81\xe2", 0xffff|0x10000, "\x48\x89\x04\x17\xeb\xd5",
		)
		g := NewGuest(t, p, Asm(MovEAX, 39, Syscall, "\xeb\xf7"))
		g.Ctx.CopyOut(CodeAddr+0x100, code)
		g.Syscall(39)
		ctx, err := g.Ctx.CloneThread()
		if err != nil {
			t.Fatal(err)
		}
		r := ctx.Regs()
		r.Rip, r.Rdi, r.Rax = CodeAddr+0x100, p.Limits().Max, uint64(seed)*0x9e3779b97f4a7c15+1
		done := make(chan struct{})
		go func() {
			defer close(done)
			runAttack(t, &Guest{t, g.AS, ctx})
		}()
		for range 200 {
			timer := time.AfterFunc(5*time.Millisecond, func() { g.Ctx.Interrupt(false) })
			ev := g.Ctx.Switch()
			timer.Stop()
			if ev.Kind == platform.EventGone {
				break
			}
			g.Ctx.CopyIn(DataAddr, make([]byte, 64))
			g.Ctx.CompareAndSwap32(DataAddr, 0, 1)
		}
		g.Done()
		<-done
	}
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Syscall(60)
}
