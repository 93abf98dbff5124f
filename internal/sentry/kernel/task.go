package kernel

import (
	"sync/atomic"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/hrtimer"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Task is one thread of execution: what clone(2) makes and gettid(2) numbers.
// One goroutine runs it. Fields without a lock named are written by that
// goroutine alone; where others read them, an atomic or a lock is named.
type Task struct {
	k     *Kernel
	group *ThreadGroup
	ctx   platform.Context // written with group.mu held
	pid   atomic.Pointer[pid]
	creds atomic.Pointer[auth.Credentials]
	// seccomp is the state of seccomp(2), nil while there is none. It is
	// written with group.mu held, by the task or another of its process.
	seccomp atomic.Pointer[seccompState]
	comm    atomic.Pointer[string]
	start   time.Time
	user    *userCounts
	cgroup  *Cgroup // that of the process: where the task is counted

	// What the task uses; written with group.mu held, so that Resources can
	// show it to others.
	mem *mm.MemoryManager
	fds *vfs.FDTable
	fs  *FSContext
	// namespaces are those that nothing else of the task's tells.
	namespaces *Namespaces

	// work says that there is something to look at before guest code goes on:
	// a signal, a stop, the end. wake is where a sleeping task is told so.
	work atomic.Bool
	wake chan struct{}
	// mode says what the task is doing, for others to know how to reach it.
	mode  atomic.Int32
	clock cpuClock
	// shown is the most of it that was told; the lock of the process guards it.
	shown cpuTimes
	// timer serves Block, which it tells by expired.
	timer   *hrtimer.Timer
	expired chan struct{}

	// giving is whether the task gives way to those that it wakes.
	giving giving

	// Signal state; group.mu guards it. blocked is written by the task alone.
	blocked signalMask
	pending signalQueue
	// waitingFor is the set that rt_sigtimedwait(2) waits for.
	waitingFor abi.SignalSet
	// killed says that the task must end now.
	killed bool
	// stopped says that the task counts among the stopped ones.
	stopped bool
	gone    bool

	// savedMask is the mask to go back to after a call that had its own.
	savedMask    abi.SignalSet
	hasSavedMask bool
	altStack     abi.Stack
	// restart is why the present call must be made again, or 0; restartFn
	// continues it under restart_syscall(2).
	restart   unix.Errno
	restartFn func(*Task) (uintptr, error)
	// trapNo, errorCode and faultAddr are the last fault's, for frames.
	trapNo, errorCode, faultAddr uint64

	// childTID is where a new task stores its number, or 0.
	childTID uint64
	// clearTID is where a zero is written at the end (set_tid_address(2)).
	clearTID uint64
	// deathSignal is PR_SET_PDEATHSIG's; Kernel.mu guards it.
	deathSignal int32
	// gate, if not nil, is what the task waits for before it runs its program.
	gate <-chan struct{}
	// vforkDone is closed when a child made by vfork lets go of the memory.
	vforkDone chan struct{}
	// leaving is set by exit(2), with its code.
	leaving  bool
	exitCode ExitStatus

	scratch uint64
	// late are the parts of the present call's result that are written late.
	late []lateResult
	// lateFrom is where they were read, or nil.
	lateFrom *vfs.FileDescription

	// ptrace is the task's part in being traced; see ptrace.go.
	ptrace ptraceState
	// futex is the task's part in futexes; see futex.go.
	futex futexState
	// attrs are what programs set and children inherit; see attributes.go.
	attrs attributes
	// calls are the last system calls, for reports; see crash.go.
	calls callLog
}

// What a task is doing; see Task.mode.
const (
	modeKernel int32 = iota
	modeGuest
	modeBlocked
	modeUninterruptible
	modeStopped
	modeTraced
	modeDead
)

// Kernel returns the kernel that the task belongs to.
func (t *Task) Kernel() *Kernel { return t.k }

// ThreadGroup returns the task's process.
func (t *Task) ThreadGroup() *ThreadGroup { return t.group }

// TID is the thread's number in its own PID namespace, gettid(2).
func (t *Task) TID() int32 { return t.pid.Load().own() }

// PID is the process's number there, getpid(2).
func (t *Task) PID() int32 { return t.group.pid.own() }

// Context is the platform context: registers and host memory operations.
func (t *Task) Context() platform.Context { return t.ctx }

// MM is the task's address space. For the task's own goroutine; others use
// Resources.
func (t *Task) MM() *mm.MemoryManager { return t.mem }

// FDs is the task's descriptor table, likewise.
func (t *Task) FDs() *vfs.FDTable { return t.fds }

// FS is the task's root, working directory and umask, likewise.
func (t *Task) FS() *FSContext { return t.fs }

// Resources returns what a task uses, for another goroutine to look at; all
// are nil once it has ended. Descriptions and paths in them come with
// references of their own; an address space may be in its last moments.
func (t *Task) Resources() (*mm.MemoryManager, *vfs.FDTable, *FSContext) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	if t.gone {
		return nil, nil, nil
	}
	return t.mem, t.fds, t.fs
}

