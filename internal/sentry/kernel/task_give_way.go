package kernel

import (
	"runtime"

	"coffer/internal/sentry/platform"
)

// Who sends a request mostly waits for the answer next. Then whoever was woken by it does
// better on this processor, as it is, than on an idle one that an interrupt must wake
// first: the task gives way. Who sends more before it waits does not, since those that it
// wakes would find less at a time.
//
// Who wakes by a futex does not give way: it may hold the mutex that the other one needs
// next, as who signals a condition variable mostly does. Python's queues took twice as long.

// giving is what a task knows of its habits. It is for the task's own goroutine.
type giving struct {
	// waits says that the task slept after a single send, the last time.
	waits bool
	// sent says that it has woken somebody since, to that it gave way with the last send.
	sent bool
	to   any
}

// Woke tells that the task has woken who waited for what it sent to f, a pointer. It may let
// others run; no lock may be held.
func (t *Task) Woke(f any) {
	g := &t.giving
	if g.sent {
		g.waits = false
	}
	g.sent, g.to = true, nil
	if g.waits && t.GiveWay() {
		g.to = f
	}
}

// GiveWay lets others run, who may do what the task waits for next, unless that is dear. No
// lock may be held.
func (t *Task) GiveWay() bool {
	if t.ctx == nil || t.ctx.Bound() {
		return false
	}
	t.ctx.Yield()
	runtime.Gosched()
	return true
}

// Received tells that something came from f: if it is the answer, there is but nothing left
// to wait for.
func (t *Task) Received(f any) {
	if g := &t.giving; g.to != nil && g.to == f {
		g.sent, g.to = false, nil
	}
}

// slept learns from the task's going to sleep.
func (g *giving) slept() {
	if g.sent {
		*g = giving{waits: true}
	}
}

// PutsOff and Later are a platform.Context's, for what the task sends to others.
func (t *Task) PutsOff() bool { return t.ctx != nil && t.ctx.PutsOff() }

func (t *Task) Later(what platform.Later) { t.ctx.Later(what) }
