package stub

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Option is a setting of New.
type Option func(*Stubs)

// WithProc gives the stubs an open directory of the host's /proc for the
// sentry's PID namespace, which AddressSpace.Usage needs.
func WithProc(fd int) Option { return func(s *Stubs) { s.procFD = fd } }

// WithUser has the stubs run as a user and group of their own, without
// capabilities. The caller must be able to become that user (CAP_SETUID,
// CAP_SETGID) while New runs, and to reach the stubs then (CAP_KILL,
// CAP_SYS_PTRACE).
func WithUser(id uint32) Option { return func(s *Stubs) { s.user = int64(id) } }

// WithoutFSGSBASE has the stubs do as on a CPU that lacks the instructions for
// segment bases, or a virtual machine that hides them: for tests.
func WithoutFSGSBASE() Option { return func(s *Stubs) { s.fsgsbase = false } }

// hasFSGSBASE reports whether programs may use RDFSBASE and its kin.
func hasFSGSBASE() bool {
	const hwcap2, hwcap2FSGSBASE = 26, 2 // AT_HWCAP2 of getauxval(3)
	aux, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, a := range aux {
		if a[0] == hwcap2 {
			return a[1]&hwcap2FSGSBASE != 0
		}
	}
	return false
}

// Stubs makes and keeps stub processes.
type Stubs struct {
	procFD int   // of WithProc, or -1
	user   int64 // of WithUser, or -1

	answerTick time.Duration
	deaths     *deathWatch // of WithDeathWatch, or nil

	pid    int
	code   code
	base   uint64 // of the slots
	text   uint64 // of the code
	limits platform.Limits
	// clockGettime is where the vDSO's clock_gettime is, 0 without one.
	clockGettime uint64
	fp           fpFormat
	fsgsbase     bool
	fetches      [fetchCalls]uint64 // of WithFetches, encoded
	spin         spinning
	// working counts the threads that run guest code or what it asked for, in
	// contrast to those that wait: see Thread.Rest.
	working atomic.Int32
	// nextLook is when to look for what has come from the host, in cycles: see callDue.
	nextLook atomic.Uint64
	solo     solo
	inflow   inflow
	floor    floor
	stagings stagings
	births   births
	chores   chores
	// made counts the processes that were ever made.
	made atomic.Uint64
	// spares counts the spare threads of all processes.
	spares   atomic.Int32
	lingerer lingerer
	gates    *gates

	mu     sync.Mutex
	procs  map[int]*Process
	closed bool

	// templateMu is for the template's thread.
	templateMu sync.Mutex
	template   *Thread
	pool       *pool
}

// bases are where the stub region may be: the first that does not meet the
// host's vDSO is taken. The sentry's other mappings don't matter.
var bases = []uint64{0x7fff_c000_0000, 0x7fff_8000_0000, 0x7fff_4000_0000}

// New starts the template. The stubs inherit the sentry's root, credentials
// (but for what WithUser changes) and seccomp filter, so the first two must be
// given up before, and the last be installed afterwards.
func New(options ...Option) (*Stubs, error) {
	c, err := findCode()
	if err != nil {
		return nil, err
	}
	s := &Stubs{procFD: -1, user: -1, answerTick: answerTick, pid: os.Getpid(), code: c, fp: findFPFormat(), procs: make(map[int]*Process)}
	s.fsgsbase = hasFSGSBASE()
	s.stagings.tick = stagingTick
	s.inflow.inBulk, s.inflow.aside = waiter.FromHost.InBulk, s.stepAside
	waiter.FromHost.HelpedBy(s.aside)
	for _, o := range options {
		o(s)
	}
	sp, haveSpecial := findSpecial()
	for _, b := range bases {
		s.base, s.text = b, b+slotsSize
		if !haveSpecial || sp.end <= b-(1<<20) || sp.vvar >= s.text+textSize+gatesSize {
			break
		}
	}
	s.limits = platform.Limits{Min: minAddr, Max: s.base, FPSize: int(s.fp.frame()), FPFeatures: s.fp.mask}

	c0, t0 := cycles(), time.Now()
	gates, gatesFD, err := newGates()
	if err != nil {
		return nil, err
	}
	defer unix.Close(gatesFD)
	s.gates = gates
	t, err := s.startTemplate()
	if err != nil {
		return nil, fmt.Errorf("starting the first stub process: %w", err)
	}
	s.template = t
	if err := s.furnish(t, gatesFD, sp, haveSpecial); err != nil {
		s.Close()
		return nil, fmt.Errorf("setting up the first stub process: %w", err)
	}
	if err := s.tryCopies(); err != nil {
		s.Close()
		return nil, err
	}
	s.spin = newSpinning(cycles()-c0, time.Since(t0))
	s.pool = newPool(s)
	return s, nil
}

