package kernel

import (
	"testing"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// waitRequeuePI has tasks wait at 16 for the PI futex at 8.
func waitRequeuePI(tasks []*Task) chan error {
	got := make(chan error)
	for _, w := range tasks {
		go func() { got <- w.FutexWaitRequeuePI(16, 0, 8, false, time.Time{}) }()
	}
	waiting(tasks[0].k, len(tasks))
	return got
}

func wantPI(t *testing.T, m *futexMemory, waiters int64, k *Kernel, word uint32) {
	t.Helper()
	if got := m.load(8); got != word {
		t.Errorf("word is %#x, want %#x", got, word)
	}
	if got := k.futexes.piWaiters.Load(); got != waiters {
		t.Errorf("%d waiters are counted, want %d", got, waiters)
	}
}

func TestFutexRequeuePI(t *testing.T) {
	for _, held := range []bool{false, true} {
		m, tasks := futexThreads(t, 6)
		a, byTID := tasks[0], map[uint32]*Task{}
		for _, w := range tasks {
			byTID[w.futexTID()] = w
		}
		got := waitRequeuePI(tasks[1:])
		if held {
			m.store(8, a.futexTID())
		}
		for _, want := range []int{3, 2, 0} {
			if n, err := a.FutexRequeuePI(16, 8, false, 1, 2, 0); n != want || err != nil {
				t.Fatalf("held %v: %d, %v, want %d", held, n, err, want)
			}
		}
		if held {
			wantPI(t, m, 5, a.k, a.futexTID()|futexWaitersBit)
			if err := a.FutexUnlockPI(8, false); err != nil {
				t.Fatal(err)
			}
		}
		for range tasks[1:] {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
			if err := byTID[m.load(8)&futexTIDMask].FutexUnlockPI(8, false); err != nil {
				t.Fatal(err)
			}
		}
		wantPI(t, m, 0, a.k, 0)
		waiting(a.k, 0)
	}
}

func TestFutexRequeuePIErrors(t *testing.T) {
	m, tasks := futexThreads(t, 3)
	a, b := tasks[0], tasks[1]
	got := make(chan error)
	// An ordinary waiter is not moved.
	go func() { got <- tasks[2].FutexWait(16, 0, false, FutexMatchAny, time.Time{}) }()
	waiting(a.k, 1)
	if _, err := a.FutexRequeuePI(16, 8, false, 1, 1, 0); err != unix.EINVAL {
		t.Errorf("ordinary waiter: %v", err)
	}
	a.FutexWake(16, 1, false, FutexMatchAny)
	<-got

	m.store(8, 12345)
	got = waitRequeuePI(tasks[1:2])
	for _, tt := range []struct {
		name                string
		addr, addr2         uint64
		nrWake, nrMove, val int
		want                error
	}{
		{"owner not there", 16, 8, 1, 1, 0, unix.ESRCH},
		{"other futex", 16, 24, 1, 1, 0, unix.EINVAL},
		{"same futex", 16, 16, 1, 1, 0, unix.EINVAL},
		{"two to wake", 16, 8, 2, 1, 0, unix.EINVAL},
		{"negative", 16, 8, 1, -1, 0, unix.EINVAL},
		{"value", 16, 8, 1, 1, 5, unix.EAGAIN},
		{"beyond memory", 16, 1 << 20, 1, 1, 0, unix.EINVAL},
		{"unaligned", 16, 9, 1, 1, 0, unix.EINVAL},
	} {
		if _, err := a.FutexRequeuePI(tt.addr, tt.addr2, false, tt.nrWake, tt.nrMove, uint32(tt.val)); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	m.store(8, b.futexTID())
	if _, err := a.FutexRequeuePI(16, 8, false, 1, 1, 0); err != unix.EDEADLK {
		t.Errorf("to what the waiter owns: %v", err)
	}
	for _, err := range []error{
		a.FutexLockPI(16, false, false, time.Time{}),
		func() error { _, err := a.FutexWake(16, 1, false, FutexMatchAny); return err }(),
		func() error { _, _, err := a.FutexRequeue(16, false, 24, false, 1, 1, false, 0); return err }(),
	} {
		if err != unix.EINVAL {
			t.Errorf("another call on such a futex: %v", err)
		}
	}
	b.Signal(KernelSignal(unix.SIGKILL))
	if err := <-got; err != abi.ERESTARTNOINTR {
		t.Errorf("signal: %v", err)
	}
	wantPI(t, m, 0, a.k, b.futexTID())
}

func TestFutexRequeuePIEnds(t *testing.T) {
	m, tasks := futexThreads(t, 3)
	a, b, c := tasks[0], tasks[1], tasks[2]
	m.store(8, a.futexTID())
	move := func() int {
		t.Helper()
		n, err := a.FutexRequeuePI(16, 8, false, 1, 9, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	moved := 0
	for limit := 50 * time.Millisecond; moved == 0; limit *= 2 { // on a busy host it may be over before the move
		ended := make(chan error, 1)
		go func() { ended <- b.FutexWaitRequeuePI(16, 0, 8, false, time.Now().Add(limit)) }()
		for moved == 0 && len(ended) == 0 {
			moved = move()
		}
		if err := <-ended; err != unix.ETIMEDOUT {
			t.Fatalf("timeout, %d moved: %v", moved, err)
		}
	}
	wantPI(t, m, 0, a.k, a.futexTID()|futexWaitersBit)

	got := waitRequeuePI(tasks[2:])
	if n := move(); n != 1 {
		t.Fatalf("%d moved", n)
	}
	a.ExitFutexes()
	if err := <-got; err != nil {
		t.Errorf("after the owner's death: %v", err)
	}
	wantPI(t, m, 0, a.k, c.futexTID()|futexOwnerDiedBit)

	got = waitRequeuePI(tasks[1:2])
	if n := move(); n != 1 {
		t.Fatalf("%d moved", n)
	}
	b.Signal(KernelSignal(unix.SIGKILL))
	if err := <-got; err != unix.EAGAIN {
		t.Errorf("signal after the move: %v", err)
	}
	wantPI(t, m, 0, a.k, c.futexTID()|futexOwnerDiedBit|futexWaitersBit)
}
