package trap

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/internal/sentry/platform"
	. "coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/trap/rewrite"

	"golang.org/x/sys/unix"
)

// arenaAddr is where the tests' guests have room for trampolines.
const arenaAddr = 0x20000000

// rewritable makes a guest whose code may be rewritten.
func rewritable(tb testing.TB, p platform.Platform, code []byte) (*Guest, *context) {
	tb.Helper()
	g := NewGuest(tb, p, code)
	c := g.Ctx.(*context)
	allowRewriting(c)
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: CodeAddr, Length: 0x10000, Prot: unix.PROT_READ | unix.PROT_EXEC})
	return g, c
}

func allowRewriting(c *context) {
	c.Process().SetMappings(func(addr uint64) (platform.Mapping, bool) {
		return platform.Mapping{Start: CodeAddr, End: CodeAddr + 0x10000, Prot: unix.PROT_READ | unix.PROT_EXEC, Private: true},
			addr-CodeAddr < 0x10000
	})
	var next atomic.Uint64
	c.Process().SetReserver(func(near, size uint64) (uint64, bool) {
		return arenaAddr + next.Add(size), true
	})
}

// pad gives the planner something to fall into step with.
var pad = Asm("\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90")

// loops are guests that make call 39 for ever, with every encoding; each must
// come to do it without a trap. RBX counts the calls.
var loops = []struct {
	name string
	code []byte
	// evident says that nobody need be believed to know that it is a call.
	evident bool
}{
	{"mov imm", Asm(pad, "\x48\xff\xc3", MovEAX, 39, Syscall, "\xeb\xf4"), true},
	// mov %rdi,%rax; syscall
	{"mov reg", Asm(pad, "\xbf", 39, "\x48\xff\xc3\x48\x89\xf8", Syscall, "\xeb\xf6"), false},
	// xor %eax,%eax; add $39,%eax; syscall; cmp $-4095,%rax
	{"cmp after", Asm(pad, "\x48\xff\xc3\x31\xc0\x83\xc0\x27", Syscall, "\x48\x3d\x01\xf0\xff\xff", "\xeb\xee"), true},
	// mov %edi,%eax; syscall; test %eax,%eax; js +0; jmp back
	{"branch after", Asm(pad, "\xbf", 39, "\x48\xff\xc3\x89\xf8", Syscall, "\x85\xc0\x78\x00\xeb\xf3"), false},
	// mov $39,%eax; mov 8(%rsp),%r9; syscall
	{"libc", Asm(pad, "\x48\xff\xc3", MovEAX, 39, "\x4c\x8b\x4c\x24\x08", Syscall, "\xeb\xef"), false},
	// mov 0x100(%rip),%r8d ; mov $39,%al preceded by xor
	{"relative", Asm(pad, "\x48\xff\xc3", MovEAX, 39, "\x44\x8b\x05", 0x100, Syscall, "\xeb\xed"), false},
}

func TestRewrite(t *testing.T) {
	p := newPlatform(t)
	for _, tt := range loops {
		t.Run(tt.name, func(t *testing.T) {
			g, c := rewritable(t, p, tt.code)
			defer g.Done()
			r := c.Regs()
			want := uint64(0)
			next := func() {
				t.Helper()
				g.Syscall(39)
				want++
				if r.Rbx != want || r.Rip-CodeAddr > 0x100 || r.Rcx != r.Rip {
					t.Fatalf("call %d: rbx %d, rip %#x, rcx %#x", want, r.Rbx, r.Rip, r.Rcx)
				}
				r.Rax = 5
			}
			for range 3 * rewriteAfter {
				next()
			}
			if c.Trapped() {
				t.Fatal("still traps")
			}
			// A restart of the call.
			r.Rip -= 2
			r.Rax = 39
			g.Syscall(39)
			if r.Rbx != want {
				t.Errorf("restarted call: rbx %d, want %d", r.Rbx, want)
			}
			r.Rax = 5
			next()
			// Another thread, and a fork.
			other, err := c.CloneThread()
			if err != nil {
				t.Fatal(err)
			}
			as, forked, err := c.Fork()
			if err != nil {
				t.Fatal(err)
			}
			for _, child := range []*Guest{{TB: t, AS: g.AS, Ctx: other}, {TB: t, AS: as, Ctx: forked}} {
				for range 3 {
					child.Syscall(39)
					child.Ctx.Regs().Rax = 0
				}
				if child.Ctx.(*context).Trapped() {
					t.Error("the child traps")
				}
				child.Done()
			}
			// Restored.
			before := make([]byte, len(tt.code))
			c.Unpatch(CodeAddr+uint64(len(pad)), 0x10)
			c.CopyIn(CodeAddr, before)
			if string(before) != string(tt.code) {
				t.Errorf("Unpatch left % x, want % x", before, tt.code)
			}
			next()
			next()
			if !c.Trapped() {
				t.Error("does not trap though restored")
			}
		})
	}
}

