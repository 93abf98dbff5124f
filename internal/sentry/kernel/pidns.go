package kernel

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	// PIDMax is one more than the highest ID (/proc/sys/kernel/pid_max).
	PIDMax = 4194304
	// reservedPIDs are not used again after the numbers wrapped around.
	reservedPIDs = 300
	// InitPID is the ID of a namespace's first process.
	InitPID = 1
	// maxPIDLevel is how deep PID namespaces nest (pid_namespaces(7)).
	maxPIDLevel = 32
)

// PIDNamespace numbers tasks, process groups and sessions (pid_namespaces(7)).
// What is numbered in one has a number in all that it lies in too. Kernel.mu
// guards it.
type PIDNamespace struct {
	namespace
	k      *Kernel
	parent *PIDNamespace
	level  int
	// last is the number given last; the search goes on from it, so that a
	// number is not used again soon.
	last int32
	ids  pidTable
	// init is the first process. It takes in orphans, and all end with it.
	init *ThreadGroup
	// started says that there is, or was, one.
	started atomic.Bool
	// ending says that init is about to be gone: nothing is numbered any more.
	// empty is closed when no more than own numbers are left, those of init and
	// of its last thread.
	ending bool
	own    int
	empty  chan struct{}

	// proc is the proc file system that shows the namespace, if it was mounted.
	procMu sync.Mutex
	proc   vfs.FileSystem
}

// Proc is the proc file system that shows the namespace; create makes it the
// first time.
func (ns *PIDNamespace) Proc(create func() vfs.FileSystem) vfs.FileSystem {
	ns.procMu.Lock()
	defer ns.procMu.Unlock()
	if ns.proc == nil {
		ns.proc = create()
	}
	return ns.proc
}

// pid is what goes by one number, which differs from namespace to namespace.
// It is free when no object goes by it.
type pid struct {
	ns *PIDNamespace
	// numbers are those in all namespaces that ns lies in, by level; they never
	// change.
	numbers []int32
	first   [1]int32 // the array of numbers where there is only one

	task    *Task
	group   *ThreadGroup
	pgrp    *ProcessGroup
	session *Session
	// tracee is a thread that has ended, whose tracer has not waited yet.
	tracee *Task
}

func newPIDNamespace(k *Kernel, parent *PIDNamespace, n namespace) *PIDNamespace {
	ns := &PIDNamespace{namespace: n, k: k, parent: parent, empty: make(chan struct{})}
	if parent != nil {
		ns.level = parent.level + 1
	}
	return ns
}

// own is the number in the innermost namespace.
func (p *pid) own() int32 { return p.numbers[len(p.numbers)-1] }

// in is the number in ns, 0 if it cannot be seen from there.
func (p *pid) in(ns *PIDNamespace) int32 {
	if p == nil || ns.level >= len(p.numbers) || !p.ns.Within(ns) {
		return 0
	}
	return p.numbers[ns.level]
}

// Within reports whether ns is anc or lies in it.
func (ns *PIDNamespace) Within(anc *PIDNamespace) bool {
	for ns.level > anc.level {
		ns = ns.parent
	}
	return ns == anc
}

// Parent is the namespace in which ns was made, or nil.
func (ns *PIDNamespace) Parent() *PIDNamespace { return ns.parent }

// chosenPIDs are numbers that a new task is to have: that in its PID namespace
// first, then those in what this lies in. by is who asks for them.
type chosenPIDs struct {
	numbers []int32
	by      *auth.Credentials
}

// alloc numbers something new in ns and those that ns lies in, as chosen says;
// where it says nothing, by a free number. EAGAIN if there is none left; ENOMEM
// once the namespace's first process is ending; EINVAL, EPERM and EEXIST as of
// set_tid in clone3(2).
func (ns *PIDNamespace) alloc(chosen chosenPIDs) (*pid, error) {
	if len(chosen.numbers) > ns.level+1 {
		return nil, unix.EINVAL
	}
	p := &pid{ns: ns}
	p.numbers = p.first[:]
	if ns.level > 0 {
		p.numbers = make([]int32, ns.level+1)
	}
	if ns.ending {
		return nil, unix.ENOMEM
	}
	for at := ns; at != nil; at = at.parent {
		var n int32
		var err error
		if i := ns.level - at.level; i < len(chosen.numbers) {
			n, err = at.claim(chosen.by, chosen.numbers[i])
		} else if n, err = at.free(); err == nil {
			at.last = n
		}
		if err != nil {
			p.drop()
			return nil, err
		}
		p.numbers[at.level] = n
		at.ids.add(n, p)
	}
	return p, nil
}

