package stub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// While more threads are at work than there are pairs of processors, not all of
// them can spin; but a call of one who spins costs 0.3 µs of two processors, and
// one of a thread that sleeps at each turn costs 5 of one. So a few may spin, as
// many as there are pairs, each a slice of time: they have the floor. Those whose
// calls are as short wait for it meanwhile, as for a processor: if they went on
// asleep, they would take the processors from the pairs that make use of them. The
// others go on asleep, and so do those whose two sides stay on one processor (placement.go).

const (
	// floorSlice is how long a thread has the floor while others wait for it.
	floorSlice = time.Millisecond
	// floorStuck is how long nobody's turn may come, before those who wait go on
	// without the floor: who has it then makes a call that takes its time.
	floorStuck = 2 * floorSlice
	// floorRounds is how many times floorStuck they wait at most.
	floorRounds = 20
	// floorQueue is how many may wait.
	floorQueue = 64
)

// floor is what all threads know of the floor. The lock is a leaf.
type floor struct {
	mu sync.Mutex
	// speakers counts the threads that have the floor, queued is the length of
	// queue: changed with mu held.
	speakers, queued atomic.Int32
	// queue are the threads that wait, the first first.
	queue []*Thread
	// turns counts how often somebody in the queue had his turn.
	turns atomic.Uint64
}

// speaker is what a thread knows of the floor.
type speaker struct {
	has     bool
	until   uint64 // cycles
	crowded bool   // at the last hand-over
	// answered is when the stub last gave the turn back, if that was in a crowd.
	answered uint64 // cycles
	// given gets a value when the thread is given the floor, stuck is when it
	// looks whether others were meanwhile.
	given chan struct{}
	stuck *time.Timer
}

// takeFloor takes or keeps the floor, or waits for it, if the thread's spins pay
// and there are too many threads at work for all to spin; otherwise it leaves it.
func (t *Thread) takeFloor() {
	s, f := t.proc.stubs, &t.speaker
	answered := f.answered
	f.answered = 0
	if f.crowded = s.crowded(); !f.crowded || !t.patience.full() || t.inBulk() || t.staysTogether() {
		t.leaveFloor()
		return
	}
	now := cycles()
	if f.has {
		if now <= f.until || s.floor.queued.Load() == 0 {
			return
		}
		t.leaveFloor()
	}
	brisk := answered != 0 && now-answered < uint64(s.spin.short)
	if s.floor.enter(t, s.spin.workers, brisk) && !f.has {
		t.doLater()
		t.awaitFloor()
	}
	if f.has {
		f.until = cycles() + uint64(s.spin.slice)
	}
}

// crowded reports whether more threads are at work than can spin.
func (s *Stubs) crowded() bool { return s.working.Load() > s.spin.workers }

// answeredNow notes that the stub has given the turn back.
func (f *speaker) answeredNow() {
	if f.crowded {
		f.answered = cycles()
	}
}

// enter gives t the floor if there is room, or puts it into the queue if it
// would wait. It reports whether it did one of these.
func (fl *floor) enter(t *Thread, room int32, wait bool) bool {
	if fl.speakers.Load() >= room && !wait {
		return false
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	switch {
	case fl.speakers.Load() < room:
		fl.speakers.Add(1)
		t.speaker.has = true
	case wait && len(fl.queue) < floorQueue:
		if f := &t.speaker; f.given == nil {
			f.given, f.stuck = make(chan struct{}, 1), time.NewTimer(floorStuck)
		}
		fl.queue = append(fl.queue, t)
		fl.queued.Add(1)
	default:
		return false
	}
	return true
}

// awaitFloor waits in the queue until the thread has the floor, or nobody's turn
// comes, or it has taken too long.
func (t *Thread) awaitFloor() {
	fl, f := &t.proc.stubs.floor, &t.speaker
	defer f.stuck.Stop()
	turns := fl.turns.Load()
	for round := 1; ; round++ {
		f.stuck.Reset(floorStuck)
		select {
		case <-f.given:
			f.has = true
			return
		case <-f.stuck.C:
		}
		if !fl.stay(t, round, &turns) {
			return
		}
	}
}

// stay reports whether t should go on waiting, or is given the floor already.
// Otherwise it has left the queue.
func (fl *floor) stay(t *Thread, round int, turns *uint64) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	i := slices.Index(fl.queue, t)
	if now := fl.turns.Load(); i < 0 || now != *turns && round < floorRounds {
		*turns = now
		return true
	}
	fl.queue = slices.Delete(fl.queue, i, i+1)
	fl.queued.Add(-1)
	return false
}

// leaveFloor gives the floor to the first who waits, and ends the stub's spin.
func (t *Thread) leaveFloor() {
	if !t.speaker.has {
		return
	}
	t.speaker.has = false
	atomic.StoreUint32(&t.page.spin, t.proc.stubs.spin.min)
	t.proc.stubs.floor.pass()
}

// pass is called by one of the speakers, who ceases to be one.
func (fl *floor) pass() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if len(fl.queue) == 0 {
		fl.speakers.Add(-1)
		return
	}
	next := fl.queue[0]
	fl.queue = slices.Delete(fl.queue, 0, 1)
	fl.queued.Add(-1)
	fl.turns.Add(1)
	next.speaker.given <- struct{}{}
}
