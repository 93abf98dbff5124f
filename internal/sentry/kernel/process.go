package kernel

import (
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// ProcessConfig is what a process without a parent is made from: PID 1, or
// one that is started in a running sandbox.
type ProcessConfig struct {
	Credentials *auth.Credentials
	// FDs and FS are taken over, also by a failure.
	FDs *vfs.FDTable
	FS  *FSContext
	// Limits are taken over; nil means NewLimits.
	Limits *Limits
	// Comm is the thread's name until it runs a program.
	Comm string
	// TTY, if not nil, becomes the controlling terminal.
	TTY TTY
	// Namespaces are taken over; nil means those that the sandbox starts with.
	// The process gets its number from their PIDForChildren.
	Namespaces *Namespaces
	// Cgroup is what the process belongs to, or nil.
	Cgroup *Cgroup
}

// CreateProcess makes a process, the leader of a session of its own. It has
// no memory and does not run: load a program (Task.FinishExec), then Start it,
// or Discard it. The first one is PID 1. EAGAIN if there are too many tasks,
// ESRCH once PID 1 has ended, ENOMEM once the first of its PID namespace has.
func (k *Kernel) CreateProcess(c ProcessConfig) (*Task, error) {
	if c.Limits == nil {
		c.Limits = NewLimits()
	}
	t := k.newTask(c.Credentials)
	t.fds, t.fs = c.FDs, c.FS
	t.namespaces = c.Namespaces
	if t.namespaces == nil {
		t.namespaces = k.initial.incRef()
	}
	t.SetComm(c.Comm)
	g := k.newThreadGroup(c.Limits)
	g.memoryOwner.Store(c.Credentials.UserNS)
	g.handlers = new(SignalHandlers)
	g.exitSignal = int32(unix.SIGCHLD)
	g.cgroup = c.Cgroup
	t.cgroup = c.Cgroup
	if err := t.count(c.Limits); err != nil {
		t.dropAll()
		return nil, err
	}
	if err := k.admit(t, g, c.TTY); err != nil {
		t.abandon()
		return nil, err
	}
	return t, nil
}

// admit puts a new process without a parent into the tree.
func (k *Kernel) admit(t *Task, g *ThreadGroup, tty TTY) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return unix.ESRCH
	}
	if err := k.adoptLocked(t, g, t.namespaces.PIDForChildren, chosenPIDs{}); err != nil {
		return err
	}
	g.addThread(t)
	k.newSessionLocked(g)
	if k.init == nil {
		k.init = g
	}
	if tty != nil && k.ttys[tty] == nil {
		g.pgrp.session.tty, g.pgrp.session.foreground = tty, g.pgrp
		k.ttys[tty] = g.pgrp.session
	}
	return nil
}

// Start runs a task that CreateProcess made.
func (t *Task) Start() {
	if t.gate == nil {
		t.group.startCPULimit()
	}
	t.k.running.Add(1)
	go t.run()
}

// Discard drops a process that was made and can't be started, with the status
// of a program that was not found. If it is PID 1 the kernel ends.
func (t *Task) Discard() {
	t.exitCode = Exited(127)
	t.clock.since.Store(stampNow())
	t.exit()
}

// newTask makes a task that is not in the tree yet.
func (k *Kernel) newTask(c *auth.Credentials) *Task {
	t := &Task{k: k, start: time.Now(), wake: make(chan struct{}, 1), user: k.users.get(c.RUID)}
	t.creds.Store(c)
	t.work.Store(true)
	t.initAttributes()
	return t
}

func (k *Kernel) newThreadGroup(l *Limits) *ThreadGroup {
	return &ThreadGroup{k: k, limits: l, start: time.Now(), children: make(map[*ThreadGroup]struct{}), done: make(chan struct{})}
}

// count takes a place among the limited number of threads, of the sandbox, of
// the control group and of the user. EAGAIN if there is none.
func (t *Task) count(l *Limits) error {
	k := t.k
	if err := t.cgroup.addTask(); err != nil {
		return err
	}
	if n := k.tasks.Add(1); n > int64(k.config.MaxTasks) {
		k.tasks.Add(-1)
		t.cgroup.removeTask()
		return unix.EAGAIN
	}
	n := t.user.tasks.Add(1)
	c := t.Credentials()
	if uint64(n) > l.Cur(limitNProc) && c.RUID != 0 && !c.Can(unix.CAP_SYS_RESOURCE) && !c.Can(unix.CAP_SYS_ADMIN) {
		t.uncountLocked()
		return unix.EAGAIN
	}
	k.forks.Add(1)
	return nil
}

// adoptLocked gives t a number in ns, and g, if it is t's own new process.
func (k *Kernel) adoptLocked(t *Task, g *ThreadGroup, ns *PIDNamespace, chosen chosenPIDs) error {
	p, err := ns.alloc(chosen)
	if err != nil {
		return err
	}
	t.pid.Store(p)
	t.group = g
	p.task = t
	if g.pid == nil {
		g.pid = p
		g.leader = t
		g.seq = uint64(k.forks.Load())
		p.group = g
		k.groups[p.numbers[0]] = g
		if ns.init == nil {
			ns.init = g
			ns.started.Store(true)
		}
	}
	return nil
}

func (g *ThreadGroup) addThread(t *Task) {
	g.mu.Lock()
	g.threads = append(g.threads, t)
	g.mu.Unlock()
}
