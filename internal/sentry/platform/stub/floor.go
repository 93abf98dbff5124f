package stub

import (
	"sync/atomic"
	"time"
)

// While more threads are at work than there are pairs of processors, not all of
// them can spin; but a call of one who spins costs 0.3 µs of two processors, and
// one of a thread that sleeps at each turn costs 5 of one. So a few may spin, as
// many as there are pairs, each a slice of time: they have the floor. The others
// go on asleep meanwhile.

const (
	// floorSlice is how long a thread has the floor.
	floorSlice = time.Millisecond
	// floorPause is for how many calls it then leaves the floor to others.
	floorPause = 16
)

// speaker is what a thread knows of the floor.
type speaker struct {
	has   bool
	until uint64 // cycles
	pause uint8  // calls
}

// takeFloor takes or keeps the floor if the thread's spins pay and there are
// too many threads at work for all to spin; otherwise it leaves it.
func (t *Thread) takeFloor() {
	s, f := t.proc.stubs, &t.speaker
	crowded := s.working.Load() > s.spin.workers
	switch {
	case f.has:
		if !crowded || !t.patience.full() {
			t.leaveFloor()
		} else if cycles() > f.until {
			t.leaveFloor()
			f.pause = floorPause
		}
	case !crowded || !t.patience.full():
	case f.pause > 0:
		f.pause--
	case s.speakers.Load() < s.spin.workers:
		if s.speakers.Add(1) > s.spin.workers {
			s.speakers.Add(-1)
			return
		}
		f.has, f.until = true, cycles()+uint64(s.spin.slice)
	}
}

// leaveFloor gives the floor to others, and ends the stub's spin.
func (t *Thread) leaveFloor() {
	if t.speaker.has {
		t.speaker.has = false
		t.proc.stubs.speakers.Add(-1)
		atomic.StoreUint32(&t.page.spin, t.proc.stubs.spin.min)
	}
}
