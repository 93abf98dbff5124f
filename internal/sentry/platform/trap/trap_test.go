package trap

import (
	"testing"
	"time"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/stub"
)

func newPlatform(tb testing.TB, options ...stub.Option) platform.Platform {
	tb.Helper()
	p, err := New(append(options, stub.WithAnswerTick(300*time.Millisecond))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

func TestPlatform(t *testing.T) { platformtest.Test(t, newPlatform(t)) }

// TestWithoutFSGSBASE is for older CPUs, whose code the others do not pass.
func TestWithoutFSGSBASE(t *testing.T) {
	if testing.Short() {
		t.Skip("runs all of TestPlatform again")
	}
	platformtest.Test(t, newPlatform(t, stub.WithoutFSGSBASE()))
}

// TestRunGuestOfTheDead gives the turn to a stub that has just been found dead:
// that comes back, though nobody answers.
func TestRunGuestOfTheDead(t *testing.T) {
	g := platformtest.NewGuest(t, newPlatform(t), platformtest.Asm("\xeb\xfe")) // jmp .
	defer g.Done()
	c := g.Ctx.(*context)
	c.Process().Kill()
	for !c.Gone() {
		time.Sleep(time.Millisecond)
	}
	if c.RunGuest(platformtest.CodeAddr, false) {
		t.Error("the stub is there")
	}
}

func BenchmarkPlatform(b *testing.B) { platformtest.Benchmark(b, newPlatform(b)) }
