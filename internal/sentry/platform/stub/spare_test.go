package stub

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// cloneReady makes a clone of th, once the spare threads are ready for that.
func cloneReady(t *testing.T, th *Thread) *Thread {
	t.Helper()
	for _, s := range th.proc.spares {
		for !s.ready() {
			runtime.Gosched()
		}
	}
	return clone(t, th)
}

func clone(t *testing.T, th *Thread) *Thread {
	t.Helper()
	n, err := th.Clone()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSpares has threads follow one another.
func TestSpares(t *testing.T) {
	s := quietStubs(t)
	th := newGuest(t, s, nil)
	th.regs.Rbx, th.regs.Fs_base = 11, guestSlot
	first := cloneReady(t, th)
	if err := first.Rseq(guestSlot, rseqSize, 0, rseqSignature); err != nil && err != unix.ENOSYS {
		t.Fatal(err)
	}
	first.DropRseq()
	first.Interrupt(false)
	first.Release()
	if first.intr.Load() {
		t.Error("an interrupt of a thread that has ended waits for its answer")
	}
	n := cloneReady(t, th)
	if n == first || n.tid != first.tid || n.slot != first.slot || n.gate != first.gate {
		t.Errorf("thread %d in slot %d follows %d in %d", n.tid, n.slot, first.tid, first.slot)
	}
	if n.regs != th.regs {
		t.Errorf("registers %+v, want %+v", n.regs, th.regs)
	}
	if s.lingerer.t.Load() != nil {
		t.Error("one that has ended lingers on")
	}
	// What it may not do, since its predecessor's registration had to end.
	if err := n.Rseq(guestSlot+64, rseqSize, 0, rseqSignature); err != nil && err != unix.ENOSYS {
		t.Errorf("rseq: %v", err)
	}
	answers(t, n)
	n.DropRseq()
	n.Release()

	// More than sparesMax are not kept.
	var all []*Thread
	for range sparesMax + 3 {
		all = append(all, cloneReady(t, th))
	}
	for _, n := range all {
		n.Release()
	}
	if got := len(th.proc.spares); got != sparesMax {
		t.Errorf("%d spare threads, want %d", got, sparesMax)
	}
	if len(th.proc.threads) != 1 || th.proc.refs != 1 {
		t.Errorf("%d threads, %d references", len(th.proc.threads), th.proc.refs)
	}
	if got := s.spares.Load(); got != sparesMax {
		t.Errorf("%d spare threads in all, want %d", got, sparesMax)
	}
	// Another program must find none.
	for !th.proc.endSpares() {
		runtime.Gosched()
	}
	for !th.proc.alone() { // it is not as patient as a busy host needs
	}
	if got := s.spares.Load(); got != 0 {
		t.Errorf("%d spare threads in all are left", got)
	}
	// In all there may be only so many, and those of processes that end do not count.
	n = cloneReady(t, th)
	s.spares.Store(SparesAll - 1)
	cloneReady(t, th).Release()
	n.Release()
	if got := len(th.proc.spares); got != 1 {
		t.Errorf("%d spare threads where there may be 1", got)
	}
	th.Release()
	if got := s.spares.Load(); got != SparesAll-1 {
		t.Errorf("%d spare threads in all after the process has ended, want %d", got, SparesAll-1)
	}
}

// TestNoSpareWithSequences does not keep a thread whose area for restartable sequences is
// gone: the host looks for it when the thread has slept, and ends the process.
func TestNoSpareWithSequences(t *testing.T) {
	th := newGuest(t, quietStubs(t), nil)
	n := clone(t, th)
	if err := n.Rseq(guestData, rseqSize, 0, rseqSignature); err == unix.ENOSYS {
		t.Skip("the host has no rseq(2)")
	} else if err != nil {
		t.Fatal(err)
	}
	// Not unmapped: the host would not wait for us.
	n.rseq.sig++
	n.DropRseq()
	n.Release()
	if len(th.proc.spares) != 0 {
		t.Error("it was kept")
	}
	answers(t, th)
}

// TestSpareWithoutWindow has a process whose guest has taken a spare thread's window away
// make threads: nothing is left over.
func TestSpareWithoutWindow(t *testing.T) {
	th := newGuest(t, quietStubs(t), nil)
	n := clone(t, th)
	n.Release()
	th.enter()
	_, err := th.call(unix.SYS_MPROTECT, n.slotAddr()+windowOffset, windowSize, unix.PROT_READ)
	th.leave()
	if err != nil {
		t.Fatal(err)
	}
	next := cloneReady(t, th)
	answers(t, next)
	if len(th.proc.spares) != 0 || len(th.proc.threads) != 2 {
		t.Errorf("%d spare threads, %d others", len(th.proc.spares), len(th.proc.threads))
	}
	if next.slot != n.slot && !slices.Contains(th.proc.unused, n.slot) {
		t.Errorf("slot %d is lost", n.slot)
	}
}

// TestSpareBusy has a spare thread that does not give its turn back.
func TestSpareBusy(t *testing.T) {
	th := newGuest(t, quietStubs(t), nil)
	th.proc.spares = []*Thread{{proc: th.proc, page: new(page)}}
	answers(t, clone(t, th))
	if len(th.proc.spares) != 1 {
		t.Error("it was taken")
	}
	if th.proc.endSpares() || th.proc.Reset() {
		t.Error("another program would meet it")
	}
}
