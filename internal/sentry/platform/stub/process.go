package stub

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Process is a stub process: one guest address space. It implements
// platform.AddressSpace.
type Process struct {
	stubs *Stubs
	// number is no other process's.
	number uint64
	// pid is the host's, or what another stub claims until known says more: see own.go.
	pid   int
	known atomic.Bool
	// sock is our end of the socket through which descriptors go.
	sock int
	// mem is where the slots are mapped in the sentry.
	mem uintptr

	// gone is set once the host has ended the process.
	gone atomic.Bool
	// reaped, under Stubs.mu, says that the PID may belong to another; peak is
	// the process's largest resident set then.
	reaped bool
	peak   uint64

	// opMu is held while a thread runs queued operations, or anything else
	// that takes descriptors from the socket: their order is the queue's.
	opMu sync.Mutex
	// pending counts the operations that are queued or running.
	pending atomic.Int32

	// freezing keeps threads from guest code: see Thread.Freeze.
	freezing atomic.Bool

	mu      sync.Mutex
	refs    int
	threads map[int]*Thread
	// unused are slots that had a thread; nextSlot is the first that never had.
	unused   []int
	nextSlot int
	// first is the first thread, once it has been dropped.
	first *Thread
	// spares are threads without a guest.
	spares []*Thread
	// staged says which staging windows have an owner.
	staged [stagingCount]bool
	// noLinked is the same for the tables of nolinks.go; noLinks says that one has been used.
	noLinked [noLinkTables]bool
	noLinks  bool

	queue   []queuedOp
	mapping func(addr uint64) (platform.Mapping, bool)
	reserve func(near, size uint64) (addr uint64, ok bool)
	death   func()
	// watch is the process's number in Stubs.deaths.
	watch int32
	// OnReset is what the platform does when another program is to be loaded.
	// It is set before the process is used.
	OnReset func()
	// OnRead corrects what was read of guest memory at addr, if the platform
	// has changed it behind the guest's back. It is set likewise.
	OnRead func(addr uint64, b []byte)
}

// queuedOp is an operation with the thread that is to hear of its failure.
type queuedOp struct {
	op platform.Op
	t  *Thread
	// more are mappings of the same descriptor.
	more []platform.Op
}

// parcel is what a new process takes along: descriptors that it receives by
// way of the one that it is forked from. They are the caller's to close.
type parcel struct{ memfd, sock int }

func (p parcel) close() {
	unix.Close(p.memfd)
	unix.Close(p.sock)
}

// newProcess makes the sentry's side of a process that does not exist yet,
// with one reference.
func (s *Stubs) newProcess() (*Process, parcel, error) {
	v, err := s.chores.takeVessel()
	if err != nil {
		return nil, parcel{}, err
	}
	p := &Process{stubs: s, number: s.made.Add(1), sock: v.sock, mem: v.mem, refs: 1, threads: make(map[int]*Thread)}
	s.deaths.add(p)
	return p, parcel{v.memfd, v.theirs}, nil
}

// pageOf returns a slot's control page.
func (p *Process) pageOf(slot int) *page {
	return (*page)(p.at(slot, 0))
}

// at returns the sentry's view of an offset in a slot.
func (p *Process) at(slot int, offset uintptr) unsafe.Pointer {
	addr := p.mem + uintptr(slot)*SlotSize + offset
	// The slots are not Go memory: the address is only hidden from vet here.
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr))
}

// newThread takes a slot and readies it. EAGAIN if there is none.
func (p *Process) newThread() (*Thread, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := -1
	for i, s := range p.unused {
		// Its last thread is really gone once the host cleared this.
		if atomic.LoadUint32(&p.pageOf(s).tid) == 0 {
			slot = s
			p.unused[i] = p.unused[len(p.unused)-1]
			p.unused = p.unused[:len(p.unused)-1]
			break
		}
	}
	if slot < 0 {
		if p.nextSlot == MaxThreads {
			return nil, unix.EAGAIN
		}
		slot = p.nextSlot
		p.nextSlot++
	}
	t := p.addThreadLocked(slot, p.stubs.gates.take())
	t.stubTold = true
	t.initPage()
	return t, nil
}

// addThreadLocked makes the sentry's side of a thread. Process.mu is held.
func (p *Process) addThreadLocked(slot int, gate uint32) *Thread {
	t := &Thread{proc: p, slot: slot, page: p.pageOf(slot), gate: gate, stubFull: true}
	t.Drive = t.driveShared
	p.threads[slot] = t
	p.refs++
	return t
}

// Park makes a thread the process's own: it does not count as a user any
// more, and whoever needs a thread for an operation may borrow it.
func (t *Thread) Park() {
	t.SetBorrowable()
	t.proc.mu.Lock()
	t.parked = true
	t.proc.mu.Unlock()
	t.proc.DecRef()
}

