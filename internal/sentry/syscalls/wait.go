package syscalls

import (
	"sync"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// sleeper is what one wait needs; they are pooled so that waiting does not
// allocate.
type sleeper struct {
	entry waiter.Entry
	ch    waiter.Channel
}

var sleepers = sync.Pool{New: func() any {
	s := &sleeper{ch: waiter.NewChannel()}
	s.entry.Listener = s.ch
	return s
}}

// waitFor calls try until it answers anything but EAGAIN, and sleeps in
// between until w reports an event of mask (Err and Hup always count). It
// returns try's last error, or Task.Block's: ERESTARTSYS if a signal
// interrupts the sleep, ETIMEDOUT when deadline passes; a zero deadline never
// does. The caller deals with non-blocking descriptions itself, and turns the
// errors into what its call promises (EAGAIN for SO_RCVTIMEO, say).
//
// try must not keep a lock, and must not have taken anything when it returns
// EAGAIN. It is called once before anything is registered, so a caller need
// not try first for speed.
func waitFor(t *kernel.Task, w waiter.Waitable, mask waiter.Mask, deadline time.Time, try func() error) error {
	if err := try(); err != unix.EAGAIN {
		return err
	}
	s := sleepers.Get().(*sleeper)
	s.entry.Mask = mask | waiter.Always
	w.Register(&s.entry)
	err := s.loop(t, deadline, try)
	w.Unregister(&s.entry)
	// Nothing can be sent any more: leave the channel empty for the next wait.
	select {
	case <-s.ch:
	default:
	}
	sleepers.Put(s)
	return err
}

func (s *sleeper) loop(t *kernel.Task, deadline time.Time, try func() error) error {
	for {
		// Tried after registering: an event in between is in the channel.
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(s.ch, deadline); err != nil {
			if err != unix.ETIMEDOUT {
				return err
			}
			// What is there by now counts, though it has woken nobody: a little room, for example.
			if last := try(); last != unix.EAGAIN {
				return last
			}
			return err
		}
	}
}
