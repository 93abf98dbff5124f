package stub

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// errGone says that the stub's process has ended.
var errGone = errors.New("the stub process has ended")

// Who uses a Thread.
const (
	stateIdle    = 0 // nobody
	stateEntered = 1 // a goroutine of the sentry runs operations on it
	stateGuest   = 2 // Switch runs guest code
)

// Thread is one thread of a stub process: all of a platform.Context but what
// the platforms do differently, which is running guest code.
type Thread struct {
	proc *Process
	slot int
	page *page
	// gate is the number of its gate.
	gate uint32
	tid  int

	// Drive has the stub run the batch in the page, and returns when it has;
	// false if the stub is gone. A platform that takes the thread over
	// replaces it.
	Drive func() bool

	regs  abi.Regs
	state atomic.Uint32
	// borrowable says that any goroutine may run operations on the thread.
	borrowable bool
	// parked says that it never runs guest code.
	parked bool
	// traced says that the thread is stopped by a tracer while it has no turn.
	traced bool
	interrupts
	// fsBase and gsBase are what the stub's registers hold.
	fsBase, gsBase uint64
	trapped        bool
	// rseq is the guest's registration of restartable sequences.
	rseq rseqArea

	// nops operations are in the batch. Those among them that no caller waits
	// for are in late; used bytes of the window belong to them.
	nops int
	late []lateOp
	used int
	// opErr are the failures of operations that this thread queued, the first
	// first. Changed under Process.mu.
	opErr atomic.Pointer[platform.OpError]

	// batch counts the batches that the stub has run, and changes of the window; arrived
	// is its value when the guest stopped last.
	batch   atomic.Uint32
	arrived uint32

	win       window
	fetched   fetched
	also      [platform.AlsoMax]fetched // the first parts of them
	parts     int
	bringing  bringing
	placement placement
	bulk      bulk
	// alone counts turns of the guest's in solo, since the thread last waited.
	alone int
	// forked is when the process was, if it is to be seen how late it began.
	forked  uint64 // cycles
	speaker speaker

	// patience is the sentry's, stubPatience the stub's; stubFull is what the
	// stub was told at the last hand-over, if stubTold.
	patience, stubPatience patience
	stubFull, stubTold     bool
	// working says that the thread is counted in Stubs.working.
	working bool
	errands errands
	later   later
	noLinks noLinks
	// turns counts those of the guest.
	turns uint8
}

// initPage readies the slot for a thread that starts in stubStart.
func (t *Thread) initPage() {
	s := t.proc.stubs
	addr := t.slotAddr()
	at := func(offset uintptr) uint64 { return addr + uint64(offset) }
	pg := t.page
	*pg = page{}
	pg.tid = 1
	pg.spin = s.spin.max
	pg.sentryCPU = cpu() // or it might keep us from the processor that we are on
	pg.after = afterPost
	pg.gate = s.gateAddr(t.gate)
	if s.fsgsbase {
		pg.fsgsbase = 1
	}
	pg.ppid = uint64(s.pid)
	pg.owner = t.proc.number
	pg.sas = [3]uint64{addr + stackOffset, 0, SlotSize - stackOffset}
	pg.msg = msghdr{
		iov: at(unsafe.Offsetof(pg.iov)), iovlen: 1,
		control: at(unsafe.Offsetof(pg.control)), controllen: uint64(unsafe.Sizeof(pg.control)),
	}
	pg.iov = [2]uint64{at(unsafe.Offsetof(pg.byte)), 8}
	t.resetWindow()
	atomic.StoreUint32(&pg.turn, turnSentry)
}

// slotAddr is where the slot is in the stub.
func (t *Thread) slotAddr() uint64 { return t.proc.stubs.base + uint64(t.slot)*SlotSize }

// slotWindow is the sentry's view of the slot's window.
func (t *Thread) slotWindow() []byte {
	return unsafe.Slice((*byte)(t.proc.at(t.slot, windowOffset)), windowSize)
}

// Process is the process that the thread belongs to.
func (t *Thread) Process() *Process { return t.proc }

// AddressSpace implements platform.Context.
func (t *Thread) AddressSpace() platform.AddressSpace { return t.proc }

// Regs implements platform.Context.
func (t *Thread) Regs() *abi.Regs { return &t.regs }

// TID is the thread's ID, and that of its process the PID, in the sentry's PID namespace.
func (t *Thread) TID() int { return t.tid }

// Gone reports whether the process has ended.
func (t *Thread) Gone() bool { return t.proc.gone.Load() }

// enter claims the thread for operations, with an empty batch; leave ends it.
func (t *Thread) enter() {
	t.claim()
	t.runLate()
}

// claim is enter that leaves the batch as it is.
func (t *Thread) claim() {
	for n := 0; !t.state.CompareAndSwap(stateIdle, stateEntered); n++ {
		pause(n)
	}
}

// pause is the n-th pause of one who waits for a borrower of the thread, who
// takes microseconds as a rule.
func pause(n int) {
	if n < 10 {
		runtime.Gosched()
	} else {
		time.Sleep(20 * time.Microsecond)
	}
}

func (t *Thread) leave() { t.state.Store(stateIdle) }

// prompt reports whether the stub spins and will for a while, and has answered
// soon of late, so that an operation of its takes less than a call to the host.
func (t *Thread) prompt() bool {
	return !t.traced && t.stubFull && t.patience.full() && atomic.LoadUint32(&t.page.turn) == turnSentry
}

