package stub

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventually waits for what comes by itself.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func (p *Process) isReaped() bool {
	p.stubs.mu.Lock()
	defer p.stubs.mu.Unlock()
	return p.reaped
}

// TestDisobedientEnd gives up a process whose guest pretends that its stub waits for its turn,
// and goes on computing.
func TestDisobedientEnd(t *testing.T) {
	s := newStubs(t)
	th := newGuest(t, s, []byte{0xeb, 0xfe}) // jmp .
	th.regs.Rip = guestCode
	p := th.proc
	if !th.StartGuest() {
		t.Fatal("the guest is interrupted")
	}
	turns := make(chan bool)
	go func() { turns <- th.RunGuest(guestCode, false) }()
	eventually(t, "the stub has its turn", func() bool { return atomic.LoadUint32(&th.page.turn)&turnSentry == 0 && th.page.nops == 0 })
	if was := atomic.SwapUint32(&th.page.turn, turnSentry); was&turnSleep != 0 {
		futexWake(&th.page.turn)
	}
	if !<-turns {
		t.Fatal("the stub is gone")
	}
	th.StopGuest()
	p.IncRef()
	th.Release()
	if p.first != th || !p.quit() {
		t.Fatal("the stub does not seem to wait for its turn")
	}
	if p.isReaped() {
		t.Fatal("the guest has ended")
	}
	atomic.StoreUint32(&th.page.turn, turnSentry)
	p.DecRef()
	eventually(t, "the process ends", p.isReaped)
}

// TestEndByItself has a stub that waits for its turn end its process by itself.
func TestEndByItself(t *testing.T) {
	s := newStubs(t)
	th := newGuest(t, s, nil)
	p := th.proc
	p.IncRef()
	th.Release()
	for !p.quit() {
		// It sleeps by now, and spins again for a while once it is woken.
		atomic.StoreUint32(&th.page.spin, 1<<31)
		atomic.StoreUint32(&th.page.turn, turnSentry)
		s.gates.open(th.gate)
		s.gates.wake(th.gate)
	}
	eventually(t, "the process ends", p.isReaped)
	p.DecRef()
}

// TestEndsLeaveNothing makes many processes, and counts the descriptors that are left.
func TestEndsLeaveNothing(t *testing.T) {
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	s := newStubs(t)
	th := newGuest(t, s, nil)
	defer th.Release()
	eventually(t, "the pool is filled", func() bool { return len(s.pool.ready) == poolSize })
	// Beside the next processes'.
	const next = 3 * vesselsReady
	want := descriptors() + next
	for range 100 {
		child, err := th.Fork()
		if err != nil {
			t.Fatal(err)
		}
		child.Release()
	}
	eventually(t, "all is given back", func() bool {
		s.chores.mu.Lock()
		defer s.chores.mu.Unlock()
		return len(s.chores.ended) == 0 && len(s.chores.ready) == vesselsReady
	})
	// Another thread may be closing them still.
	eventually(t, "no more descriptors are open than before", func() bool { return descriptors() <= want })
	s.chores.close()
	eventually(t, "nor at the end", func() bool { return descriptors() <= want-next })
	if v, err := s.chores.takeVessel(); err != nil {
		t.Error(err)
	} else {
		v.discard()
	}
	s.doChores()
	if len(s.chores.ready) != 0 {
		t.Error("there is one ready after the end")
	}
}

// TestReaperMakesWay has the thread that does the chores leave the processor of who left them.
func TestReaperMakesWay(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	s := &Stubs{}
	free, bound := everywhere(), unix.CPUSet{}
	defer unix.SchedSetaffinity(0, &free)
	here := cpu() & cpuNumber
	bound.Set(int(here))
	if err := unix.SchedSetaffinity(0, &bound); err != nil {
		t.Fatal(err)
	}
	s.chores.makeWay()
	if n, has := processors(t, here); n != 1 || !has {
		t.Error("it leaves though nobody has left anything")
	}
	s.leave(&Process{stubs: s})
	s.chores.makeWay()
	if n, _ := processors(t, here); n == 1 {
		t.Error("it stays with who left it something")
	}
}
