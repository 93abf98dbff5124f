package kernel

import "golang.org/x/sys/unix"

const (
	// PIDMax is one more than the highest ID (/proc/sys/kernel/pid_max).
	PIDMax = 4194304
	// reservedPIDs are not used again after the numbers wrapped around.
	reservedPIDs = 300
	// InitPID is the ID of the first process.
	InitPID = 1
)

// PIDNamespace numbers tasks, process groups and sessions (pid_namespaces(7)).
// There is one for now. Kernel.mu guards it.
type PIDNamespace struct {
	k *Kernel
	// last is the number given last; the search goes on from it, so that a
	// number is not used again soon.
	last int32
	ids  map[int32]*pid
}

// pid is what goes by one number. It is free when all are nil.
type pid struct {
	task    *Task
	group   *ThreadGroup
	pgrp    *ProcessGroup
	session *Session
}

func newPIDNamespace(k *Kernel) *PIDNamespace {
	return &PIDNamespace{k: k, ids: make(map[int32]*pid)}
}

// alloc returns a free number and its entry. EAGAIN if there is none.
func (ns *PIDNamespace) alloc() (int32, *pid, error) {
	n := ns.last
	for range PIDMax {
		if n++; n >= PIDMax {
			n = reservedPIDs
		}
		if ns.ids[n] == nil {
			p := new(pid)
			ns.ids[n], ns.last = p, n
			return n, p, nil
		}
	}
	return 0, nil, unix.EAGAIN
}

// release frees the number if nothing goes by it any more.
func (ns *PIDNamespace) release(n int32) {
	if p := ns.ids[n]; p != nil && *p == (pid{}) {
		delete(ns.ids, n)
	}
}

// LastPID is the number given last (/proc/loadavg).
func (ns *PIDNamespace) LastPID() int32 {
	ns.k.mu.Lock()
	defer ns.k.mu.Unlock()
	return ns.last
}

// PIDs returns the PID namespace of the sandbox.
func (k *Kernel) PIDs() *PIDNamespace { return k.pids }

// Task returns the living thread with a number, or nil.
func (k *Kernel) Task(tid int32) *Task {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pids.ids[tid]; p != nil {
		return p.task
	}
	return nil
}

// ThreadGroup returns the process with a number, zombies included, or nil.
func (k *Kernel) ThreadGroup(pid int32) *ThreadGroup {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.threadGroupLocked(pid)
}

func (k *Kernel) threadGroupLocked(pid int32) *ThreadGroup {
	if p := k.pids.ids[pid]; p != nil {
		return p.group
	}
	return nil
}

// ProcessGroup returns the process group with a number, or nil.
func (k *Kernel) ProcessGroup(pgid int32) *ProcessGroup {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pids.ids[pgid]; p != nil {
		return p.pgrp
	}
	return nil
}

// Session returns the session with a number, or nil.
func (k *Kernel) Session(sid int32) *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pids.ids[sid]; p != nil {
		return p.session
	}
	return nil
}
