package stub

import (
	"sync"
	"sync/atomic"
	"testing"
)

// atWork returns threads at work on a host that has room for one pair to spin.
func atWork(n int) (*Stubs, []*Thread) {
	s := &Stubs{spin: spinning{min: 1, max: 100, slice: 1 << 30, workers: 1}}
	var threads []*Thread
	for range n {
		t := &Thread{proc: &Process{stubs: s, threads: map[int]*Thread{}, refs: 1 << 20}, page: new(page)}
		t.work()
		threads = append(threads, t)
	}
	return s, threads
}

func TestFloor(t *testing.T) {
	s, th := atWork(3)
	turn := func(i int) (spins bool) {
		th[i].takeFloor()
		spins, _ = th[i].budget(&th[i].patience)
		return spins
	}
	want := func(when string, who int) {
		t.Helper()
		for i := range th {
			if got := turn(i); got != (i == who) {
				t.Errorf("%s: thread %d spins: %v", when, i, got)
			}
		}
		if n := s.speakers.Load(); who >= 0 && n != 1 || who < 0 && n > 1 {
			t.Errorf("%s: %d have the floor", when, n)
		}
	}
	want("first come", 0)
	want("for a while", 0)

	th[0].speaker.until = 0
	turn(0)
	want("after its slice", 1)
	for range floorPause {
		turn(0)
	}
	want("while another has it", 1)

	th[1].Rest()
	th[1].work()
	want("after a wait for something else", 0)

	for range failuresAllowed {
		th[0].patience.learn(true, false)
	}
	turn(0)
	want("after spins in vain", 1)
	th[1].page.spin = 100
	th[1].proc.dropThread(th[1], false)
	if th[1].page.spin > s.spin.min {
		t.Error("the stub of one that has left the floor may spin on")
	}
	th = append(th[:1], th[2])
	want("after a thread's end", 1)

	th[1].Rest()
	th[0].patience = patience{}
	turn(0)
	if s.speakers.Load() != 0 || !turn(0) {
		t.Error("a thread that is alone at work needs no floor to spin")
	}
	th[0].Rest()
	if n, w := s.speakers.Load(), s.working.Load(); n != 0 || w != 0 {
		t.Errorf("in the end %d have the floor, %d are at work", n, w)
	}
}

// TestFloorRace has threads take and leave the floor at once.
func TestFloorRace(t *testing.T) {
	s, th := atWork(8)
	s.spin.slice = 0
	var have atomic.Int32
	var done sync.WaitGroup
	for _, one := range th {
		done.Go(func() {
			for range 20000 {
				one.takeFloor()
				if !one.speaker.has {
					continue
				}
				if n := have.Add(1); n > s.spin.workers {
					t.Errorf("%d have the floor", n)
				}
				have.Add(-1)
			}
			one.leaveFloor()
		})
	}
	done.Wait()
	if n := s.speakers.Load(); n != 0 {
		t.Errorf("in the end %d have the floor", n)
	}
}
