package kernel

import (
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// ThreadGroup is what getpid(2) numbers: the threads of one process.
type ThreadGroup struct {
	k *Kernel
	// pid numbers the process; it never changes.
	pid *pid
	// limits are the process's resource limits.
	limits *Limits
	// start is when the process was made.
	start time.Time
	// cgroup never changes once the process is in the tree.
	cgroup *Cgroup

	// The tree. Kernel.mu guards it.
	parent       *ThreadGroup
	parentThread *Task // of parent, while it lives
	children     map[*ThreadGroup]struct{}
	tracees      map[*Task]struct{} // of its threads, by ptrace(2)
	pgrp         *ProcessGroup
	ttyGivenUp   bool // TIOCNOTTY by a process that leads no session
	execed       bool // since fork; setpgid(2) then says EACCES to the parent
	subreaper    bool // PR_SET_CHILD_SUBREAPER
	exitSignal   int32
	zombie       bool
	reaped       bool
	exitStatus   ExitStatus
	leaderStatus ExitStatus // the leader's own, if no group exit overrides it
	seq          uint64     // in order of creation
	// done is closed when the process is a zombie.
	done chan struct{}

	// childWait is notified when a child changes its state.
	childWait waiter.Queue
	// ended is notified (In) when the process is a zombie: for pidfds.
	ended waiter.Queue

	// mu guards what follows, and the signal state of all tasks.
	mu sync.Mutex
	// leader is the thread with the group's number; it stays here after its
	// own exit, until the group is gone.
	leader *Task
	// threads are the living threads, in order of creation.
	threads  []*Task
	handlers *SignalHandlers
	pending  signalQueue
	// forking has a set for each fork(2) that one of the threads is in the middle
	// of: the signals that several processes, this among them, were sent meanwhile.
	// The child gets them too, or it would live when its whole group is killed.
	forking []*abi.SignalSet
	// signalWait is notified when a signal becomes pending (signalfd).
	signalWait waiter.Queue
	stop       jobControl
	// exiting says that all threads are to end, with exitCode.
	exiting  bool
	exitCode ExitStatus
	// deaths counts how often SIGKILL was to end the process.
	deaths int
	// unprotected says that a fault is to end PID 1 although it is protected.
	unprotected bool
	// exec is the thread that is ending all others, to run a new program or to
	// leave a core dump, and execAlone is where it waits for that.
	exec      *Task
	execAlone chan struct{}
	// dump, if not nil, gets the state of threads that end.
	dump *coreDump

	// deadTimes are the times of threads that have ended, childTimes those of
	// children that were waited for. Nanoseconds.
	deadTimes  cpuTimes
	childTimes cpuTimes
	usage      usage

	// timers are setitimer(2)'s and timer_create(2)'s, and RLIMIT_CPU's.
	timers groupTimers

	oomScoreAdj atomic.Int32
	// memoryOwner is the user namespace in which the program was started: with
	// capabilities there a process that is not dumpable can be looked into.
	memoryOwner atomic.Pointer[auth.UserNamespace]
}

// ExitStatus is how a process ended, as wait(2) encodes it.
type ExitStatus uint32

// Exited makes the status of exit(code), Signaled that of death by a signal.
func Exited(code int32) ExitStatus { return ExitStatus(uint32(code)&0xff) << 8 }
func Signaled(sig int32, core bool) ExitStatus {
	s := ExitStatus(sig & 0x7f)
	if core {
		s |= 0x80
	}
	return s
}

// Signal is the signal that ended the process, or 0; Code is exit's argument.
func (s ExitStatus) Signal() int32    { return int32(s & 0x7f) }
func (s ExitStatus) CoreDumped() bool { return s&0x80 != 0 }
func (s ExitStatus) Code() int32      { return int32(s>>8) & 0xff }

// ID is the process's number in its own PID namespace, getpid(2).
func (g *ThreadGroup) ID() int32 { return g.pid.own() }

// Cgroup is the control group that the process belongs to, or nil.
func (g *ThreadGroup) Cgroup() *Cgroup { return g.cgroup }

// Kernel returns the kernel that the process belongs to.
func (g *ThreadGroup) Kernel() *Kernel { return g.k }

// Limits are the process's resource limits.
func (g *ThreadGroup) Limits() *Limits { return g.limits }

// Limit is the soft limit of one resource (unix.RLIMIT_*).
func (g *ThreadGroup) Limit(resource int) uint64 { return g.limits.Cur(resource) }

// StartTime is when the process was made.
func (g *ThreadGroup) StartTime() time.Time { return g.start }

// Leader is the thread with the process's number. It may have ended.
func (g *ThreadGroup) Leader() *Task {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leader
}

// Tasks are the living threads, in order of creation.
func (g *ThreadGroup) Tasks() []*Task {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*Task(nil), g.threads...)
}

