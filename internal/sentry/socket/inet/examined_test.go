package inet

import (
	"sync"
	"testing"

	"coffer/internal/bpf"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// TestBegunWithoutListener has connections begin while who listens, with a filter, is closed: nothing is kept of them.
func TestBegunWithoutListener(t *testing.T) {
	nothingHeld(t)
	pass, _ := bpf.NewSocketFilter([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 20}})
	n := newNet()
	n.Observe(1)
	defer n.Observe(-1)
	for range 300 {
		l := n.listener(t, 16)
		l.InheritFilter(pass, &socket.Filter{})
		l.mu.Lock()
		l.examineSegments(l.ep.Load())
		l.mu.Unlock()
		to := l.Name()
		var callers sync.WaitGroup
		for range 4 {
			c := n.socket(t, unix.AF_INET, unix.SOCK_STREAM)
			callers.Go(func() {
				again(c, waiter.Writable, func() error { return c.Connect(root, to) })
				c.Release()
			})
		}
		l.Release()
		callers.Wait()
	}
	examined.Lock()
	defer examined.Unlock()
	for b, l := range examined.begun {
		if b.stack == n.Stack() {
			t.Fatalf("%d are kept, as of %v of %p", len(examined.begun), b.id, l)
		}
	}
}
