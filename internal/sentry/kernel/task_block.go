package kernel

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/hrtimer"

	"golang.org/x/sys/unix"
)

// Block sleeps until ch receives (nil), a signal that must be handled arrives
// or the task is killed (ERESTARTSYS), or deadline passes (ETIMEDOUT). A zero
// deadline never passes. No lock may be held.
func (t *Task) Block(ch <-chan struct{}, deadline time.Time) error {
	select {
	case <-ch:
		return nil
	default:
	}
	var expired <-chan struct{}
	if !deadline.IsZero() {
		d := time.Until(deadline)
		if d <= 0 {
			return unix.ETIMEDOUT
		}
		if t.timer == nil {
			t.expired = make(chan struct{}, 1)
			t.timer = hrtimer.New(t.expire)
		}
		t.timer.Reset(d)
		expired = t.expired
		defer t.timer.Stop()
	}
	t.giving.slept()
	t.rest()
	t.clock.pause(t, modeBlocked)
	defer t.clock.resume(t)
	for {
		if t.Interrupted() {
			return abi.ERESTARTSYS
		}
		select {
		case <-ch:
			return nil
		case <-t.wake:
		case <-expired:
			d := time.Until(deadline)
			if d <= 0 {
				return unix.ETIMEDOUT
			}
			// It was about a deadline before, or the clock has been set back.
			t.timer.Reset(d)
		}
	}
}

// expire is called when Block's timer is due.
func (t *Task) expire() {
	select {
	case t.expired <- struct{}{}:
	default:
	}
}

// rest tells the platform that the task is about to sleep.
func (t *Task) rest() {
	if t.ctx != nil {
		t.ctx.Rest()
	}
}

// BlockKillable sleeps until ch receives or is closed (nil), or the task is
// killed (ERESTARTSYS): other signals wait, as for vfork(2).
func (t *Task) BlockKillable(ch <-chan struct{}) error {
	t.rest()
	t.clock.pause(t, modeUninterruptible)
	defer t.clock.resume(t)
	for {
		t.group.mu.Lock()
		killed := t.killed
		t.group.mu.Unlock()
		if killed {
			t.markWork()
			return abi.ERESTARTSYS
		}
		select {
		case <-ch:
			return nil
		case <-t.wake:
			// What woke the task is looked at on the way back to the guest.
			t.markWork()
		}
	}
}

// Asleep runs wait, which sleeps for a lock whose holder may sleep for long, as
// the users of a FUSE server do: the task is in state D meanwhile.
func (t *Task) Asleep(wait func()) {
	t.rest()
	t.clock.pause(t, modeUninterruptible)
	defer t.clock.resume(t)
	wait()
}

// Interrupted reports whether the task must go back to handle a signal, a
// stop or its end, so that a call may not go on sleeping.
func (t *Task) Interrupted() bool {
	if !t.work.Load() {
		return false
	}
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.mustReturnLocked()
}

// Dying reports whether the task must end, so that what works for long and is
// not interrupted by signals stops even so.
func (t *Task) Dying() bool {
	if !t.work.Load() {
		return false
	}
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.killed
}

// mustReturnLocked: see Interrupted.
func (t *Task) mustReturnLocked() bool {
	return t.killed || t.mustStopLocked() || t.ptrace.trap || t.deliverableLocked() != 0 ||
		(t.pending.set|t.group.pending.set)&t.waitingFor != 0
}

// deliverableLocked are the pending signals that are not blocked.
func (t *Task) deliverableLocked() abi.SignalSet {
	return (t.pending.set | t.group.pending.set) &^ t.blocked.load()
}

// markWork makes the task look at its signals before guest code goes on. It is
// for the task's own goroutine.
func (t *Task) markWork() { t.work.Store(true) }

// kickLocked makes the task look at its signals soon, whatever it is doing.
// group.mu is held, so that the context stays.
func (t *Task) kickLocked() {
	t.work.Store(true)
	select {
	case t.wake <- struct{}{}:
	default:
	}
	// A task that must end is interrupted in the kernel too: it may wait for a
	// stub that its guest has broken.
	if t.ctx != nil && (t.killed || t.mode.Load() == modeGuest) {
		// After vfork(2) another process would end with the stub: it waits for the answer as ever.
		last := t.group.exiting && t.mem != nil && t.mem.Users() <= len(t.group.threads)
		t.ctx.Interrupt(last)
	}
}
