package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// CloneArgs are clone3(2)'s arguments, as far as they reach the kernel.
type CloneArgs struct {
	Flags      uint64
	PIDFD      uint64 // where the pidfd's number is stored, with CLONE_PIDFD
	ChildTID   uint64
	ParentTID  uint64
	ExitSignal int32
	// Stack is what the child's stack pointer is set to; 0 keeps the parent's.
	Stack uint64
	TLS   uint64
	// TIDs are the numbers that the child is to have, in its PID namespace first,
	// then in those that this lies in; the others are free ones.
	TIDs []int32
}

// has reports whether all of the flags are set.
func (a *CloneArgs) has(flags uint64) bool { return a.Flags&flags == flags }

// Clone makes a new task, and with CLONE_VFORK waits until it has let go of
// the memory. It returns the child's TID. The combination of flags has been
// checked. EAGAIN if there are too many tasks; ENOMEM.
func (t *Task) Clone(a *CloneArgs) (int32, error) {
	k, g := t.k, t.group
	var missed abi.SignalSet
	if !a.has(unix.CLONE_THREAD) {
		if !g.beginFork(t, &missed) {
			// A signal to the process must not be missed by its child.
			t.markWork()
			return 0, abi.ERESTARTNOINTR
		}
		defer g.endFork(&missed)
	}
	if a.has(unix.CLONE_PARENT) && g.isInit() {
		return 0, unix.EINVAL
	}
	// A thread cannot be in another PID namespace than its process.
	if a.has(unix.CLONE_THREAD) && t.namespaces.PIDForChildren != t.PIDs() {
		return 0, unix.EINVAL
	}
	c := k.newTask(t.Credentials())
	c.cgroup = g.cgroup
	if err := c.count(g.limits); err != nil {
		return 0, err
	}
	cg := g
	if !a.has(unix.CLONE_THREAD) {
		cg = k.newThreadGroup(g.limits.Clone())
	}
	if err := t.cloneNamespaces(c, a.Flags); err != nil {
		c.uncountLocked()
		return 0, err
	}
	if err := t.cloneMemory(c, cg, a); err != nil {
		c.namespaces.decRef()
		c.uncountLocked()
		return 0, err
	}
	t.cloneState(c, a)
	if c.mem != t.mem {
		if err := c.namespaces.Time.enter(c.mem); err != nil {
			c.abandon()
			return 0, err
		}
	}
	if a.has(unix.CLONE_NEWNS) {
		if err := c.fs.CopyMounts(k.NextNamespaceID(), c.Credentials().UserNS); err != nil {
			c.abandon()
			return 0, err
		}
	}
	var vfork chan struct{}
	if a.has(unix.CLONE_VFORK) {
		vfork = make(chan struct{})
		c.vforkDone = vfork
	}
	pidfd, event, err := t.joinTree(c, cg, a, &missed)
	if err != nil {
		c.abandon()
		return 0, err
	}
	tid := c.TIDIn(t.PIDs())
	if a.has(unix.CLONE_PARENT_SETTID) {
		_ = t.CopyOutUint32(a.ParentTID, uint32(tid))
	}
	if a.has(unix.CLONE_PIDFD) {
		_ = t.CopyOutUint32(a.PIDFD, uint32(pidfd))
	}
	if cg != g {
		cg.startCPULimit()
	}
	k.running.Add(1)
	go c.run()
	if event != 0 {
		t.ptraceEvent(event, t.traceeNumber(c))
	}
	if vfork != nil && t.BlockKillable(vfork) == nil {
		t.ptraceEvent(unix.PTRACE_EVENT_VFORK_DONE, t.traceeNumber(c))
	}
	return tid, nil
}

// cloneMemory gives the child its context, in the same address space or in a
// copy.
func (t *Task) cloneMemory(c *Task, cg *ThreadGroup, a *CloneArgs) error {
	var err error
	if a.has(unix.CLONE_VM) {
		if err = t.ctx.Flush(); err == nil {
			c.ctx, err = t.ctx.CloneThread()
		}
		if err == nil {
			c.mem = t.mem
			c.mem.IncRef()
		}
	} else {
		var mem *mm.MemoryManager
		var ctx platform.Context
		mem, ctx, err = t.mem.Fork(t.ctx, cg)
		c.mem, c.ctx = mem, ctx
		if err == nil {
			t.k.watchMemory(mem)
		}
	}
	if err != nil {
		if errnoOf(err) == unix.ENOMEM {
			return unix.ENOMEM
		}
		return unix.EAGAIN
	}
	r := c.ctx.Regs()
	r.Rax = 0
	if a.Stack != 0 {
		r.Rsp = a.Stack
	}
	if a.has(unix.CLONE_SETTLS) {
		r.Fs_base = a.TLS
	}
	return nil
}

