package platformtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"coffer/internal/sentry/platform"
)

func testInterrupt(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(Loop))
	defer g.Done()
	for range 20 {
		time.AfterFunc(time.Millisecond, func() { g.Ctx.Interrupt(false) })
		if ev := g.Ctx.Switch(); ev.Kind != platform.EventInterrupt || g.Ctx.Regs().Rip != CodeAddr {
			t.Fatalf("event %+v at %#x", ev, g.Ctx.Regs().Rip)
		}
	}
}

func testInterruptBefore(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Ctx.Interrupt(false)
	g.Ctx.Interrupt(false)
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
				g.Ctx.Interrupt(false)
				runtime.Gosched()
			}
		}
	}()
	interrupts := 0
	deadline := time.Now().Add(500 * time.Millisecond)
	n := uint64(first)
	// On a busy host either may not happen for long.
	for over := false; !over && (time.Now().Before(deadline) || n == first || interrupts == 0); {
		switch ev := g.Ctx.Switch(); ev.Kind {
		case platform.EventInterrupt:
			interrupts++
		case platform.EventSyscall:
			n++
			if r := g.Ctx.Regs(); r.Orig_rax != n || r.Rbx != n {
				t.Errorf("call %d, register %d, want %d", r.Orig_rax, r.Rbx, n)
				over = true
			}
		default:
			t.Errorf("event %+v", ev)
			over = true
		}
	}
	close(stop)
	wg.Wait()
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
	for thread := range uint64(4) {
		// The one before had others.
		base := DataAddr + thread%2*8
		r.Fs_base, r.Gs_base = base, base
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
			if r := ctx.Regs(); r.Rdi != 11+thread%2*11 || r.Rsi != 22+thread%2*11 || r.Fs_base != base {
				t.Errorf("thread %d: %d %d", thread, r.Rdi, r.Rsi)
			}
		}()
		<-done
	}
	r.Fs_base, r.Gs_base = DataAddr+16, DataAddr
	g.Syscall(2)
	if r.Rdi != 33 || r.Rsi != 22 || r.Fs_base != DataAddr+16 {
		t.Errorf("%d %d", r.Rdi, r.Rsi)
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
	// On one processor each takes its turns behind all that spin.
	for n, end := 0, time.Now().Add(5*time.Second); n < 50 && (n < 3 || time.Now().Before(end)); n++ {
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
	// What the tests before have left is going away.
	fds, stubs := count()
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		f, s := count()
		if f == fds && s == stubs {
			break
		}
		fds, stubs = f, s
	}
	// What is kept ready for the next stubs comes and goes: it is less than so many rounds
	// would leave.
	const rounds = 20
	for range rounds {
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
	var f, s int
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if f, s = count(); f < fds+rounds && s < stubs+rounds {
			return
		}
	}
	t.Errorf("%d descriptors and %d stubs, before %d and %d", f, s, fds, stubs)
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

// testRest has calls go on whatever the sentry did about waiting in between.
func testRest(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 39, Syscall, MovEAX, 40, Syscall, Loop))
	defer g.Done()
	g.Ctx.Rest()
	g.Syscall(39)
	g.Ctx.Rest()
	g.Ctx.Rest()
	time.Sleep(2 * time.Millisecond)
	g.Ctx.Regs().Rax = 1
	g.Syscall(40)
}