// SetFDs replaces the descriptor table, as unshare(2) does. The old one's
// reference passes to the caller.
func (t *Task) SetFDs(fds *vfs.FDTable) (old *vfs.FDTable) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	old, t.fds = t.fds, fds
	return old
}

// SetFS replaces root, working directory and umask, likewise.
func (t *Task) SetFS(fs *FSContext) (old *FSContext) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	old, t.fs = t.fs, fs
	return old
}

// File returns the description behind fd with a reference, or EBADF.
func (t *Task) File(fd int32) (*vfs.FileDescription, error) {
	f := t.fds.Get(fd)
	if f == nil {
		return nil, unix.EBADF
	}
	return f, nil
}

// Limit returns the soft limit of one resource (unix.RLIMIT_*).
func (t *Task) Limit(resource int) uint64 { return t.group.limits.Cur(resource) }

// SetCredentials gives the task new identities; c must not change any more.
func (t *Task) SetCredentials(c *auth.Credentials) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	if u := t.k.users.get(c.RUID); u != t.user {
		t.user.tasks.Add(-1)
		u.tasks.Add(1)
		t.user = u
	}
	if t.Credentials().NoNewPrivs && !c.NoNewPrivs {
		// Another thread has set it since c was copied: see AttachSeccomp.
		c = c.Clone()
		c.NoNewPrivs = true
	}
	vfs.BeginChange()
	t.creds.Store(c)
	vfs.EndChange()
}

// Comm is the thread's name, at most 15 bytes (PR_GET_NAME).
func (t *Task) Comm() string { return *t.comm.Load() }

// SetComm changes it; what is too long is cut.
func (t *Task) SetComm(s string) {
	if len(s) > 15 {
		s = s[:15]
	}
	t.comm.Store(&s)
}

// StartTime is when the thread was made.
func (t *Task) StartTime() time.Time {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.start
}

// AltStack is the alternate signal stack.
func (t *Task) AltStack() abi.Stack { return t.altStack }

// SetClearTID is set_tid_address(2).
func (t *Task) SetClearTID(addr uint64) { t.clearTID = addr }

// ClearTIDAddress is what it was set to (PR_GET_TID_ADDRESS).
func (t *Task) ClearTIDAddress() uint64 { return t.clearTID }

// DeathSignal and SetDeathSignal are PR_GET_ and PR_SET_PDEATHSIG.
func (t *Task) DeathSignal() int32 {
	t.k.mu.Lock()
	defer t.k.mu.Unlock()
	return t.deathSignal
}

func (t *Task) SetDeathSignal(sig int32) {
	t.k.mu.Lock()
	defer t.k.mu.Unlock()
	t.deathSignal = sig
}

// State is the letter that /proc/PID/stat shows: R, S, D, T, t, Z or X.
func (t *Task) State() byte {
	switch t.mode.Load() {
	case modeBlocked:
		return 'S'
	case modeUninterruptible:
		return 'D'
	case modeStopped:
		return 'T'
	case modeTraced:
		return 't'
	case modeDead:
		return 'Z'
	default:
		return 'R'
	}
}

// State is the letter of the process as a whole, that of its leader.
func (g *ThreadGroup) State() byte { return g.Leader().State() }
