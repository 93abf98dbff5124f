package kernel

import (
	"slices"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// A signal to several processes reaches all that there are at one moment: Kernel.mu
// is held from when the first is found until the last has it. A process that is about
// to join them has it from its parent (ThreadGroup.forking).

// SendToGroup is kill(2) for a process group: it succeeds if one of the processes could
// be sent the signal. ESRCH if there is none (pg may be nil), EPERM.
func (t *Task) SendToGroup(pg *ProcessGroup, info *abi.Siginfo) error {
	if pg == nil {
		return unix.ESRCH
	}
	var notices []func()
	result, sent := error(unix.ESRCH), false
	t.k.mu.Lock()
	for g := range pg.members {
		if err := t.sendOneOfLocked(g, info, &notices); err == nil {
			sent = true
		} else {
			result = err
		}
	}
	t.k.mu.Unlock()
	runAll(notices)
	if sent {
		return nil
	}
	return result
}

// SendToAll is kill(2) with -1: every process that t sees is sent the signal but the
// first one and its own. ESRCH if there is no other.
func (t *Task) SendToAll(info *abi.Siginfo) error {
	var notices []func()
	found, result := false, error(nil)
	ns := t.PIDs()
	t.k.mu.Lock()
	for _, g := range ns.threadGroupsAfterLocked(InitPID, ns.ids.count) {
		if g == t.group {
			continue
		}
		found = true
		if err := t.sendOneOfLocked(g, info, &notices); err != unix.EPERM {
			result = err
		}
	}
	t.k.mu.Unlock()
	runAll(notices)
	if !found {
		return unix.ESRCH
	}
	return result
}

// Signal sends info, which the kernel makes, to every member. It checks no permission.
func (pg *ProcessGroup) Signal(info *abi.Siginfo) { pg.signal(nil, info, nil) }

// SignalFor is Signal for the members that t may send a signal. One that has too many
// pending is sent instead, unless that is nil.
func (pg *ProcessGroup) SignalFor(t *Task, info, instead *abi.Siginfo) { pg.signal(t, info, instead) }

// SignalFromHost is ThreadGroup.SignalFromHost for all processes in the group.
func (c *Cgroup) SignalFromHost(sig int32) (err error) {
	var notices []func()
	c.k.mu.Lock()
	for _, g := range c.k.groups {
		if g.cgroup != c {
			continue
		}
		if e := g.sendOneOf(kernelSignal(sig), sendOptions{outside: true}, &notices); e != nil {
			err = e
		}
	}
	c.k.mu.Unlock()
	runAll(notices)
	return err
}

func (pg *ProcessGroup) signal(t *Task, info, instead *abi.Siginfo) {
	var notices []func()
	pg.k.mu.Lock()
	for g := range pg.members {
		if t != nil && t.maySignalLocked(g, info.Signo) != nil {
			continue
		}
		if g.sendOneOf(info, sendOptions{}, &notices) != nil && instead != nil {
			_ = g.sendOneOf(instead, sendOptions{}, &notices)
		}
	}
	pg.k.mu.Unlock()
	runAll(notices)
}

// sendOneOfLocked checks permission, and sends unless the signal is 0. Kernel.mu is held,
// and the notices are to be run once it is free.
func (t *Task) sendOneOfLocked(g *ThreadGroup, info *abi.Siginfo, notices *[]func()) error {
	if err := t.maySignalLocked(g, info.Signo); err != nil || info.Signo == 0 {
		return err
	}
	info, o := t.addressed(g, info)
	return g.sendOneOf(info, o, notices)
}

// sendOneOf is send for one of several processes.
func (g *ThreadGroup) sendOneOf(info *abi.Siginfo, o sendOptions, notices *[]func()) error {
	o.many = true
	g.mu.Lock()
	n, err := g.sendLocked(nil, info, o)
	g.mu.Unlock()
	*notices = append(*notices, func() { n.run(g) })
	if err == errIgnored {
		return nil
	}
	return err
}

func runAll(notices []func()) {
	for _, f := range notices {
		f()
	}
}

// beginFork has missed get the signals that the child of a fork(2) of t would miss, until
// endFork. False says that a signal waits to be handled first.
func (g *ThreadGroup) beginFork(t *Task, missed *abi.SignalSet) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.killed || t.deliverableLocked() != 0 {
		return false
	}
	g.forking = append(g.forking, missed)
	return true
}

func (g *ThreadGroup) endFork(missed *abi.SignalSet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.forking, missed)
	g.forking = slices.Delete(g.forking, i, i+1)
}

// missLocked has the children that are being made get the signal too. g.mu is held.
func (g *ThreadGroup) missLocked(sig int32) {
	for _, missed := range g.forking {
		missed.Add(sig)
	}
}

// revokeLocked drops the pending signals of the set, which are over with the signal that is
// sent; for several processes also those that children would get. Whether
// SIGCONT is ignored, as it is by default, makes no difference. g.mu is held.
func (g *ThreadGroup) revokeLocked(set abi.SignalSet, o sendOptions) {
	g.discardLocked(set)
	if !o.many {
		return
	}
	for _, missed := range g.forking {
		*missed &^= set
	}
}
