package stub

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Where a sleeping side wakes matters more than that it slept: on the processor
// of the side that wakes it the turn is over in 5 µs; on an idle one, which an
// interrupt must wake first, in 25. But two processors that spin take 0.3. The
// host's scheduler knows nothing of that: on a quiet host it wakes the sentry on
// an idle processor, and if both sides have met on one because others were busy
// there is nothing that parts them again, for seconds. So the sentry places its
// thread by how long the guest takes between its calls:
//
//   - If it is long, the sentry sleeps meanwhile, and goes to the stub's
//     processor to do so: together.
//   - If it is short and both are on one processor, the sentry goes to another
//     one to spin there: apart. If that is taken, as on a busy host, the
//     scheduler brings them together again, and the next try is later.
//   - If it is short, but much is copied at each call, together as well: see bulk.go.
//   - In a crowd that has a processor for each, others compute on the other processors: to go
//     apart is to wait for one of these, and to take it from a guest. That does not pay for some
//     hundred calls, as a compiler makes for its headers. So the first time they go apart after more.
//   - If more threads are at work than there are processors, the sentry stays
//     where the scheduler puts it: bound to one it would wait for whoever
//     computes there.
//
// A processor is set for a thread of the host, so the goroutine is locked to it
// while both stay together. That ends when the goroutine waits for something
// else.

const (
	// longsToFollow is after how many long answers in a row they go together.
	longsToFollow = 8
	// shortsToPart is after how many short ones in a row they no longer stay so.
	shortsToPart = 3
	// partCrowd is after how many on one processor they go apart first in a crowd.
	partCrowd = 1 << 8
	// partNew is after how many short answers on one processor they go apart for the first time:
	// soon, since a program of a few dozen calls, as most that a shell starts, begins there.
	partNew = 4
	// partFirst is after how many they do it from then on. Each try in vain
	// doubles it, to partMax: so on a busy host no more than one call in partMax
	// waits for a processor.
	partFirst = 64
	partMax   = 1 << 15
)

// placement is what a Thread's goroutine knows of where both sides are.
type placement struct {
	pinned bool
	cpu    uint32 // that the thread is pinned to
	longs  uint8  // long answers in a row, longsToFollow at most
	met    uint32 // short answers in a row on one processor
	part   uint32 // how many of these it takes to go apart
	apart  uint32 // spins answered since they last went apart
}

// everywhere is the affinity that the sentry started with.
var everywhere = sync.OnceValue(unbound)

// unbound is the calling thread's affinity: every processor that there may be where nobody
// has bound it, since its cpuset, which bounds it then, may come to have others.
func unbound() (set unix.CPUSet) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.SchedGetaffinity(0, &set) != nil {
		return unix.CPUSet{}
	}
	var all, found unix.CPUSet
	all.Fill()
	if unix.SchedSetaffinity(0, &all) != nil {
		return set
	}
	if unix.SchedGetaffinity(0, &found) == nil && found == set {
		return all
	}
	unix.SchedSetaffinity(0, &set)
	return set
}

// stubCPU is the number of the processor that the stub says it runs on.
func (t *Thread) stubCPU() uint32 { return t.page.stubCPU & cpuNumber }

// beforeSleep places the thread before it sleeps until guest code gives the
// turn back.
func (t *Thread) beforeSleep() {
	p := &t.placement
	cpu := t.stubCPU()
	s := t.proc.stubs
	if s.packed() {
		t.unpin()
		return
	}
	if p.longs < longsToFollow && !t.inBulk() || p.pinned && p.cpu == cpu {
		return
	}
	var set unix.CPUSet
	set.Set(int(cpu))
	if !p.pinned {
		everywhere() // before it is no longer so
		// New threads are not made from a locked one, so that they are free.
		runtime.LockOSThread()
	}
	if unix.SchedSetaffinity(0, &set) != nil {
		// Not a processor of ours: the stub need not tell the truth.
		p.longs = 0
		p.pinned = true
		t.unpin()
		return
	}
	p.pinned, p.cpu, p.met = true, cpu, 0
	if t.inBulk() && s.inflow.inBulk() {
		s.takesIn(cpu)
	}
}

// afterSleep learns from an answer that took so many cycles after a spin in
// vain, and goes apart if that is better.
func (t *Thread) afterSleep(cycles uint64) {
	p := &t.placement
	if cycles > uint64(t.proc.stubs.spin.short) {
		p.longs = min(p.longs+1, longsToFollow)
		p.met = 0
		return
	}
	p.longs = 0
	if t.inBulk() || !p.pinned && !t.together() {
		return
	}
	if p.met++; p.met >= t.partAfter() {
		t.unpin()
		t.part()
	}
}

// together reports whether both sides were on one processor when they last said.
func (t *Thread) together() bool { return t.page.stubCPU == t.page.sentryCPU }

// packed reports whether more threads are at work than there are processors.
func (s *Stubs) packed() bool { return s.working.Load() > 2*s.spin.workers }

// staysTogether reports whether both sides stay on one processor for now, in a crowd. Once
// they have gone apart they wait for the floor as others do.
func (t *Thread) staysTogether() bool {
	s := t.proc.stubs
	return t.placement.part == 0 && t.together() && s.crowded() && !s.packed()
}

// partAfter is after how many short answers on one processor both sides go apart.
func (t *Thread) partAfter() uint32 {
	p := &t.placement
	switch {
	case t.staysTogether():
		return partCrowd
	case p.pinned:
		return shortsToPart
	case p.part == 0:
		return partNew
	}
	return p.part
}

// part takes the thread to another processor than the stub's.
func (t *Thread) part() {
	p := &t.placement
	if p.apart > 4*p.part {
		p.part = partFirst // the last time it was worth it
	} else {
		p.part = min(2*max(p.part, partFirst), partMax)
	}
	p.apart, p.met = 0, 0
	// Nor may this thread do anything else between the two.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !leave(t.stubCPU()) {
		return
	}
	t.page.sentryCPU = cpu()
	t.patience, t.stubPatience = patience{}, patience{}
}

// unpin lets the thread run everywhere again.
func (t *Thread) unpin() {
	p := &t.placement
	if !p.pinned {
		return
	}
	p.pinned = false
	all := everywhere()
	unix.SchedSetaffinity(0, &all)
	runtime.UnlockOSThread()
}