// add puts an operation into the batch and returns its index. The caller
// bounds the batch to opsMax.
func (t *Thread) add(nr uint64, args ...uint64) int {
	o := &t.page.ops[t.nops]
	o.nr = nr
	o.result = 0
	copy(o.args[:], args)
	clear(o.args[len(args):])
	t.nops++
	return t.nops - 1
}

// run runs the batch. It returns false if the stub is gone.
func (t *Thread) run() bool {
	t.batch.Add(1)
	t.page.nops = uint32(t.nops)
	t.page.fault, t.page.failed = 0, 0
	t.nops = 0
	if t.proc.gone.Load() {
		return false
	}
	if !t.Drive() {
		return false
	}
	t.finishLate()
	return true
}

// RunBatch, for a Drive, says where a stub thread that is stopped must be put
// to run the batch in its page, with these registers.
func (t *Thread) RunBatch(regs *abi.Regs) {
	s := t.proc.stubs
	t.page.after = afterPost
	*regs = abi.Regs{
		Rip: s.text + uint64(s.code.run), Rbx: t.slotAddr(), Rsp: t.slotAddr() + SlotSize - 64,
		Orig_rax: ^uint64(0), Cs: userCS, Ss: userSS, Eflags: flagsAlways,
		Fs_base: t.fsBase, Gs_base: t.gsBase,
	}
}

// DriveShared is the Drive of a thread that waits on its page.
func (t *Thread) DriveShared() bool { return t.driveShared() }

// SetTraced says that the thread has a tracer from now on.
func (t *Thread) SetTraced() {
	t.traced = true
	t.page.traced = 1
}

// AddExit makes the batch one that ends the thread.
func (t *Thread) AddExit() {
	t.add(unix.SYS_EXIT, 0)
	t.page.nops = uint32(t.nops)
	t.nops = 0
}

// Drop gives up the thread, which has ended or been left.
func (t *Thread) Drop(reuse bool) { t.proc.dropThread(t, reuse) }

// InStub reports whether addr is in the stub's own code.
func (t *Thread) InStub(addr uint64) bool { return addr-t.proc.stubs.text < textSize }

// SetBases says what the stub's segment bases are.
func (t *Thread) SetBases(fs, gs uint64) { t.fsBase, t.gsBase = fs, gs }

// GuestRegs returns the registers to resume the guest with, made safe.
func (t *Thread) GuestRegs() abi.Regs {
	sanitize(&t.regs)
	r := t.regs
	r.Orig_rax = ^uint64(0)
	if r.Fs_base >= taskSize {
		r.Fs_base = 0
	}
	if r.Gs_base >= taskSize {
		r.Gs_base = 0
	}
	r.Ds, r.Es, r.Fs, r.Gs = 0, 0, 0, 0
	return r
}

// result returns an operation's result as a host call's.
func (t *Thread) result(o int) (uint64, error) {
	r := t.page.ops[o].result
	if e := -int64(r); e > 0 && e < 4096 {
		return 0, unix.Errno(e)
	}
	return r, nil
}

// call runs one operation, for a caller that has the thread to itself.
func (t *Thread) call(nr uint64, args ...uint64) (uint64, error) {
	o := t.add(nr, args...)
	if !t.run() {
		return 0, errGone
	}
	return t.result(o)
}

// driveShared is Drive by the shared page alone.
func (t *Thread) driveShared() bool {
	t.page.after = afterPost
	t.handOver(true)
	return t.await(false)
}

// RunGuest resumes the guest with its registers and waits for what comes.
// It is the trap platform's.
//
// rip is where it goes on, which may not be what its registers say. With fast
// it returns from a system call, by a jump: the flags in the registers are
// those it came with.
//
// Operations that are queued run before, in the same turn. If one fails, no
// guest code runs; Failed tells of it.
func (t *Thread) RunGuest(rip uint64, fast bool) bool {
	t.work()
	t.bulk.turn()
	t.takeFloor()
	t.forgetFetched()
	sanitize(&t.regs)
	t.page.regs = t.regs
	t.page.regs.Rip = rip
	t.page.fast = 0
	if fast && t.regs.Eflags&flagsSlow == 0 && t.regs.Cs == userCS {
		t.page.fast = 1
	}
	t.syncBases()
	t.page.after = afterRun
	if t.nops > 0 {
		t.page.nops = uint32(t.nops)
		t.page.fault, t.page.failed = 0, 0
		t.page.after = afterCheck
		t.nops = 0
	}
	t.handOver(true)
	if !t.await(true) {
		return false
	}
	t.arrived = t.batch.Load()
	if t.forked != 0 {
		t.born()
	}
	t.speaker.answeredNow()
	if len(t.late) > 0 {
		if t.page.event == eventOps {
			t.finishLate()
		} else {
			t.late, t.used = t.late[:0], 0
		}
	}
	return true
}

// Release implements platform.Context, for threads that wait on their page.
func (t *Thread) Release() {
	t.doLater()
	t.unpin()
	if t.slot == 0 || t.Gone() {
		// A process whose first thread has ended can't be reached by
		// process_vm_readv(2), so that one stays, asleep, to the end.
		t.proc.dropThread(t, false)
		return
	}
	t.enter()
	t.intr.Store(false) // or it would seem that the stub does not answer
	if !t.keep() {
		t.exit()
		t.proc.dropThread(t, true)
	}
}
