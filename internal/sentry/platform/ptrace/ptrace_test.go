package ptrace

import (
	"reflect"
	"testing"
	"time"
	"unsafe"

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

// TestClaimedTID has a stub claim that the thread that it has made is another stub's.
func TestClaimedTID(t *testing.T) {
	p := newPlatform(t)
	var threads [2]*context
	for i := range threads {
		_, c, err := p.NewAddressSpace()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
		threads[i] = c.(*context)
	}
	victim, liar := threads[0], threads[1]
	tid := reflect.ValueOf(liar.Thread).Elem().FieldByName("tid")
	*(*int)(unsafe.Pointer(tid.UnsafeAddr())) = victim.TID()
	if ev := liar.Switch(); ev.Kind != platform.EventGone {
		t.Errorf("the one that claims it gets %+v", ev)
	}
	if victim.Gone() || liar.tracer != 0 {
		t.Errorf("the other one is gone: %v; it is traced by %d", victim.Gone(), liar.tracer)
	}
	if err := victim.seize(); err != nil {
		t.Errorf("the other one's own sentry can't trace it: %v", err)
	}
}

func BenchmarkPlatform(b *testing.B) { platformtest.Benchmark(b, newPlatform(b)) }