// cloneState gives the child what it shares with its parent or has copied.
func (t *Task) cloneState(c *Task, a *CloneArgs) {
	c.fds, c.fs = t.fds, t.fs
	if a.has(unix.CLONE_FILES) {
		c.fds.IncRef()
	} else {
		c.fds = t.fds.Fork()
	}
	if a.has(unix.CLONE_FS) {
		c.fs.IncRef()
	} else {
		c.fs = t.fs.Fork()
	}
	c.SetComm(t.Comm())
	c.blocked.store(t.blocked.load())
	if t.hasSavedMask {
		c.blocked.store(t.savedMask)
	}
	if a.has(unix.CLONE_VFORK) || !a.has(unix.CLONE_VM) {
		c.altStack = t.altStack
	}
	if a.has(unix.CLONE_CHILD_SETTID) {
		c.childTID = a.ChildTID
	}
	if a.has(unix.CLONE_CHILD_CLEARTID) {
		c.clearTID = a.ChildTID
	}
	t.inherit(c)
}

// joinTree numbers the child and makes it visible, unless the parent is to end. A
// process has the signals pending that it missed (ThreadGroup.forking). With
// CLONE_PIDFD it returns a descriptor for it. event is what is to be told to the
// tracer, or 0.
func (t *Task) joinTree(c *Task, cg *ThreadGroup, a *CloneArgs, missed *abi.SignalSet) (pidfd, event int32, err error) {
	k, g := t.k, t.group
	k.mu.Lock()
	defer k.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if k.ending {
		return 0, 0, unix.ENOMEM
	}
	if t.killed {
		t.markWork()
		return 0, 0, abi.ERESTARTNOINTR
	}
	if err := k.adoptLocked(c, cg, c.namespaces.PIDForChildren, chosenPIDs{a.TIDs, t.Credentials()}); err != nil {
		return 0, 0, err
	}
	if cg == g {
		t.inheritSeccompLocked(c)
		event = t.inheritPtraceLocked(c, a)
		g.threads = append(g.threads, c)
		return 0, event, nil
	}
	if a.has(unix.CLONE_PIDFD) {
		pidfd, err = t.InstallPIDFD(cg, 0)
		if err != nil {
			p := cg.pid
			p.task, p.group = nil, nil
			p.release()
			delete(k.groups, p.numbers[0])
			if p.ns.init == cg {
				p.ns.init, p.ns.last = nil, 0
				p.ns.started.Store(false)
			}
			return 0, 0, err
		}
	}
	t.inheritSeccompLocked(c)
	event = t.inheritPtraceLocked(c, a)
	g.inheritGroup(cg, a)
	cg.usage.enter(c.mem.AddressSpace())
	cg.threads = []*Task{c}
	cg.pending.set |= *missed
	cg.parent, cg.parentThread, cg.exitSignal = g, t, a.ExitSignal
	if a.has(unix.CLONE_PARENT) {
		cg.parent, cg.parentThread, cg.exitSignal = g.parent, g.parentThread, g.exitSignal
	}
	if cg.parent != nil {
		cg.parent.children[cg] = struct{}{}
	}
	cg.joinGroupLocked(g.pgrp)
	return pidfd, event, nil
}

// inheritGroup gives a new process what it has from the one that made it.
func (g *ThreadGroup) inheritGroup(cg *ThreadGroup, a *CloneArgs) {
	switch {
	case a.has(unix.CLONE_SIGHAND):
		cg.handlers = g.handlers
	default:
		cg.handlers = g.handlers.fork()
		if a.has(unix.CLONE_CLEAR_SIGHAND) {
			cg.handlers.clear()
		}
	}
	cg.ttyGivenUp = g.ttyGivenUp
	cg.cgroup = g.cgroup
	cg.memoryOwner.Store(g.memoryOwner.Load())
	cg.oomScoreAdj.Store(g.oomScoreAdj.Load())
}

// abandon drops a child that never came to be.
func (t *Task) abandon() {
	t.dropAll()
	t.uncountLocked()
}

// dropAll gives back what a task has that is in no tree.
func (t *Task) dropAll() {
	t.group = &ThreadGroup{k: t.k}
	t.vforkDone = nil
	t.releaseFiles()
	t.releaseMemory()
	t.namespaces.decRef()
}
