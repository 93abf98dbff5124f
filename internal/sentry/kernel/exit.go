package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Exit ends the thread, as exit(2): the way back to the guest leads to its
// end instead.
func (t *Task) Exit(code int32) {
	t.leaving, t.exitCode = true, Exited(code)
	t.markWork()
}

// exitBySignal ends the thread alone, with the status of a death by sig.
func (t *Task) exitBySignal(sig int32) {
	t.leaving, t.exitCode = true, Signaled(sig, false)
	t.markWork()
}

// ExitGroup ends the process, as exit_group(2).
func (t *Task) ExitGroup(code int32) { t.group.end(Exited(code)) }

// end begins the end of all threads, with the status given.
func (g *ThreadGroup) end(status ExitStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endLocked(status)
}

// exit takes the task apart, on its own goroutine. What it used is given back
// before anyone can learn that it ended.
func (t *Task) exit() {
	t.ptraceEnd()
	t.leaveCore()
	if t.mem != nil {
		if t.mem.Users() > 1 {
			t.dropRseq()
		}
		t.ExitFutexes()
		if t.clearTID != 0 && t.mem.Users() > 1 {
			t.ClearTID(t.clearTID)
		}
	}
	t.clock.pause(t, modeUninterruptible)
	t.releaseFiles()
	t.releaseMemory()
	t.leave()
}

// releaseFiles drops the descriptor table and the directories.
func (t *Task) releaseFiles() {
	fds := t.SetFDs(nil)
	fs := t.fs
	if fds != nil {
		for _, f := range fds.DecRef() {
			_ = fds.Close(t, f)
		}
	}
	// Umask is still asked for by what Flush calls, so fs goes last.
	t.SetFS(nil)
	if fs != nil {
		fs.DecRef()
	}
}

// releaseMemory gives up the context and the address space.
func (t *Task) releaseMemory() {
	g := t.group
	g.mu.Lock()
	ctx, mem := t.ctx, t.mem
	t.ctx, t.mem = nil, nil
	if mem != nil && !g.hasMemoryLocked() {
		g.usage.leave(mem.AddressSpace())
	}
	g.mu.Unlock()
	if ctx != nil {
		ctx.Release()
	}
	if mem != nil {
		mem.DecRef()
	}
	t.letGo()
}

// letGo tells a parent in vfork(2) that its memory is its own again.
func (t *Task) letGo() {
	if t.vforkDone != nil {
		close(t.vforkDone)
		t.vforkDone = nil
	}
}

// leave takes the task out of its process and the tree. The last thread makes
// the process a zombie.
func (t *Task) leave() {
	k, g := t.k, t.group
	var notices []func()
	k.mu.Lock()
	g.mu.Lock()
	for i, o := range g.threads {
		if o == t {
			g.threads = append(g.threads[:i], g.threads[i+1:]...)
			break
		}
	}
	t.gone = true
	t.releaseSeccompLocked()
	t.mode.Store(modeDead)
	t.pending.discard(^abi.SignalSet(0))
	g.deadTimes.add(cpuTimes{t.clock.user.Load(), t.clock.system.Load()})
	last := len(g.threads) == 0
	status := t.endStatusLocked()
	if t == g.leader {
		g.leaderStatus = t.exitCode
	}
	if !last {
		n := g.checkStoppedLocked()
		notices = append(notices, func() { n.run(g) })
		// What it would have taken is for others.
		if g.pending.set != 0 {
			for _, o := range g.threads {
				if o.deliverableLocked() != 0 {
					o.kickLocked()
				}
			}
		}
		if g.exec != nil && len(g.threads) == 1 {
			close(g.execAlone)
			g.execAlone = nil
		}
	}
	namespaces := t.namespaces
	t.namespaces = nil
	g.mu.Unlock()
	if ns := g.PIDs(); last && ns.init == g && g != k.init {
		k.mu.Unlock()
		ns.end(t)
		k.mu.Lock()
	}

	t.sendDeathSignalsLocked(&notices)
	t.dropTraceesLocked(&notices)
	kept := t.leavePtraceLocked(status, &notices)
	if p := t.pid.Load(); p.task == t {
		p.task = nil
		if kept {
			p.tracee = t
		}
		p.release()
	}
	if t != g.leader {
		t.uncountLocked()
	}
	if last {
		g.endGroupLocked(&notices)
		notices = append(notices, func() { namespaces.IPC.Semaphores.EndProcess(g) })
	}
	notices = append(notices, namespaces.decRef)
	k.mu.Unlock()
	for _, f := range notices {
		f()
	}
}