// Representative is a living thread to ask about the process's memory and
// files: the leader if it lives, else another; nil for a zombie.
func (g *ThreadGroup) Representative() *Task {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.threads) == 0 {
		return nil
	}
	return g.threads[0]
}

// Parent is the process that would wait for this one, or nil.
func (g *ThreadGroup) Parent() *ThreadGroup {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.parent
}

// PPIDIn is getppid(2) as ns numbers processes: 0 without a parent there.
func (g *ThreadGroup) PPIDIn(ns *PIDNamespace) int32 {
	if p := g.Parent(); p != nil {
		return p.IDIn(ns)
	}
	return 0
}

// Children are the processes that this one may wait for.
func (g *ThreadGroup) Children() []*ThreadGroup {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	list := make([]*ThreadGroup, 0, len(g.children))
	for c := range g.children {
		list = append(list, c)
	}
	return list
}

// ProcessGroup is the job that the process belongs to; nil once reaped.
func (g *ThreadGroup) ProcessGroup() *ProcessGroup {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.pgrp
}

// PGIDIn and SIDIn are getpgid(2) and getsid(2) as ns numbers them; 0 once
// reaped.
func (g *ThreadGroup) PGIDIn(ns *PIDNamespace) int32 { return g.ProcessGroup().IDIn(ns) }

func (g *ThreadGroup) SIDIn(ns *PIDNamespace) int32 {
	if pg := g.ProcessGroup(); pg != nil {
		return pg.session.IDIn(ns)
	}
	return 0
}

// Zombie reports whether all threads have ended.
func (g *ThreadGroup) Zombie() bool {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.zombie
}

// Stopped reports whether job control has stopped the process.
func (g *ThreadGroup) Stopped() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stop.stopped
}

// ExitSignal is what the parent is sent at the end, usually SIGCHLD.
func (g *ThreadGroup) ExitSignal() int32 {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.exitSignal
}

// Status is how the process ended, valid once it is a zombie.
func (g *ThreadGroup) Status() ExitStatus {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.exitStatus
}

// Subreaper and SetSubreaper are PR_GET_ and PR_SET_CHILD_SUBREAPER.
func (g *ThreadGroup) Subreaper() bool {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.subreaper
}

func (g *ThreadGroup) SetSubreaper(on bool) {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	g.subreaper = on
}

// OOMScoreAdj and SetOOMScoreAdj are /proc/PID/oom_score_adj.
func (g *ThreadGroup) OOMScoreAdj() int32     { return g.oomScoreAdj.Load() }
func (g *ThreadGroup) SetOOMScoreAdj(n int32) { g.oomScoreAdj.Store(n) }

// isInit reports whether the process is the first of its PID namespace.
func (g *ThreadGroup) isInit() bool { return g.pid != nil && g.pid.own() == InitPID }

// isProtected reports whether signals for which it has no handler must not
// harm the process.
func (g *ThreadGroup) isProtected() bool {
	return g.isInit() && !g.unprotected && (g != g.k.init || g.k.config.ProtectInit)
}

// ThreadGroups are all processes, zombies included, by number.
func (k *Kernel) ThreadGroups() []*ThreadGroup { return k.pids.ThreadGroups() }

// Init is PID 1, or nil before it was made.
func (k *Kernel) Init() *ThreadGroup { return k.pids.ThreadGroup(InitPID) }

// Kill ends the process by SIGKILL, whether or not it is protected.
func (g *ThreadGroup) Kill() { g.end(Signaled(int32(unix.SIGKILL), false)) }

// Signal sends info to the process as a whole, without a check of permission:
// for signals that the kernel sends. EAGAIN if RLIMIT_SIGPENDING is reached by
// a real-time signal.
func (g *ThreadGroup) Signal(info *abi.Siginfo) error {
	return g.send(nil, info, sendOptions{})
}

// SignalFromHost sends a signal from outside of the sandbox: it reaches a
// protected PID 1 too if it is SIGKILL or SIGSTOP.
func (g *ThreadGroup) SignalFromHost(sig int32) error {
	return g.send(nil, kernelSignal(sig), sendOptions{outside: true})
}
