package kernel

import (
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// tryWaitTracee looks for a traced task with something to tell. any says that
// there is one that the selector means. Kernel.mu is held.
func (t *Task) tryWaitTracee(w *WaitSelector) (res WaitResult, any, found bool) {
	for o := range t.group.tracees {
		if !w.matchesTracee(t, o) {
			continue
		}
		any = true
		if res, found = t.collectTracee(o, w.Options); found {
			return res, true, true
		}
	}
	return res, any, false
}

// matchesTracee is matches for a traced task, which is waited for by its own
// number, whatever its exit signal.
func (w *WaitSelector) matchesTracee(t, o *Task) bool {
	g := o.group
	switch {
	case w.PID != 0 && o.TIDIn(t.PIDs()) != w.PID,
		w.PGID != 0 && g.pgrp.IDIn(t.PIDs()) != w.PGID,
		w.Child != nil && (g != w.Child || o != g.leader),
		w.Options&WNOTHREAD != 0 && o.ptrace.tracer != t:
		return false
	}
	return true
}

// collectTracee takes what o has to tell: a stop, or its end if its process is
// not t's child too. Kernel.mu is held.
func (t *Task) collectTracee(o *Task, options uint32) (res WaitResult, found bool) {
	g := o.group
	keep := options&WNOWAIT != 0
	res.PID, res.UID = o.TIDIn(t.PIDs()), t.Credentials().UserNS.FromUID(o.Credentials().RUID)
	g.mu.Lock()
	times := g.timesLocked()
	res.User, res.System = time.Duration(times.user), time.Duration(times.system)
	if s := o.ptrace.stop; s != nil && !s.reported && !s.listening {
		s.reported = !keep
		g.mu.Unlock()
		res.Code, res.Status = abi.CLD_TRAPPED, s.code
		res.Wait = uint32(s.code)<<8 | 0x7f
		return res, true
	}
	status := o.ptrace.status
	if g.exiting {
		status = g.exitCode
	}
	g.mu.Unlock()
	switch {
	case options&WEXITED == 0:
		return res, false
	case o == g.leader && g.zombie && g.tracedAbroadLocked():
		status = g.exitStatus
	case !o.ptrace.ended:
		return res, false
	}
	res.Code, res.Status = endOf(status)
	res.Wait = uint32(status)
	if !keep {
		var notices []func()
		o.forgetTraceeLocked(0, &notices)
		res.after = notices
	}
	return res, true
}

// hideTraced returns what of options applies to the child c as a child,
// because its tracer is told of the rest: of stops if that is of the process
// that waits, else of the end.
func (t *Task) hideTraced(c *ThreadGroup, options uint32) uint32 {
	switch tracer := c.leader.ptrace.tracer; {
	case tracer == nil:
		return options
	case tracer.group == t.group:
		return options &^ WSTOPPED
	default:
		return options &^ WEXITED
	}
}

// TracerPID is the process of the task's tracer as ns numbers it, or 0
// (/proc/PID/status).
func (t *Task) TracerPID(ns *PIDNamespace) int32 {
	if tracer := t.Tracer(); tracer != nil {
		return tracer.group.IDIn(ns)
	}
	return 0
}

// QueuedSignals returns up to n of the siginfos that are pending for the
// stopped task, or with shared for its process, from number first on
// (PTRACE_PEEKSIGINFO).
func (o StoppedTask) QueuedSignals(shared bool, first uint64, n int) []abi.Siginfo {
	g := o.group
	g.mu.Lock()
	defer g.mu.Unlock()
	q := &o.pending
	if shared {
		q = &g.pending
	}
	var list []abi.Siginfo
	for s := q.head; s != nil && len(list) < n; s = s.next {
		if first > 0 {
			first--
			continue
		}
		list = append(list, s.info)
	}
	return list
}

// SetTraceeMask is PTRACE_SETSIGMASK. It is for the stopped task's goroutine:
// see Do.
func (o StoppedTask) SetTraceeMask(s abi.SignalSet) {
	o.hasSavedMask = false
	o.SetSignalMask(s)
}

// TraceeMask is PTRACE_GETSIGMASK, likewise.
func (o StoppedTask) TraceeMask() abi.SignalSet {
	if o.hasSavedMask {
		return o.savedMask
	}
	return o.SignalMask()
}

// SeccompFilterAt returns the instructions of the task's filter number n,
// counted from the oldest: EINVAL without filters, ENOENT beyond the newest.
func (o StoppedTask) SeccompFilterAt(n uint64) ([]unix.SockFilter, error) {
	s := o.seccomp.Load()
	if s == nil || s.filter == nil {
		return nil, unix.EINVAL
	}
	if n >= uint64(s.filter.depth) {
		return nil, unix.ENOENT
	}
	f := s.filter
	for f.depth != int(n)+1 {
		f = f.prev
	}
	return f.prog.Instructions(), nil
}