// uncountLocked gives back the place among the limited number of threads.
func (t *Task) uncountLocked() {
	t.k.tasks.Add(-1)
	t.cgroup.removeTask()
	t.user.tasks.Add(-1)
}

// sendDeathSignalsLocked sends PR_SET_PDEATHSIG's signals to children that
// this thread made, and makes them another thread's.
func (t *Task) sendDeathSignalsLocked(notices *[]func()) {
	for c := range t.group.children {
		if c.parentThread != t {
			continue
		}
		c.parentThread = nil
		for _, o := range c.Tasks() {
			if sig := o.deathSignal; sig != 0 {
				*notices = append(*notices, func() { o.Signal(kernelSignal(sig)) })
			}
		}
	}
}

// endGroupLocked makes the process a zombie, finds other parents for its
// children, and tells its own. Kernel.mu is held.
func (g *ThreadGroup) endGroupLocked(notices *[]func()) {
	k := g.k
	g.mu.Lock()
	g.pending.discard(^abi.SignalSet(0))
	g.exitStatus = g.leaderStatus
	if g.exiting {
		g.exitStatus = g.exitCode
	}
	g.mu.Unlock()

	if g == k.init {
		k.ending = true
		k.initStatus = g.exitStatus
		for _, o := range k.groups {
			if o != g {
				*notices = append(*notices, o.Kill)
			}
		}
	}
	for c := range g.children {
		g.reparentLocked(c, notices)
	}
	g.checkOrphansLocked(g, notices)
	if s := g.pgrp.session; s.leader == g {
		s.leader = nil
		*notices = append(*notices, s.hangUp)
	}
	*notices = append(*notices, g.ExitTimers, g.DeletePosixTimers)
	g.becomeZombieLocked(notices)
	close(g.done)
	*notices = append(*notices, func() { g.ended.Notify(waiter.Readable | waiter.Hup) })
	if g == k.init {
		*notices = append(*notices, func() { close(k.initDone) })
	}
}

// becomeZombieLocked makes the end visible to the parent, or reaps the
// process at once if nobody will wait for it.
func (g *ThreadGroup) becomeZombieLocked(notices *[]func()) {
	g.zombie = true
	if g.tracedAbroadLocked() {
		g.tellTracerLocked(notices)
		return
	}
	p := g.parent
	if p == nil {
		g.reapLocked(false)
		return
	}
	auto := g.tellEndLocked(notices)
	if auto {
		g.reapLocked(false)
	}
	*notices = append(*notices, func() { p.childWait.Notify(waiter.In) })
}

// tellTracerLocked sends the leader's tracer SIGCHLD for the end of the process,
// and wakes who waits. The parent is told when the tracer has waited.
func (g *ThreadGroup) tellTracerLocked(notices *[]func()) {
	p := g.leader.ptrace.tracer.group
	info := g.endInfo(p)
	*notices = append(*notices, func() {
		p.Signal(info)
		p.childWait.Notify(waiter.In)
	})
}

// endInfo makes the siginfo of the end of the process for p.
func (g *ThreadGroup) endInfo(p *ThreadGroup) *abi.Siginfo {
	code, status := endOf(g.exitStatus)
	return g.childInfo(p, code, status)
}

// endOf is how SIGCHLD and waitid(2) tell of an end: CLD_* and the exit code or
// signal.
func endOf(s ExitStatus) (code, status int32) {
	if sig := s.Signal(); sig != 0 {
		if s.CoreDumped() {
			return abi.CLD_DUMPED, sig
		}
		return abi.CLD_KILLED, sig
	}
	return abi.CLD_EXITED, s.Code()
}