// claim checks that a number may be chosen: by who has CAP_CHECKPOINT_RESTORE or
// CAP_SYS_ADMIN over the namespace, if nothing goes by it, and if the namespace
// has its first process or the number is that process's.
func (ns *PIDNamespace) claim(c *auth.Credentials, n int32) (int32, error) {
	switch {
	case n < 1 || n >= PIDMax, n != InitPID && ns.init == nil:
		return 0, unix.EINVAL
	case !c.CanIn(ns.owner, unix.CAP_CHECKPOINT_RESTORE) && !c.CanIn(ns.owner, unix.CAP_SYS_ADMIN):
		return 0, unix.EPERM
	case ns.ids.get(n) != nil:
		return 0, unix.EEXIST
	}
	return n, nil
}

// free finds a number that nothing goes by.
func (ns *PIDNamespace) free() (int32, error) {
	n := ns.last
	for range PIDMax {
		if n++; n >= PIDMax {
			n = reservedPIDs
		}
		if ns.ids.get(n) == nil {
			return n, nil
		}
	}
	return 0, unix.EAGAIN
}

// drop frees the numbers.
func (p *pid) drop() {
	for at := p.ns; at != nil; at = at.parent {
		if n := p.numbers[at.level]; n != 0 {
			at.ids.remove(n)
		}
		at.checkEmpty()
	}
}

// release frees the numbers if nothing goes by them any more.
func (p *pid) release() {
	if p.task == nil && p.group == nil && p.pgrp == nil && p.session == nil && p.tracee == nil {
		p.drop()
	}
}

// checkEmpty lets init end once it is alone in an ending namespace.
func (ns *PIDNamespace) checkEmpty() {
	if !ns.ending || ns.ids.count > ns.own {
		return
	}
	select {
	case <-ns.empty:
	default:
		close(ns.empty)
	}
}

// end kills all but init, whose last thread is t and is ending itself, and waits
// until nothing is left of them: as on Linux a zombie whose parent is elsewhere
// is waited for.
func (ns *PIDNamespace) end(t *Task) {
	k := ns.k
	var notices []func()
	k.mu.Lock()
	ns.ending, ns.own = true, 1
	if t.pid.Load() != ns.init.pid {
		ns.own++
	}
	ns.ids.after(0, func(p *pid) bool {
		switch g := p.group; {
		case g == nil || g == ns.init:
		case g.zombie && g.parent == ns.init:
			g.reapLocked(false)
		case !g.zombie:
			notices = append(notices, g.Kill)
		}
		return true
	})
	ns.checkEmpty()
	k.mu.Unlock()
	for _, f := range notices {
		f()
	}
	<-ns.empty
}

// LastPID is the number given last (/proc/loadavg).
func (ns *PIDNamespace) LastPID() int32 {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	return ns.last
}

// PIDs returns the PID namespace that the sandbox starts with.
func (k *Kernel) PIDs() *PIDNamespace { return k.pids }

// PIDs returns the PID namespace that the task is in.
func (t *Task) PIDs() *PIDNamespace { return t.pid.Load().ns }

// PIDs returns the PID namespace that the process is in.
func (g *ThreadGroup) PIDs() *PIDNamespace { return g.pid.ns }

// Task returns the living thread with a number, or nil.
func (ns *PIDNamespace) Task(tid int32) *Task {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	if p := ns.ids.get(tid); p != nil {
		return p.task
	}
	return nil
}

// ThreadGroup returns the process with a number, zombies included, or nil.
func (ns *PIDNamespace) ThreadGroup(pid int32) *ThreadGroup {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	return ns.threadGroupLocked(pid)
}

func (ns *PIDNamespace) threadGroupLocked(pid int32) *ThreadGroup {
	if p := ns.ids.get(pid); p != nil {
		return p.group
	}
	return nil
}

// ProcessGroup returns the process group with a number, or nil.
func (ns *PIDNamespace) ProcessGroup(pgid int32) *ProcessGroup {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	if p := ns.ids.get(pgid); p != nil {
		return p.pgrp
	}
	return nil
}

