package stub

import (
	"runtime"
	"sync/atomic"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// What comes from the host in bulk passes two who work: a goroutine that reads it, with the network
// stack's, and the task that takes it to its guest. Each has enough to do for a processor, so the
// reader counts as one more at work for such a task, whose sides go together (bulk.go). But whenever
// both sleep the host wakes the reader there, since the processor is idle: then the task waits behind it,
// and soon the other processor has nothing to do. So the reader goes away from there first.
//
// With two processors, one of which who sends has, if he is on this host, all that is ours goes on by turns on the
// other one: each part would wake two threads otherwise, and be copied from one processor's cache to the other's. That is
// solo (solo.go), in which the reader stays. What takes others' time there, as to acknowledge, is left to solo's holder.

// inflow is what all threads know of it.
type inflow struct {
	// inBulk reports whether much comes.
	inBulk func() bool
	// taken is one more than the processor of the pair that takes what comes, 0 without one.
	taken atomic.Uint32
	// aside is stepAside, made once.
	aside func()
}

// takesIn notes that both sides of a thread that takes what comes are on a processor.
func (s *Stubs) takesIn(cpu uint32) {
	s.inflow.taken.Store(cpu + 1)
	waiter.FromHost.Avoid(&s.inflow.aside)
}

// stepAside takes the calling thread off the processor of who takes what comes.
func (s *Stubs) stepAside() {
	if at := s.inflow.taken.Load(); at != 0 && atomic.LoadUint32(&s.solo.state) == soloOff {
		avoid(at - 1)
	}
}

// avoid takes the calling thread off a processor.
func avoid(at uint32) {
	if cpu()&cpuNumber != at {
		return
	}
	// Threads made from this one would be bound as well.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	leave(at)
}

// leave takes the calling thread to another processor, and reports whether it could. It is free to
// come back.
func leave(cpu uint32) bool {
	all := everywhere()
	others := all
	others.Clear(int(cpu))
	if others.Count() == 0 || unix.SchedSetaffinity(0, &others) != nil {
		return false
	}
	unix.SchedSetaffinity(0, &all)
	return true
}
