package stub

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// processors returns how many processors the calling thread may run on, and
// whether one is among them.
func processors(t *testing.T, one uint32) (n int, has bool) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return set.Count(), set.IsSet(int(one))
}

func TestPlacement(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	s := &Stubs{spin: spinning{short: 1000, workers: 1}}
	th := &Thread{proc: &Process{stubs: s}, page: new(page)}
	here := cpu()
	th.page.stubCPU, th.page.sentryCPU = here, here
	check := func(when string, pinned bool) {
		t.Helper()
		n, has := processors(t, here&cpuNumber)
		if th.placement.pinned != pinned || (n == 1) != pinned || !has {
			t.Errorf("%s: pinned %v, to %d processors, the stub's %v", when, th.placement.pinned, n, has)
		}
	}
	const long, short = 2000, 10
	answers := func(n int, cycles uint64) {
		for range n {
			th.beforeSleep()
			th.afterSleep(cycles)
		}
	}
	answers(longsToFollow-1, long)
	answers(1, short)
	answers(longsToFollow, long)
	check("after some long answers", false)
	th.beforeSleep()
	check("after one more", true)
	answers(100, long)
	answers(shortsToPart-1, short)
	check("after few short ones", true)
	answers(1, short)
	check("after short ones", false)
	if cpu() == here {
		t.Log("nobody else moved us back, or there is no other processor to be had")
	}

	answers(longsToFollow, long)
	th.beforeSleep()
	check("again", true)
	th.Rest()
	check("after another wait", false)
	th.beforeSleep()
	check("after it", false)

	answers(longsToFollow, long)
	th.beforeSleep()
	check("once more", true)
	s.working.Store(3)
	th.beforeSleep()
	check("in a crowd", false)
	s.working.Store(0)

	// A stub may say anything.
	answers(longsToFollow, long)
	for _, liar := range []uint32{stubAnywhere, 4000, cpuNumber, 1 << 31} {
		th.page.stubCPU = liar
		th.placement.longs = longsToFollow
		th.beforeSleep()
		if n, _ := processors(t, 0); n == 1 && th.stubCPU() != 0 {
			t.Errorf("pinned for a stub on %#x", liar)
		}
		th.unpin()
	}
}

// TestWakeTells wakes a stub, which may run before the sentry waits and is to know by then
// where that is.
func TestWakeTells(t *testing.T) {
	th := newGuest(t, quietStubs(t), nil)
	for range 100 {
		asleep(th)
		here := cpu()
		th.page.sentryCPU = here + 1
		th.page.after = afterPost
		th.handOver(true)
		told, stayed := th.page.sentryCPU, cpu() == here
		if !th.await(false) {
			t.Fatal("the stub does not answer")
		}
		if stayed {
			if told != here {
				t.Errorf("the stub is told of processor %#x, not %#x", told, here)
			}
			return
		}
	}
	t.Error("the thread was on another processor after each hand-over")
}

// TestPart has both sides meet on one processor all the time: the tries to part
// become rare, until one is worth it.
func TestPart(t *testing.T) {
	s := &Stubs{spin: spinning{short: 1000, workers: 1}}
	th := &Thread{proc: &Process{stubs: s}, page: new(page)}
	p := &th.placement
	meet := func(n int) (parted int) {
		for range n {
			was := p.part
			th.page.stubCPU = cpu()
			th.page.sentryCPU = th.page.stubCPU
			if th.afterSleep(10); p.met == 0 && (p.part != was || was == partMax) {
				parted++
			}
		}
		return parted
	}
	if n := meet(partNew - 1); n != 0 {
		t.Errorf("%d tries at once", n)
	}
	if n := meet(1); n != 1 {
		t.Errorf("%d tries when it is time", n)
	}
	if n := meet(20 * partMax); n < 15 || n > 40 {
		t.Errorf("%d tries in a long time", n)
	}
	p.apart, p.met = 1<<20, partMax-1
	if meet(1); p.part != partFirst {
		t.Errorf("waits for %d answers after it was worth it", p.part)
	}
}

// TestPartInCrowd: in a crowd a thread whose two sides are on one processor does without the
// floor, until its calls have come fast for long. From then on it takes it.
func TestPartInCrowd(t *testing.T) {
	s, th := atWork(2)
	together := func() { th[0].page.stubCPU, th[0].page.sentryCPU = 0, 0 }
	together()
	for i := range partCrowd {
		if th[0].takeFloor(); th[0].speaker.has || th[0].placement.part != 0 {
			t.Fatalf("after %d short answers it has the floor: %v", i, th[0].speaker.has)
		}
		th[0].afterSleep(10)
	}
	if th[0].placement.part == 0 {
		t.Error("it does not go apart")
	}
	together()
	if th[0].takeFloor(); !th[0].speaker.has || s.floor.speakers.Load() != 1 {
		t.Error("it does not take the floor then")
	}
}

// TestBirth: a stub's thread knows from its start where the sentry runs, and one
// that waits in the pool does not spin.
func TestBirth(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, last unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if all.IsSet(i) {
			last = unix.CPUSet{}
			last.Set(i)
		}
	}
	if err := unix.SchedSetaffinity(0, &last); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	s := newStubs(t)
	p, parcel, err := s.newProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer parcel.close()
	defer p.DecRef()
	n, err := p.newThread()
	if err != nil {
		t.Fatal(err)
	}
	defer p.dropThread(n, false)
	if got, want := n.page.sentryCPU, cpu(); got != want {
		t.Errorf("a new thread is told that the sentry is on %#x, not on %#x", got, want)
	}
	pooled, err := s.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer pooled.Release()
	if spin := pooled.page.spin; spin != 0 {
		t.Errorf("a thread in the pool spins for %d cycles", spin)
	}
}

// TestUnbound: a thread that nobody has bound may run wherever its cpuset lets it, also later;
// one that is bound stays so.
func TestUnbound(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	runtime.LockOSThread() // to the end, so that the thread ends
	var all, free, one unix.CPUSet
	all.Fill()
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(0, &free); err != nil {
		t.Fatal(err)
	}
	one.Set(int(cpu() & cpuNumber))
	for _, c := range []struct{ may, want unix.CPUSet }{{free, all}, {one, one}} {
		if err := unix.SchedSetaffinity(0, &c.may); err != nil {
			t.Fatal(err)
		}
		if got := unbound(); got != c.want {
			t.Errorf("of %d processors it is %d, want %d", c.may.Count(), got.Count(), c.want.Count())
		}
		var after unix.CPUSet
		if err := unix.SchedGetaffinity(0, &after); err != nil || after != c.may {
			t.Errorf("the thread may run on %d processors afterwards, %v, want %d", after.Count(), err, c.may.Count())
		}
	}
}