// tellEndLocked sends the parent the exit signal. It reports whether the
// parent does not want to wait: it ignores SIGCHLD or set SA_NOCLDWAIT.
func (g *ThreadGroup) tellEndLocked(notices *[]func()) (auto bool) {
	p := g.parent
	sig := g.exitSignal
	quiet := false
	if sig == int32(unix.SIGCHLD) {
		act := p.SignalHandlers().Action(sig)
		quiet = act.Handler == abi.SIG_IGN
		auto = quiet || act.Flags&abi.SA_NOCLDWAIT != 0
	}
	if ns := p.PIDs(); ns.ending && ns.init == p {
		// It waits for all at once (PIDNamespace.end).
		auto, quiet = true, true
	}
	if sig == 0 || quiet {
		return auto
	}
	info := g.endInfo(p)
	info.Signo = sig
	// It is sent before the zombie can be seen, so that a parent finds it
	// pending when wait(2) returns.
	p.mu.Lock()
	n, _ := p.sendLocked(nil, info, sendOptions{})
	p.mu.Unlock()
	*notices = append(*notices, func() { n.run(p) })
	return auto
}

// reparentLocked gives the child c of the ending process g to the nearest
// living ancestor that wants orphans, or to PID 1.
func (g *ThreadGroup) reparentLocked(c *ThreadGroup, notices *[]func()) {
	delete(g.children, c)
	c.parent, c.parentThread = g.reaperLocked(), nil
	if c.parent == nil {
		if c.zombie {
			c.reapLocked(false)
		}
		return
	}
	c.parent.children[c] = struct{}{}
	c.exitSignal = int32(unix.SIGCHLD)
	if c.zombie && !c.tracedAbroadLocked() {
		if c.tellEndLocked(notices) {
			c.reapLocked(false)
		}
		p := c.parent
		*notices = append(*notices, func() { p.childWait.Notify(waiter.In) })
	}
	// A stopped job whose last tie to its session was g would stay so for ever.
	g.checkOrphansLocked(c, notices)
}

// reaperLocked is who takes over g's children.
func (g *ThreadGroup) reaperLocked() *ThreadGroup {
	ns := g.PIDs()
	for p := g.parent; p != nil && p.PIDs() == ns; p = p.parent {
		if p.subreaper && !p.zombie {
			return p
		}
	}
	if init := ns.init; init != nil && init != g && !init.zombie && !g.k.ending {
		return init
	}
	return nil
}

// checkOrphansLocked sends SIGHUP and SIGCONT to member's process group if the
// end of g orphans it while a member is stopped (setpgid(2), exit(3p)).
func (g *ThreadGroup) checkOrphansLocked(member *ThreadGroup, notices *[]func()) {
	pg := member.pgrp
	if pg == nil || member != g && (pg == g.pgrp || pg.session != g.pgrp.session) {
		return
	}
	if member == g {
		p := g.parent
		if p == nil || p.pgrp == nil || p.pgrp == pg || p.pgrp.session != pg.session {
			return
		}
	}
	if !pg.orphanedLocked(g) {
		return
	}
	for m := range pg.members {
		if m != g && m.Stopped() {
			*notices = append(*notices, func() {
				pg.Signal(kernelSignal(int32(unix.SIGHUP)))
				pg.Signal(kernelSignal(int32(unix.SIGCONT)))
			})
			return
		}
	}
}

// reapLocked removes a zombie for good. With account its parent gets its
// times, as after a wait.
func (g *ThreadGroup) reapLocked(account bool) {
	k := g.k
	if g.reaped {
		return
	}
	g.reaped = true
	g.cgroup.retireLocked(g)
	if g.leader.ptrace.tracer != nil {
		g.leader.untraceLocked(0)
	}
	if p := g.parent; p != nil {
		delete(p.children, g)
		if account {
			g.mu.Lock()
			total := g.timesLocked()
			total.add(g.childTimes)
			g.mu.Unlock()
			p.mu.Lock()
			p.childTimes.add(total)
			p.usage.collect(&g.usage)
			p.mu.Unlock()
		}
	}
	g.leaveGroupLocked()
	delete(k.groups, g.pid.numbers[0])
	g.pid.group = nil
	g.pid.release()
	g.leader.uncountLocked()
}

// Done is closed when the process has ended; Status is valid then.
func (g *ThreadGroup) Done() <-chan struct{} { return g.done }
