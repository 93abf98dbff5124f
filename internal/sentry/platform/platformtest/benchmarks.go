package platformtest

import (
	"testing"

	"coffer/internal/sentry/platform"
)

// Benchmark runs all benchmarks on p.
func Benchmark(b *testing.B, p platform.Platform) {
	b.Run("Syscall", func(b *testing.B) {
		// 1: mov $39,%eax; syscall; jmp 1b
		g := NewGuest(b, p, Asm(MovEAX, 39, Syscall, "\xeb\xf7"))
		defer g.Done()
		for b.Loop() {
			g.Syscall(39)
			g.Ctx.Regs().Rax = 1
		}
	})
	b.Run("CopyIn64", func(b *testing.B) {
		g := NewGuest(b, p, Asm(MovEAX, 39, Syscall))
		defer g.Done()
		g.Syscall(39)
		var buf [64]byte
		for b.Loop() {
			if _, err := g.Ctx.CopyIn(DataAddr, buf[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("CopyIn64Other", func(b *testing.B) {
		g := NewGuest(b, p, Asm(MovEAX, 39, Syscall))
		defer g.Done()
		var buf [64]byte
		for b.Loop() {
			if _, err := g.AS.CopyIn(DataAddr, buf[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("NewAddressSpace", func(b *testing.B) {
		for b.Loop() {
			_, ctx, err := p.NewAddressSpace()
			if err != nil {
				b.Fatal(err)
			}
			ctx.Release()
		}
	})
	b.Run("Fork", func(b *testing.B) {
		g := NewGuest(b, p, Asm(MovEAX, 57, Syscall, MovEAX, 60, Syscall))
		defer g.Done()
		g.Syscall(57)
		for b.Loop() {
			as, ctx, err := g.Ctx.Fork()
			if err != nil {
				b.Fatal(err)
			}
			child := &Guest{b, as, ctx}
			child.Syscall(60)
			ctx.Release()
		}
	})
	b.Run("CloneThread", func(b *testing.B) {
		g := NewGuest(b, p, Asm(MovEAX, 57, Syscall, MovEAX, 60, Syscall))
		defer g.Done()
		g.Syscall(57)
		for b.Loop() {
			ctx, err := g.Ctx.CloneThread()
			if err != nil {
				b.Fatal(err)
			}
			child := &Guest{b, g.AS, ctx}
			child.Syscall(60)
			ctx.Release()
		}
	})
}