// Session returns the session with a number, or nil.
func (ns *PIDNamespace) Session(sid int32) *Session {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	if p := ns.ids.get(sid); p != nil {
		return p.session
	}
	return nil
}

// ThreadGroups are the processes that can be seen from ns, zombies included,
// by number.
func (ns *PIDNamespace) ThreadGroups() []*ThreadGroup {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	return ns.threadGroupsAfterLocked(0, ns.ids.count)
}

// ThreadGroupsAfter are those with numbers above n, which is not negative, the
// first most of them.
func (ns *PIDNamespace) ThreadGroupsAfter(n int32, most int) []*ThreadGroup {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	return ns.threadGroupsAfterLocked(n, most)
}

func (ns *PIDNamespace) threadGroupsAfterLocked(n int32, most int) []*ThreadGroup {
	list := make([]*ThreadGroup, 0, min(most, ns.ids.count))
	ns.ids.after(n, func(p *pid) bool {
		if p.group != nil {
			list = append(list, p.group)
		}
		return len(list) < most
	})
	return list
}

// ThreadGroupCount is how many processes can be seen from ns.
func (ns *PIDNamespace) ThreadGroupCount() int {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	if ns.level == 0 {
		return len(ns.k.groups)
	}
	n := 0
	ns.ids.after(0, func(p *pid) bool {
		if p.group != nil {
			n++
		}
		return true
	})
	return n
}

// The methods below name objects as ns does; 0 is what cannot be seen there.

// TIDIn is the thread's number.
func (t *Task) TIDIn(ns *PIDNamespace) int32 { return t.pid.Load().in(ns) }

// IDIn is the process's number.
func (g *ThreadGroup) IDIn(ns *PIDNamespace) int32 { return g.pid.in(ns) }

// IDIn is the process group's number; that of no group is 0.
func (pg *ProcessGroup) IDIn(ns *PIDNamespace) int32 {
	if pg == nil {
		return 0
	}
	return pg.pid.in(ns)
}

// IDIn is the session's number.
func (s *Session) IDIn(ns *PIDNamespace) int32 { return s.pid.in(ns) }

// Numbers are the process's numbers in ns and in those inside of it that the
// process is in, outermost first (/proc/PID/status, NStgid).
func (g *ThreadGroup) Numbers(ns *PIDNamespace) []int32 { return g.pid.from(ns) }

// Numbers are the thread's, likewise.
func (t *Task) Numbers(ns *PIDNamespace) []int32 { return t.pid.Load().from(ns) }

// Numbers are the group's, likewise.
func (pg *ProcessGroup) Numbers(ns *PIDNamespace) []int32 {
	if pg == nil {
		return []int32{0}
	}
	return pg.pid.from(ns)
}

// Numbers are the session's, likewise.
func (s *Session) Numbers(ns *PIDNamespace) []int32 { return s.pid.from(ns) }

func (p *pid) from(ns *PIDNamespace) []int32 {
	if p.in(ns) == 0 {
		return []int32{0}
	}
	return p.numbers[ns.level:]
}

// FirstPID is the task's process as the sandbox's first namespace numbers it,
// for what may be shown in others; Renumber turns such a number into ns's, 0
// for one that cannot be seen there.
func (t *Task) FirstPID() int32 { return t.group.pid.numbers[0] }

func (ns *PIDNamespace) Renumber(first int32) int32 {
	if ns.level == 0 || first <= 0 {
		return first
	}
	g := ns.k.pids.ThreadGroup(first)
	if g == nil {
		return 0
	}
	return g.IDIn(ns)
}

// newChildPIDNamespace makes a namespace within the task's for its children.
// ENOSPC if they nest too deep or are too many; EINVAL if the children have
// one of their own already.
func (t *Task) newChildPIDNamespace(owner *auth.UserNamespace) (*PIDNamespace, error) {
	parent := t.Namespaces().PIDForChildren
	if parent != t.PIDs() || !owner.Within(parent.owner) {
		return nil, unix.EINVAL
	}
	if parent.level >= maxPIDLevel {
		return nil, unix.ENOSPC
	}
	n, err := t.k.newNamespace(owner)
	if err != nil {
		return nil, err
	}
	return newPIDNamespace(t.k, parent, n), nil
}
