package hrtimer

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTimer has timers of all lengths call in their order, none before its time.
func TestTimer(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 300 * time.Microsecond, 3 * time.Millisecond, exactBelow - 1, exactBelow, 2 * exactBelow} {
		called := make(chan time.Time, 1)
		timer := New(func() { called <- time.Now() })
		for range 3 {
			set := time.Now()
			timer.Reset(d)
			if after := (<-called).Sub(set); after < d {
				t.Errorf("one of %v calls after %v", d, after)
			}
		}
	}
	var order []int
	var mu sync.Mutex
	done := make(chan struct{})
	for i, d := range []time.Duration{9, 3, 6, 1, 8, 2, 5, 7, 4} {
		New(func() {
			mu.Lock()
			defer mu.Unlock()
			if order = append(order, int(d)); len(order) == 9 {
				close(done)
			}
		}).Reset(exactBelow/2 + d*time.Millisecond/2 - time.Duration(i))
	}
	<-done
	for i, d := range order {
		if d != i+1 {
			t.Fatalf("they call in the order %v", order)
		}
	}
}

// TestStop has a timer that is given up, or set for later, not call.
func TestStop(t *testing.T) {
	for _, d := range []time.Duration{exactBelow / 2, exactBelow} {
		early := New(func() { t.Error("it calls") })
		early.Reset(d)
		early.Stop()
		early.Stop()
		called := make(chan time.Time, 1)
		moved := New(func() { called <- time.Now() })
		moved.Reset(d)
		set := time.Now()
		moved.Reset(3 * d)
		if after := (<-called).Sub(set); after < 3*d {
			t.Errorf("one set for %v calls after %v", 3*d, after)
		}
	}
}

// TestTogether sets, gives up and waits for many at once, for the race detector: each of
// the last settings calls.
func TestTogether(t *testing.T) {
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var calls atomic.Int32
			timer := New(func() { calls.Add(1) })
			for j := range 100 {
				timer.Reset(time.Duration(i+j) * 10 * time.Microsecond)
				if j%3 == 0 {
					timer.Stop()
				}
			}
			before := calls.Load()
			timer.Reset(time.Millisecond)
			for until := time.Now().Add(time.Minute); calls.Load() == before; time.Sleep(100 * time.Microsecond) {
				if time.Now().After(until) {
					t.Error("it never calls")
					return
				}
			}
		})
	}
	all.Wait()
}

// TestCallDue has more timers than are called at once called by who asks, each once and none
// before its time.
func TestCallDue(t *testing.T) {
	const n = 20
	var calls, early atomic.Int32
	at := time.Now().Add(exactBelow / 2)
	for range n {
		New(func() {
			calls.Add(1)
			if time.Now().Before(at) {
				early.Add(1)
			}
		}).Reset(time.Until(at))
	}
	for until := time.Now().Add(time.Minute); calls.Load() < n && time.Now().Before(until); {
		CallDue()
	}
	if CallDue() {
		t.Error("there are some due when all have been called")
	}
	if calls.Load() != n || early.Load() != 0 {
		t.Errorf("%d of %d called, %d of them early", calls.Load(), n, early.Load())
	}
	if allocs := testing.AllocsPerRun(100, func() { CallDue() }); allocs != 0 {
		t.Errorf("looking allocates %v times", allocs)
	}
}

func BenchmarkReset(b *testing.B) {
	b.ReportAllocs()
	timer := New(func() {})
	for b.Loop() {
		timer.Reset(exactBelow / 2)
		timer.Stop()
	}
}
