package hostpoll

import (
	"runtime"
	"sync/atomic"
	"testing"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Who waits must have run before the poller sleeps again with Go's processor.
func TestWokenRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var q waiter.Queue
	woken := waiter.NewChannel()
	var ran atomic.Int64
	q.Register(&waiter.Entry{Mask: waiter.In, Listener: woken})
	go func() {
		for range woken {
			ran.Add(1)
		}
	}()
	runtime.Gosched()
	p := poller{queues: map[int32]*waiter.Queue{3: &q}}
	for n := int64(1); n <= 100; n++ {
		if p.tell([]unix.EpollEvent{{Events: unix.EPOLLIN, Fd: 3}}); ran.Load() != n {
			t.Fatalf("%d of %d times who waits had run", ran.Load(), n)
		}
	}
	close(woken)
}
