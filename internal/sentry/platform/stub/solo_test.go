package stub

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// soloStubs returns what solo needs, with two of Go's processors.
func soloStubs(t *testing.T) *Stubs {
	was := runtime.GOMAXPROCS(2)
	s := &Stubs{}
	t.Cleanup(func() {
		s.solo.several()
		s.awaitSolo(soloOff)
		runtime.GOMAXPROCS(was)
	})
	return s
}

func (s *Stubs) awaitSolo(state uint32) {
	for atomic.LoadUint32(&s.solo.state) != state {
		runtime.Gosched()
	}
}

// isOn reports whether solo is on after so many more tasks have come to wait.
func (s *Stubs) isOn(rests int) bool {
	for range rests {
		s.rested(0)
	}
	return atomic.LoadUint32(&s.solo.state) != soloOff
}

// TestSolo has solo begin after a while in which one task at a time is at work, which is
// twice as long each time that it was in vain.
func TestSolo(t *testing.T) {
	s := soloStubs(t)
	for need := soloRests; need < 16*soloRests; need *= 2 {
		if s.isOn(need - 1) {
			t.Fatalf("solo begins before %d rests", need)
		}
		s.solo.several()
		if s.isOn(need - 1) {
			t.Fatalf("solo begins before %d rests since two were at work", need)
		}
		if !s.isOn(1) {
			t.Fatalf("solo does not begin after %d rests", need)
		}
		s.solo.looks.Store(0)
		s.solo.several()
		s.awaitSolo(soloOff)
	}
	s.solo.looks.Store(soloWorth)
	s.solo.learn(true)
	if !s.isOn(soloRests) {
		t.Error("solo was worth it, but takes as long to begin as if it was in vain")
	}
}

// TestSoloBulk has a task that gets much at once end solo.
func TestSoloBulk(t *testing.T) {
	s := soloStubs(t)
	if !s.isOn(soloRests) {
		t.Fatal("solo does not begin")
	}
	s.rested(soloBulk)
	s.awaitSolo(soloOff)
}

// TestSoloGivesWay has one whom a task has woken run while that goes on, after some turns.
func TestSoloGivesWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := &Stubs{}
	task := &Thread{proc: &Process{stubs: s}}
	wake := make(chan struct{}, 1)
	var ran atomic.Int32
	go func() {
		for range wake {
			ran.Add(1)
		}
	}()
	runtime.Gosched()
	for n := range int32(100) {
		s.solo.state = soloOff
		for range 2 * soloTurns {
			task.giveWay()
		}
		s.solo.state = soloOn // without a holder
		wake <- struct{}{}
		for range soloTurns {
			if ran.Load() != n {
				t.Fatal("it has run too early")
			}
			task.giveWay()
		}
		if ran.Load() != n+1 {
			t.Fatal("it has not run")
		}
	}
	close(wake)
}

// TestSoloEnds has solo end by itself when no task comes to wait.
func TestSoloEnds(t *testing.T) {
	s := soloStubs(t)
	for _, c := range []struct {
		working int32
		need    uint32
	}{{0, 0}, {1, 2 * soloRests}} {
		s.working.Store(c.working)
		if !s.isOn(soloRests) {
			t.Fatal("solo does not begin")
		}
		s.awaitSolo(soloOff)
		if got := s.solo.need.Load(); got != c.need && got != 0 {
			t.Errorf("with %d at work it takes %d rests from now on, want %d", c.working, got, c.need)
		}
	}
}

// TestSoloStop has all goroutines stopped, and their stacks scanned, in solo.
func TestSoloStop(t *testing.T) {
	s := soloStubs(t)
	for range 50 {
		s.isOn(soloRests)
		runtime.GC()
		var m runtime.MemStats
		s.isOn(soloRests)
		runtime.ReadMemStats(&m)
	}
}

// TestSoloOne has goroutines that wait for one another all run in solo.
func TestSoloOne(t *testing.T) {
	s := soloStubs(t)
	there, back := make(chan int), make(chan int)
	go func() {
		for n := range there {
			back <- n
		}
	}()
	for n := range 10_000 {
		s.rested(0)
		there <- n
		if got := <-back; got != n {
			t.Fatalf("got %d back, want %d", got, n)
		}
	}
	close(there)
}

// TestSoloWithout has solo never begin where there is but one processor.
func TestSoloWithout(t *testing.T) {
	s := soloStubs(t)
	runtime.GOMAXPROCS(1)
	if s.isOn(4 * soloRests) {
		t.Error("the only processor is held")
	}
}
