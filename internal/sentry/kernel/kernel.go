// Package kernel holds what makes a Linux kernel out of the parts below it:
// tasks, thread groups, sessions, PID and other namespaces, signals, futexes,
// timers and limits.
//
// It must not know particular file systems, sockets, ELF or the system call
// table: the table is handed in as a Syscalls.
//
// # Locks
//
// Kernel.mu guards the task tree: PIDs, parents and children, groups,
// sessions. ThreadGroup.mu guards the group's list of threads and all signal
// state of the group and its tasks. Order: Kernel.mu, ThreadGroup.mu,
// SignalHandlers.mu, Task.mu, waiter queues; then the locks of mm and vfs. No
// two ThreadGroup.mu are held at once. SeccompListener.mu is taken with none of
// these held; descriptor tables' locks come after it. A task that stops for its
// tracer holds no lock: the tracer has it do what it wants to see (StoppedTask). PIDNamespace.procMu is
// taken with none of these held.
package kernel

import (
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/platform"
)

// Syscalls is the system call table, as the kernel needs it.
type Syscalls interface {
	// Dispatch runs call number nr for t, with tracing if it is on.
	Dispatch(t *Task, nr uint64, args Args) (uintptr, error)
	// Describe renders a call for a report, without looking at memory.
	Describe(nr uint64, args Args) string
}

// Args are a system call's six arguments as they were in registers.
type Args [6]uint64

// Int returns argument i as a C int.
func (a Args) Int(i int) int32 { return int32(a[i]) }

// Uint returns argument i as a C unsigned int.
func (a Args) Uint(i int) uint32 { return uint32(a[i]) }

// Config is what a kernel is made from.
type Config struct {
	Platform platform.Platform
	Syscalls Syscalls
	// MaxTasks bounds the threads of the whole sandbox, so that a fork bomb
	// gets EAGAIN; 0 means DefaultMaxTasks.
	MaxTasks int
	// Hostname and Domainname are what uname(2) starts with.
	Hostname, Domainname string
	// Network is what the first network namespace has; nil is a loopback interface.
	Network *network.Namespace
	// ProtectInit gives PID 1 the protection that pid_namespaces(7) tells of:
	// signals from inside for which it has no handler, SIGKILL among them,
	// do nothing.
	ProtectInit bool
	// CallsTraced says that Syscalls is to see all calls of guests.
	CallsTraced bool
}

// DefaultMaxTasks is the limit on threads when Config names none.
const DefaultMaxTasks = 32768

// Kernel is one running kernel: the tasks of one sandbox.
type Kernel struct {
	Platform platform.Platform
	Syscalls Syscalls

	config Config
	// boot is when the kernel was made.
	boot time.Time

	// mu guards the task tree; see the package's comment.
	mu sync.Mutex
	// pids is the PID namespace that all others lie in.
	pids *PIDNamespace
	// groups are the living and zombie thread groups, by the number that they
	// have in pids.
	groups map[int32]*ThreadGroup
	// ttys are the controlling terminals.
	ttys map[TTY]*Session
	// ending is set once PID 1 is gone: no task is made any more.
	ending bool

	// tasks counts threads; forks all that ever were.
	tasks, forks atomic.Int64
	// crash is taken by the first task that meets a bug, and never given back.
	crash sync.Mutex
	// running counts goroutines of tasks.
	running sync.WaitGroup
	users   userTable
	// single are the file systems with one instance.
	single  fileSystems
	futexes futexTable

	// initial are the namespaces of processes without a parent. namespaces
	// counts others, and lastNamespace numbers them.
	initial       *Namespaces
	namespaces    atomic.Int64
	lastNamespace atomic.Uint64
	core          corePattern

	// memoryLimit is what the guest is told, in bytes; 0 is no limit.
	memoryLimit atomic.Uint64

	// init is the first process made; initStatus is how it ended, valid
	// once initDone is closed.
	init       *ThreadGroup
	initStatus ExitStatus
	initDone   chan struct{}
}

// New returns a kernel without tasks.
func New(c Config) *Kernel {
	if c.MaxTasks == 0 {
		c.MaxTasks = DefaultMaxTasks
	}
	if c.Network == nil {
		c.Network = network.Loopback()
	}
	k := &Kernel{
		Platform: c.Platform,
		Syscalls: c.Syscalls,
		config:   c,
		boot:     time.Now(),
		groups:   make(map[int32]*ThreadGroup),
		ttys:     make(map[TTY]*Session),
		initDone: make(chan struct{}),
	}
	k.initial = k.initialNamespaces()
	k.pids = k.initial.PIDForChildren
	k.core.pattern = defaultCorePattern
	return k
}

// BootTime is when the kernel was made.
func (k *Kernel) BootTime() time.Time { return k.boot }

// Wait sleeps until PID 1 and then all others have ended, with nothing of
// them left on the host, and returns PID 1's exit status.
func (k *Kernel) Wait() ExitStatus {
	<-k.initDone
	k.running.Wait()
	return k.initStatus
}

// Done is closed when PID 1 has ended; others may still be ending.
func (k *Kernel) Done() <-chan struct{} { return k.initDone }

// KillAll ends every process by SIGKILL, PID 1 among them.
func (k *Kernel) KillAll() {
	for _, g := range k.ThreadGroups() {
		g.Kill()
	}
}

// TaskCount is the number of threads, Forks how many were ever made.
func (k *Kernel) TaskCount() int { return int(k.tasks.Load()) }
func (k *Kernel) Forks() int64   { return k.forks.Load() }

// MaxTasks is the bound on threads (/proc/sys/kernel/threads-max).
func (k *Kernel) MaxTasks() int { return k.config.MaxTasks }
