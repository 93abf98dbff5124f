package ptrace

import (
	"testing"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/platformtest"
)

func newPlatform(tb testing.TB) platform.Platform {
	tb.Helper()
	p, err := New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

func TestPlatform(t *testing.T)      { platformtest.Test(t, newPlatform(t)) }
func BenchmarkPlatform(b *testing.B) { platformtest.Benchmark(b, newPlatform(b)) }
