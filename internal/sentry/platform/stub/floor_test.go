package stub

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// atWork returns threads at work on a host that has room for one pair to spin.
func atWork(n int) (*Stubs, []*Thread) {
	s := &Stubs{spin: spinning{min: 1, max: 100, slice: 1 << 30, short: 1 << 31, workers: 1}, inflow: inflow{inBulk: idle}}
	var threads []*Thread
	for range n {
		t := &Thread{proc: &Process{stubs: s, threads: map[int]*Thread{}, refs: 1 << 20}, page: new(page)}
		t.page.stubCPU = 1 // the sentry is on 0
		t.work()
		threads = append(threads, t)
	}
	return s, threads
}

// brisk has t's last call be a short one.
func (t *Thread) brisk() {
	t.speaker.crowded = true
	t.speaker.answeredNow()
}

// waits has t wait for the floor.
func (t *Thread) waits() (done chan struct{}) {
	fl, before := &t.proc.stubs.floor, t.proc.stubs.floor.queued.Load()
	done = make(chan struct{})
	go func() {
		for fl.queued.Load() == before {
			t.brisk()
			t.takeFloor()
			if t.speaker.has {
				break
			}
		}
		close(done)
	}()
	for fl.queued.Load() == before {
		runtime.Gosched()
	}
	return done
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
		if n := s.floor.speakers.Load(); n != 1 {
			t.Errorf("%s: %d have the floor", when, n)
		}
	}
	want("first come", 0)
	want("for a while", 0)
	th[0].speaker.until = 0
	want("while nobody else wants it", 0)

	th[0].speaker.until = 0
	done := th[1].waits()
	turn(0)
	<-done
	want("after its slice", 1)

	done = th[0].waits()
	th[1].Rest()
	<-done
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
	if s.floor.speakers.Load() != 0 || !turn(0) {
		t.Error("a thread that is alone at work needs no floor to spin")
	}
	th[0].Rest()
	if n, w := s.floor.speakers.Load(), s.working.Load(); n != 0 || w != 0 {
		t.Errorf("in the end %d have the floor, %d are at work", n, w)
	}
}

// TestFloorStuck has a thread wait while another one, that has the floor, does
// not come back from its call.
func TestFloorStuck(t *testing.T) {
	s, th := atWork(2)
	th[0].takeFloor()
	th[1].brisk()
	th[1].takeFloor()
	if !th[0].speaker.has || th[1].speaker.has || len(s.floor.queue) != 0 {
		t.Errorf("the first has the floor: %v, the second: %v; %d wait", th[0].speaker.has, th[1].speaker.has, len(s.floor.queue))
	}
	th[0].leaveFloor()
	if n := s.floor.speakers.Load(); n != 0 {
		t.Errorf("in the end %d have the floor", n)
	}
}

// TestFloorRace has threads take, await and leave the floor at once.
func TestFloorRace(t *testing.T) {
	s, th := atWork(8)
	s.spin.slice = 0
	var have atomic.Int32
	var done sync.WaitGroup
	for i, one := range th {
		done.Go(func() {
			for range 2000 {
				if i%2 == 0 {
					one.brisk()
				}
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
	if n, q := s.floor.speakers.Load(), s.floor.queued.Load(); n != 0 || q != 0 {
		t.Errorf("in the end %d have the floor and %d wait", n, q)
	}
}
