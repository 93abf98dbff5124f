package stub

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// soloStubs returns what solo needs, with two of Go's processors.
func soloStubs(t *testing.T) *Stubs {
	was := runtime.GOMAXPROCS(2)
	s := &Stubs{inflow: inflow{inBulk: idle}}
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

// begins reports whether solo begins as so many more tasks come to wait. It may be over
// already, on a busy host.
func (s *Stubs) begins(rests int) bool {
	const before = 1 << 30
	s.solo.looks.Store(before)
	for range rests {
		s.rested(0)
	}
	return s.solo.looks.Load() < before
}

// TestSolo has solo begin after a while in which one task at a time is at work, which is
// twice as long each time that it was in vain.
func TestSolo(t *testing.T) {
	s := soloStubs(t)
	for need := soloRests; need < 16*soloRests; need *= 2 {
		if s.begins(need - 1) {
			t.Fatalf("solo begins before %d rests", need)
		}
		s.solo.several()
		if s.begins(need - 1) {
			t.Fatalf("solo begins before %d rests since two were at work", need)
		}
		// It must learn from this end, not from one by itself.
		for rests := 1; s.solo.need.Load() != uint32(2*need); rests = need {
			if !s.begins(rests) {
				t.Fatalf("solo does not begin after %d rests", need)
			}
			s.solo.looks.Store(0)
			s.solo.several()
			s.awaitSolo(soloOff)
		}
	}
	s.solo.looks.Store(soloWorth)
	s.solo.learn(true)
	if !s.begins(soloRests) {
		t.Error("solo was worth it, but takes as long to begin as if it was in vain")
	}
}

// TestSoloBulk has a task that gets much at once end solo.
func TestSoloBulk(t *testing.T) {
	s := soloStubs(t)
	if !s.begins(soloRests) {
		t.Fatal("solo does not begin")
	}
	s.rested(soloBulk)
	s.awaitSolo(soloOff)
}

// TestSoloInflow has a task that takes what comes in bulk begin solo, though it never waits, and what
// it takes not speak against that.
func TestSoloInflow(t *testing.T) {
	s := soloStubs(t)
	much := func() bool { return true }
	s.inflow.inBulk = much
	task := &Thread{proc: &Process{stubs: s}}
	task.bulk.average = bulkFrom
	turns := func(n int) {
		for range n {
			task.bulk.written += soloBulk
			task.giveWay()
		}
	}
	turns((soloRests - 1) * soloTurns)
	if got := s.solo.rests.Load(); got != soloRests-1 {
		t.Fatalf("%d turns are %d rests, want %d", (soloRests-1)*soloTurns, got, soloRests-1)
	}
	s.inflow.inBulk = idle
	s.rested(soloBulk)
	if got := s.solo.rests.Load(); got != 0 {
		t.Fatalf("what comes from elsewhere leaves %d rests", got)
	}
	s.inflow.inBulk = much
	const before = 1 << 30
	s.solo.looks.Store(before)
	turns(soloRests * soloTurns)
	if s.solo.looks.Load() >= before {
		t.Error("solo does not begin")
	}
}

// TestSoloAside has the holder do all work that it has accepted, also when solo ends meanwhile, and accept none
// without solo.
func TestSoloAside(t *testing.T) {
	s := soloStubs(t)
	var did atomic.Int32
	accepted := int32(0)
	for round := range 1000 {
		s.begins(soloRestsMax)
		for range 3 {
			if s.aside(func() { did.Add(1) }) {
				accepted++
			}
		}
		if round%2 == 0 {
			s.solo.several()
		}
		if s.aside(func() { did.Add(1) }) {
			accepted++
		}
		if round%5 == 0 {
			s.solo.several()
			s.awaitSolo(soloOff)
			if got := did.Load(); got != accepted {
				t.Fatalf("round %d: %d of %d done when solo is over", round, got, accepted)
			}
			if s.aside(func() {}) {
				t.Fatal("work is accepted without solo")
			}
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
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
	const rounds = 100
	early, late := 0, 0
	for n := range int32(rounds) {
		s.solo.state = soloOff
		for range 2 * soloTurns {
			task.giveWay()
		}
		s.solo.state = soloOn // without a holder
		wake <- struct{}{}
		for range soloTurns - 1 {
			task.giveWay()
		}
		if ran.Load() != n {
			early++
		}
		if task.giveWay(); ran.Load() != n+1 {
			late++
		}
		for ran.Load() != n+1 {
			runtime.Gosched()
		}
	}
	close(wake)
	// When the host has the test wait, Go's scheduler may have others run after it.
	if early > rounds/4 || late > rounds/4 {
		t.Errorf("of %d times, it has run too early %d times, and too late %d times", rounds, early, late)
	}
}

// TestSoloEnds has solo end by itself when no task comes to wait.
func TestSoloEnds(t *testing.T) {
	s := soloStubs(t)
	for _, c := range []struct {
		working int32
		need    uint32
	}{{0, 0}, {1, 2 * soloRests}} {
		s.working.Store(c.working)
		if !s.begins(soloRests) {
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
		s.begins(soloRests)
		runtime.GC()
		var m runtime.MemStats
		s.begins(soloRests)
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
	if s.begins(4 * soloRests) {
		t.Error("the only processor is held")
	}
}