// TestRewriteGS: a guest that uses the GS base, told or untold, is served by
// traps.
func TestRewriteGS(t *testing.T) {
	p := newPlatform(t)
	g, c := rewritable(t, p, loops[0].code)
	defer g.Done()
	for range 3 * rewriteAfter {
		g.Syscall(39)
	}
	if c.Trapped() {
		t.Fatal("still traps")
	}
	// wrgsbase %rdi; jmp to the loop
	g2, c2 := rewritable(t, p, Asm(loops[0].code, "\xf3\x48\x0f\xae\xdf\xeb\xcf"))
	defer g2.Done()
	c2.Regs().Rip = CodeAddr
	for range 3 * rewriteAfter {
		g2.Syscall(39)
	}
	c2.Regs().Rip = CodeAddr + uint64(len(loops[0].code))
	c2.Regs().Rdi = DataAddr
	for range 3 {
		g2.Syscall(39)
		if c2.Regs().Gs_base != DataAddr {
			t.Errorf("GS base %#x", c2.Regs().Gs_base)
		}
	}
	c.Regs().Gs_base = DataAddr
	g.Syscall(39)
	if !c.Trapped() || c.Regs().Gs_base != DataAddr {
		t.Errorf("GS base %#x", c.Regs().Gs_base)
	}
}

// TestRewriteInterrupt interrupts a rewritten loop everywhere.
func TestRewriteInterrupt(t *testing.T) {
	p := newPlatform(t)
	for _, tt := range loops {
		g, c := rewritable(t, p, tt.code)
		stop := make(chan struct{})
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					c.Interrupt(false)
					// On a busy host the guest would not get anywhere without.
					time.Sleep(time.Duration(rand.IntN(2)*rand.IntN(100)) * time.Microsecond)
				}
			}
		}()
		end := time.Now().Add(100 * time.Millisecond)
		n, trapped := uint64(0), false
		for time.Now().Before(end) || n == 0 {
			ev := c.Switch()
			if r := c.Regs(); r.Rip-CodeAddr > 0x100 {
				t.Fatalf("%s: rip %#x shows", tt.name, r.Rip)
			}
			switch ev.Kind {
			case platform.EventSyscall:
				n++
				trapped = c.Trapped()
				if r := c.Regs(); r.Rbx != n || r.Orig_rax != 39 {
					t.Fatalf("%s: call %d, rbx %d", tt.name, n, r.Rbx)
				}
				c.Regs().Rax = 0
			case platform.EventInterrupt:
			default:
				t.Fatalf("%s: event %+v", tt.name, ev)
			}
		}
		close(stop)
		<-stopped
		if trapped && n > 3*rewriteAfter {
			t.Errorf("%s: %d calls, trapped %v", tt.name, n, trapped)
		}
		g.Done()
	}
}

