package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// execve(2) has three steps here. Before the first the file has been found to
// be good; after the first the caller's program can't go on, so a failure of a
// later one ends the process.

// BeginExec is the point of no return: all other threads of the process end,
// and the task becomes its leader. On error, which is for the guest, the
// process is being ended by another thread.
func (t *Task) BeginExec() error {
	k, g := t.k, t.group
	if err := t.endOthers(nil); err != nil {
		return err
	}

	t.ptrace.formerTID = t.TID()
	k.mu.Lock()
	g.mu.Lock()
	t.becomeLeaderLocked()
	g.mu.Unlock()
	k.mu.Unlock()

	if t.mem != nil {
		if t.mem.Users() > 1 {
			t.dropRseq()
		}
		t.ExecFutexes()
		if t.clearTID != 0 && t.mem.Users() > 1 {
			t.ClearTID(t.clearTID)
		}
	}
	t.clearTID = 0
	return nil
}

// endOthers ends all other threads of the process, and waits for that; they leave
// their state for dump, if there is one. EAGAIN if another thread is about to do
// so, or to end the process.
func (t *Task) endOthers(dump *coreDump) error {
	g := t.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.killed || g.exec != nil {
		return unix.EAGAIN
	}
	g.dump = dump
	if len(g.threads) == 1 {
		return nil
	}
	alone := make(chan struct{})
	g.exec, g.execAlone = t, alone
	for _, o := range g.threads {
		if o != t {
			o.killed = true
			o.kickLocked()
		}
	}
	g.mu.Unlock()
	err := t.BlockKillable(alone)
	g.mu.Lock()
	g.exec, g.execAlone = nil, nil
	return err
}

// becomeLeaderLocked gives the only thread the process's number, which its
// former leader had.
func (t *Task) becomeLeaderLocked() {
	g := t.group
	old := g.leader
	if old == t {
		return
	}
	if tracer := old.ptrace.tracer; tracer != nil {
		// To the tracer it looks as if the leader had gone on.
		delete(tracer.group.tracees, old)
		old.ptrace.tracer = nil
	}
	former := t.pid.Load()
	former.task = nil
	former.release()
	g.pid.task = t
	t.pid.Store(g.pid)
	t.start = old.start
	g.leader, g.leaderStatus = t, 0
	old.uncountLocked()
}

// ReplaceMemory gives the task an empty address space for its new program, and
// a parent in vfork(2) its own back.
func (t *Task) ReplaceMemory(noRandomize bool) (*mm.MemoryManager, platform.Context, error) {
	g := t.group
	old := t.ctx
	mem, ctx, reused, err := mm.Exec(t.k.Platform, t.mem, t.ctx, g, noRandomize)
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	t.mem, t.ctx = mem, ctx
	g.usage.enter(mem.AddressSpace())
	g.mu.Unlock()
	t.k.watchMemory(mem)
	if old != nil && !reused {
		old.Release()
	}
	t.letGo()
	if err := t.enterTimeForChildren(); err != nil {
		return nil, nil, err
	}
	return mem, ctx, nil
}

// FinishExec resets what does not survive execve(2), and has the program run
// next. creds are the identities to go on with.
func (t *Task) FinishExec(entry, stack uint64, comm string, creds *auth.Credentials) {
	k, g := t.k, t.group
	old := t.Credentials()
	g.DeletePosixTimers()
	k.mu.Lock()
	g.execed = true
	g.exitSignal = int32(unix.SIGCHLD)
	if old.EUID != creds.EUID || old.EGID != creds.EGID {
		t.deathSignal = 0
	}
	g.mu.Lock()
	g.handlers = g.handlers.fork()
	g.handlers.clear()
	g.mu.Unlock()
	k.mu.Unlock()
	t.altStack = abi.Stack{}
	t.restart, t.restartFn = 0, nil
	if t.fds.Shared() {
		mine := t.fds.Fork()
		shared := t.SetFDs(mine)
		for _, f := range shared.DecRef() {
			_ = shared.Close(t, f)
		}
	}
	for _, f := range t.fds.RemoveCloexec() {
		_ = t.fds.Close(t, f)
	}
	t.SetComm(comm)
	g.memoryOwner.Store(creds.UserNS)
	t.SetCredentials(creds)
	r := t.ctx.Regs()
	r.Rip, r.Rsp = entry, stack
	r.Orig_rax = ^uint64(0)
	t.checkRip()
	t.ptraceExec()
}

// ExecFailed ends the process by SIGSEGV, as Linux does when execve(2) fails where
// the old program is gone already. There is nothing to dump.
func (t *Task) ExecFailed() {
	t.group.end(Signaled(int32(unix.SIGSEGV), false))
	t.markWork()
}
