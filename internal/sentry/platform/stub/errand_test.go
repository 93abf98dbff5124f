package stub

import (
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// quietStubs are stubs of which none does anything that the test does not tell it.
func quietStubs(t *testing.T) *Stubs {
	t.Helper()
	s := newStubs(t)
	s.pool.close()
	for busy := true; busy; runtime.Gosched() {
		s.pool.mu.Lock()
		busy = s.pool.filling
		s.pool.mu.Unlock()
	}
	return s
}

// asleep waits until the thread's stub sleeps.
func asleep(th *Thread) {
	atomic.StoreUint32(&th.page.spin, 0)
	for atomic.LoadUint32(&th.page.turn)&turnSleep == 0 {
		runtime.Gosched()
	}
}

// answers checks that the stub makes host calls, asleep or not.
func answers(t *testing.T, th *Thread) {
	t.Helper()
	if _, err := th.call(unix.SYS_GETPPID); err != nil {
		t.Fatalf("the stub does not answer: %v", err)
	}
}

// TestErrandUndone has a stub that lingers wake another one, and not do it.
func TestErrandUndone(t *testing.T) {
	s := quietStubs(t)
	th := newGuest(t, s, nil)
	idle := &Thread{proc: &Process{stubs: s}, page: new(page)}
	idle.page.turn, idle.page.stubCPU = turnSentry, stubAnywhere
	idle.linger(true)
	asleep(th)
	answers(t, th)
	if idle.page.turn != turnSentry|turnErrand || idle.page.errand != s.gateAddr(th.gate) || !idle.errands.sent.Load() {
		t.Errorf("turn %#x, errand %#x, sent %v", idle.page.turn, idle.page.errand, idle.errands.sent.Load())
	}
	if s.lingerer.t.Load() != nil {
		t.Error("it would be sent twice")
	}
	// It gets its turn at last, and has not done it yet: who sleeps there is woken.
	asleep(th)
	idle.handOver(true)
	if idle.page.turn != turnStub || idle.errands.told || !idle.errands.patience.full() {
		t.Errorf("turn %#x, told %v, patience %+v", idle.page.turn, idle.errands.told, idle.errands.patience)
	}
}

// TestErrandImpossible sends no stub that has no processor to go.
func TestErrandImpossible(t *testing.T) {
	s := quietStubs(t)
	th := newGuest(t, s, nil)
	idle := &Thread{proc: &Process{stubs: s}, page: new(page)}
	for _, c := range []struct {
		cpu  uint32 // the sentry's
		sent bool
	}{{0, false}, {1, true}} {
		idle.page.turn = turnSentry
		s.lingerer.t.Store(idle)
		th.page.sentryCPU = c.cpu
		if sent := s.lingerer.send(th); sent != c.sent || (idle.page.turn == turnSentry) == sent {
			t.Errorf("processors %d and %d: sent: %v, turn %#x", idle.page.stubCPU, c.cpu, sent, idle.page.turn)
		}
		if s.lingerer.t.Load() != nil {
			t.Errorf("processors %d and %d: it is asked again", idle.page.stubCPU, c.cpu)
		}
	}
}

// TestMakeWay has a stub that lingers make way for one that waits for its processor.
func TestMakeWay(t *testing.T) {
	s := quietStubs(t)
	s.spin.linger = 1 << 20 // on a single processor nobody lingers
	waits := &Thread{proc: &Process{stubs: s}, page: new(page)}
	idle := &Thread{proc: &Process{stubs: s}, page: new(page)}
	idle.page.turn = turnSentry
	for _, c := range []struct {
		cpu  uint32
		made bool
	}{{1, false}, {0, true}} {
		waits.page.turn, waits.page.stubCPU = turnSentry, c.cpu
		idle.linger(true)
		waits.handOver(true)
		if made := idle.page.spin == 0; made != c.made {
			t.Errorf("processors %d and %d: made way: %v", idle.page.stubCPU, c.cpu, made)
		}
		if sent := idle.errands.sent.Load(); sent != c.made {
			t.Errorf("processors %d and %d: sent: %v", idle.page.stubCPU, c.cpu, sent)
		}
		if idle.page.turn != turnSentry || (s.lingerer.t.Load() == nil) != c.made {
			t.Errorf("turn %#x, lingers %v", idle.page.turn, s.lingerer.t.Load() != nil)
		}
	}
}

// TestErrand has a stub that lingers wake one of another process.
func TestErrand(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("no stub spins on the sentry's processor")
	}
	s := quietStubs(t)
	by, th := newGuest(t, s, nil), newGuest(t, s, nil)
	for range 1000 {
		answers(t, by)
		atomic.StoreUint32(&by.page.spin, 1<<30)
		by.linger(true)
		atomic.StoreUint32(&by.page.spin, 1<<30)
		asleep(th)
		th.page.nops = 0
		th.page.after = afterPost
		th.handOver(true)
		sent := th.errands.wakes
		if !th.await(false) {
			t.Fatal("a stub has ended")
		}
		if sent {
			// It may do that after the answer only if the sentry was impatient.
			for atomic.LoadUint32(&by.page.turn)&turnErrand != 0 {
				runtime.Gosched()
			}
			answers(t, by)
			return
		}
	}
	t.Log("the stub never had a processor to spin on")
}

// TestErrandNobody has nobody linger who has ended or sleeps.
func TestErrandNobody(t *testing.T) {
	s := quietStubs(t)
	by, th := newGuest(t, s, nil), newGuest(t, s, nil)
	asleep(by)
	by.linger(true)
	if s.lingerer.t.Load() != nil {
		t.Error("a stub lingers that sleeps")
	}
	s.lingerer.t.Store(by)
	asleep(th)
	answers(t, th)
	if th.errands.wakes || atomic.LoadUint32(&by.page.turn)&turnErrand != 0 {
		t.Error("a stub was sent that sleeps")
	}
	s.lingerer.t.Store(by)
	by.Release()
	if s.lingerer.t.Load() != nil {
		t.Error("a thread lingers that was released")
	}
	asleep(th)
	answers(t, th)
}

// TestGatesReadOnly tries to write to the gates as a guest could that has its stub
// make host calls for it.
func TestGatesReadOnly(t *testing.T) {
	s := newStubs(t)
	th := newGuest(t, s, nil)
	for _, prot := range []uint64{unix.PROT_READ | unix.PROT_WRITE, unix.PROT_WRITE} {
		if _, err := th.call(unix.SYS_MPROTECT, s.gateAddr(0), gatesSize, prot); err != unix.EACCES {
			t.Errorf("mprotect to %#x: %v, want EACCES", prot, err)
		}
	}
	o := th.add(opStore, s.gateAddr(0), 0)
	if !th.run() || th.page.fault == 0 {
		t.Errorf("a store: result %#x, fault %d", th.page.ops[o].result, th.page.fault)
	}
}

// TestGatesShared has more threads than gates: each is woken at its own turn all the same.
func TestGatesShared(t *testing.T) {
	s := quietStubs(t)
	a, b := newGuest(t, s, nil), newGuest(t, s, nil)
	own := b.gate
	b.gate = a.gate
	atomic.StoreUint64(&b.page.gate, s.gateAddr(a.gate))
	s.gates.open(own)
	s.gates.wake(own)
	for range 10 {
		asleep(a)
		asleep(b)
		answers(t, a)
		answers(t, b)
	}
}