// SetBorrowable says that the thread runs operations for whoever needs it
// done, while it is not running guest code.
func (t *Thread) SetBorrowable() {
	t.proc.mu.Lock()
	t.borrowable = true
	t.proc.mu.Unlock()
}

// dropThread undoes newThread; reuse says whether the slot may have another
// thread.
func (p *Process) dropThread(t *Thread, reuse bool) {
	t.idle()
	p.stubs.lingerer.forget(t)
	p.mu.Lock()
	delete(p.threads, t.slot)
	if t.slot == 0 {
		p.first = t
	}
	if reuse {
		p.unused = append(p.unused, t.slot)
	}
	p.mu.Unlock()
	p.DecRef()
}

// idle has the thread, which runs no guest code any more, take nothing from others.
func (t *Thread) idle() {
	t.giveStaging()
	t.giveNoLinks()
	t.leaveFloor()
	if t.working {
		t.working = false
		t.proc.stubs.working.Add(-1)
	}
}

// IncRef implements platform.AddressSpace.
func (p *Process) IncRef() {
	p.mu.Lock()
	p.refs++
	p.mu.Unlock()
}

// DecRef implements platform.AddressSpace.
func (p *Process) DecRef() {
	p.mu.Lock()
	p.refs--
	last := p.refs == 0
	for last && len(p.spares) > 0 {
		p.removeSpare(len(p.spares) - 1)
	}
	p.mu.Unlock()
	if !last {
		return
	}
	if p.pid == 0 {
		p.discard() // it never came to be
		return
	}
	if !p.quit() {
		p.Kill()
	}
	p.stubs.leave(p)
}

// quit tells the process to end, if its first thread is awake to hear it: it is where it
// runs, and would have to be woken for a signal. It reports whether it did. The stub need
// not obey.
func (p *Process) quit() bool {
	t := p.first
	if t == nil || t.traced || atomic.LoadUint32(&t.page.turn) != turnSentry {
		return false
	}
	t.nops = 0
	t.add(unix.SYS_EXIT_GROUP, 0)
	t.page.nops = uint32(t.nops)
	t.page.after = afterPost
	return atomic.CompareAndSwapUint32(&t.page.turn, turnSentry, turnStub)
}

// discard frees what the sentry has of the process.
func (p *Process) discard() {
	p.mu.Lock()
	mem, sock := p.mem, p.sock
	p.mem, p.sock = 0, -1
	p.mu.Unlock()
	if mem != 0 {
		syscall.Syscall(syscall.SYS_MUNMAP, mem, slotsSize, 0)
		p.stubs.deaths.remove(p)
		unix.Close(sock)
	}
}

// Kill has the host end the process; the contexts in it get EventGone.
func (p *Process) Kill() {
	p.stubs.mu.Lock()
	defer p.stubs.mu.Unlock()
	if p.pid > 0 && !p.reaped {
		unix.Kill(p.pid, unix.SIGKILL)
	}
}

// Abandon gives up a process that has broken: it is killed, and its contexts
// get EventGone.
func (p *Process) Abandon() {
	p.Kill()
	p.setGone()
}

// setGone marks the process as ended and wakes all who wait for it.
func (p *Process) setGone() {
	p.gone.Store(true)
	p.tellDeath()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mem == 0 {
		return
	}
	for _, t := range p.threads {
		atomic.StoreUint32(&t.page.turn, turnSentry)
		futexWake(&t.page.turn)
	}
}

// SetMappings implements platform.MappingUser.
func (p *Process) SetMappings(f func(addr uint64) (platform.Mapping, bool)) {
	p.mu.Lock()
	p.mapping = f
	p.mu.Unlock()
}

// SetReserver is told by the owner of the address space where the platform
// can have room of its own, out of the guest's sight, near an address.
func (p *Process) SetReserver(f func(near, size uint64) (addr uint64, ok bool)) {
	p.mu.Lock()
	p.reserve = f
	p.mu.Unlock()
}

// Reserve asks for such room.
func (p *Process) Reserve(near, size uint64) (addr uint64, ok bool) {
	p.mu.Lock()
	f := p.reserve
	p.mu.Unlock()
	if f == nil {
		return 0, false
	}
	return f(near, size)
}

// Mapping asks the owner of the address space about an address.
func (p *Process) Mapping(addr uint64) (platform.Mapping, bool) { return p.mappingAt(addr) }

// mappingAt asks the owner of the address space.
func (p *Process) mappingAt(addr uint64) (platform.Mapping, bool) {
	p.mu.Lock()
	f := p.mapping
	p.mu.Unlock()
	if f == nil {
		return platform.Mapping{}, false
	}
	return f(addr)
}

// Usage implements platform.AddressSpace. It is zero if the sentry was given
// no way to see the host's /proc.
func (p *Process) Usage() platform.Usage { return p.stubs.usage(p.pid) }
