package ptrace

import (
	"testing"
	"time"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/stub"
)

func newPlatform(tb testing.TB, options ...stub.Option) platform.Platform {
	tb.Helper()
	p, err := New(append(options, stub.WithAnswerTick(100*time.Millisecond))...)
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

func BenchmarkPlatform(b *testing.B) { platformtest.Benchmark(b, newPlatform(b)) }