// TestRewriteThreads rewrites while other threads run the same code, and
// guests of their own that never leave it.
func TestRewriteThreads(t *testing.T) {
	p := newPlatform(t)
	for _, tt := range loops {
		g, c := rewritable(t, p, append(append([]byte{}, tt.code...), Loop...))
		g.Syscall(39)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		run := func(code uint64) {
			ctx, err := c.CloneThread()
			if err != nil {
				t.Fatal(err)
			}
			ctx.Regs().Rip = code
			wg.Add(2)
			done := make(chan struct{})
			go func() {
				defer wg.Done()
				<-stop
				for {
					select {
					case <-done:
						return
					default:
						ctx.Interrupt(false)
						time.Sleep(time.Millisecond)
					}
				}
			}()
			go func() {
				defer wg.Done()
				defer close(done)
				defer ctx.Release()
				n := uint64(0)
				for {
					switch ev := ctx.Switch(); ev.Kind {
					case platform.EventSyscall:
						n++
						if r := ctx.Regs(); r.Rbx-1 != n || r.Orig_rax != 39 {
							t.Errorf("%s: call %d, rbx %d", tt.name, n, r.Rbx)
							return
						}
						ctx.Regs().Rax = 0
					case platform.EventInterrupt:
						select {
						case <-stop:
							return
						default:
						}
					default:
						t.Errorf("%s: event %+v", tt.name, ev)
						return
					}
				}
			}()
		}
		run(CodeAddr)
		run(CodeAddr)
		run(CodeAddr + uint64(len(tt.code)))
		c.Regs().Rax = 0
		trapped := true
		// On a busy host others may not leave guest code in time, at each of the tries that
		// there are: then it begins anew.
		for n := 1; (n < 100*rewriteAfter || trapped) && !t.Failed(); n++ {
			if n%attemptsMax == 0 {
				c.Unpatch(CodeAddr, uint64(len(tt.code)))
			}
			switch ev := c.Switch(); ev.Kind {
			case platform.EventSyscall:
				trapped = c.Trapped()
				c.Regs().Rax = 0
			case platform.EventInterrupt: // another thread rewrites
			default:
				t.Errorf("%s: event %+v", tt.name, ev)
			}
		}
		close(stop)
		wg.Wait()
		g.Done()
	}
}

func BenchmarkRewritten(b *testing.B) {
	g, _ := rewritable(b, newPlatform(b), loops[0].code)
	defer g.Done()
	for b.Loop() {
		g.Syscall(39)
		g.Ctx.Regs().Rax = 1
	}
}

func BenchmarkRewrittenCopyIn64(b *testing.B) {
	g, _ := rewritable(b, newPlatform(b), loops[0].code)
	defer g.Done()
	var buf [64]byte
	for b.Loop() {
		g.Syscall(39)
		g.Ctx.CopyIn(DataAddr, buf[:])
		g.Ctx.Regs().Rax = 1
	}
}

// TestBuryOnce: a program that unmaps much code has all of its sites buried at once.
// Each with a table of its own cost the square of their number.
func TestBuryOnce(t *testing.T) {
	const sites = arenaSize / rewrite.Size
	s := &space{}
	s.table.Store(&table{})
	var all []place
	for i := range arenasMax {
		a := arena{start: uint64(i+1) * arenaSize, size: arenaSize}
		for n := range sites {
			st := &site{Patch: &rewrite.Patch{Addr: uint64(n) * rewrite.Size}}
			a.sites = append(a.sites, st)
			all = append(all, place{site: st, arena: i})
		}
		s.addArena(a)
	}
	before := s.table.Load()
	// A map's allocations as it grows to so many sites, for each arena, and the table's own.
	limit := float64(arenasMax*sites/4 + 2)
	if n := testing.AllocsPerRun(1, func() { s.bury(all) }); n > limit {
		t.Errorf("%.0f allocations to bury %d sites, want at most %.0f", n, len(all), limit)
	}
	for _, p := range all {
		if s.live(&p) {
			t.Fatal("a site that was buried lives")
		}
	}
	if before.arenas[0].dead != nil {
		t.Error("a table that was published has changed")
	}
}
