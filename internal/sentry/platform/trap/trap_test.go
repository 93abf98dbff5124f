package trap

import (
	"testing"
	"time"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/stub"
)

func newPlatform(tb testing.TB) platform.Platform {
	tb.Helper()
	p, err := New(stub.WithAnswerTick(100 * time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

func TestPlatform(t *testing.T)      { platformtest.Test(t, newPlatform(t)) }
func BenchmarkPlatform(b *testing.B) { platformtest.Benchmark(b, newPlatform(b)) }