// tryCopies reads and writes a word of the template's memory as guest memory is
// read and written. A host can forbid it (Yama's ptrace_scope is one way), and
// then guests would get EFAULT from calls that have nothing wrong.
func (s *Stubs) tryCopies() error {
	word := make([]byte, 8)
	addr := s.template.slotAddr() + windowOffset
	for _, nr := range []uintptr{unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV} {
		if _, err := s.template.proc.copyRemote(nr, addr, word); err != nil {
			return fmt.Errorf("reaching the memory of the first stub process (%w); the sysctl kernel.yama.ptrace_scope must be 0 or 1, or 2 for root", err)
		}
	}
	return nil
}

// Limits are the guest's.
func (s *Stubs) Limits() platform.Limits { return s.limits }

// NewThread returns the thread of a new, empty address space.
func (s *Stubs) NewThread() (*Thread, error) {
	s.solo.several() // the pool is filled, and who was there before ends, beside it
	return s.pool.take()
}

// forkTemplate makes an empty address space.
func (s *Stubs) forkTemplate() (*Thread, error) {
	s.templateMu.Lock()
	defer s.templateMu.Unlock()
	return s.template.Fork()
}

// Close ends all stubs.
func (s *Stubs) Close() {
	if s.pool != nil {
		s.pool.close()
	}
	s.chores.close()
	s.deaths.close()
	s.mu.Lock()
	s.closed = true
	for pid, p := range s.procs {
		if !p.reaped {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	s.mu.Unlock()
}

// register enters a new process under the PID that its parent claims. The
// parent may lie: it must be a child of ours that is not known already. If another one
// has claimed it before, it is whose slots are there.
func (s *Stubs) register(p *Process, pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := s.procs[pid]; o != nil; o = s.procs[pid] {
		s.mu.Unlock()
		ours := !o.known.Load() && p.has(pid)
		s.mu.Lock()
		if !ours {
			return unix.EAGAIN
		}
		if s.procs[pid] == o {
			delete(s.procs, pid)
			o.reaped = true // the PID is not its
			s.mu.Unlock()
			o.setGone()
			s.mu.Lock()
		}
	}
	if s.closed {
		unix.Kill(pid, unix.SIGKILL)
		return unix.EAGAIN
	}
	err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if err != nil {
		return err
	}
	p.pid = pid
	s.procs[pid] = p
	if len(s.procs) > crowd {
		// What it forks inherits this. If the host refuses, the sentry is slow
		// to answer and no more.
		unix.Setpriority(unix.PRIO_PROCESS, pid, Humble)
	}
	return nil
}

const (
	// crowd is how many stubs there may be before further ones run with the
	// least priority. Among hundreds that all want a processor the sentry
	// would hardly get one: a fork bomb could not even be ended by SIGTERM.
	crowd = 128
	// Humble is the nice value of these.
	Humble = 19
)

// startTemplate spawns the template from a thread of its own, which stays to
// the end: the host ends the stubs when the thread that is their parent ends,
// and only that thread waits for them.
func (s *Stubs) startTemplate() (*Thread, error) {
	p, parcel, err := s.newProcess()
	if err != nil {
		return nil, err
	}
	t, err := p.newThread()
	if err != nil {
		return nil, err
	}
	p.DecRef() // leaves the thread's
	// Until it has the gates in their place, it has them where we do.
	t.page.gate = uint64(uintptr(unsafe.Pointer(&s.gates.words[t.gate])))
	pid := make(chan int64)
	registered := make(chan struct{})
	go crash.Guard(func() {
		runtime.LockOSThread()
		pid <- s.spawn(parcel)
		<-registered
		s.reap()
	})()
	n := <-pid
	if n < 0 {
		close(registered)
		return nil, unix.Errno(-n)
	}
	t.tid = int(n)
	err = s.register(p, t.tid)
	close(registered)
	if err != nil {
		return nil, err
	}
	// The template has a copy of all our descriptors, the parcel's too.
	for _, c := range [][]uint64{
		{unix.SYS_DUP2, uint64(parcel.sock), 0},
		{unix.SYS_CLOSE_RANGE, 1, 0xffffffff, 0},
	} {
		if _, err := t.call(c[0], c[1:]...); err != nil {
			return nil, err
		}
	}
	parcel.close()
	return t, nil
}

// spawn clones the template. It returns a PID or a negative errno.
func (s *Stubs) spawn(parcel parcel) int64 {
	// No handler of Go's may run in the child.
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return -int64(unix.EINVAL)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	image := s.code.copyFor(s.base, &s.fetches)
	return spawn(&spawnArgs{
		code: &image[0], size: uintptr(len(image)),
		text: uintptr(s.text), slots: uintptr(s.base),
		start: uintptr(s.text) + s.code.start,
		memfd: uintptr(parcel.memfd),
	})
}
