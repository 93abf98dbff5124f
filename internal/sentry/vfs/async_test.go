package vfs_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// noisy is a file whose events a test makes.
type noisy struct {
	vfs.NoFile
	queue waiter.Queue
}

func (*noisy) Readiness(waiter.Mask) waiter.Mask { return 0 }
func (f *noisy) Register(e *waiter.Entry)        { f.queue.Register(e) }
func (f *noisy) Unregister(e *waiter.Entry)      { f.queue.Unregister(e) }

// TestTellOneAtATime has events come faster than the owner can be told of them: the goroutines
// that do so must not become more and more.
func TestTellOneAtATime(t *testing.T) {
	type news struct {
		signal unix.Signal
		events waiter.Mask
	}
	var at atomic.Int32
	told := make(chan news)
	f := new(noisy)
	d := vfs.NewDescription(f, nil, vfs.Path{}, unix.O_RDWR|unix.O_ASYNC)
	d.SetOwner(&vfs.AsyncOwner{PID: 1, Tell: func(_ *vfs.AsyncOwner, s unix.Signal, _ int32, m waiter.Mask) {
		at.Add(1)
		told <- news{s, m}
		at.Add(-1)
	}})
	d.SetAsync(true, 3)
	defer d.SetAsync(false, 3)
	for _, c := range []struct {
		signal unix.Signal
		event  func(waiter.Mask)
		want   waiter.Mask
	}{
		{unix.SIGIO, f.queue.Notify, waiter.In | waiter.Out},
		{unix.SIGURG, func(waiter.Mask) { d.Urge() }, 0},
	} {
		c.event(waiter.In)
		for at.Load() == 0 {
			runtime.Gosched()
		}
		for range 100 {
			c.event(waiter.In)
			c.event(waiter.Out)
			runtime.Gosched()
		}
		if n := at.Load(); n != 1 {
			t.Errorf("%v: %d goroutines tell the owner", c.signal, n)
		}
		<-told
		if got := <-told; got != (news{c.signal, c.want}) {
			t.Errorf("%v: the owner is told %v", c.signal, got)
		}
		for at.Load() != 0 {
			runtime.Gosched()
		}
	}
}
