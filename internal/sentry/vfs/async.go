package vfs

import (
	"sync/atomic"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// AsyncOwner is who gets SIGIO and SIGURG, as fcntl(2)'s F_SETOWN says.
type AsyncOwner struct {
	Type, PID, Signal int32
	// Tell sends the owner a signal, SIGIO or SIGURG. It may take locks; nil if there is
	// no owner. fd and events are for SIGIO.
	Tell func(o *AsyncOwner, signal unix.Signal, fd int32, events waiter.Mask)
}

// Owner returns the asynchronous-I/O owner, or nil.
func (d *FileDescription) Owner() *AsyncOwner { return d.owner.Load() }

// SetOwner sets it.
func (d *FileDescription) SetOwner(o *AsyncOwner) { d.owner.Store(o) }

// Urge sends SIGURG to the owner, soon: the caller may hold locks.
func (d *FileDescription) Urge() {
	if d.Owner() != nil {
		d.urgent.add(waiter.Pri, d.tellUrgent)
	}
}

func (d *FileDescription) tellUrgent(waiter.Mask) {
	if o := d.Owner(); o != nil && o.Tell != nil {
		o.Tell(o, unix.SIGURG, 0, 0)
	}
}

// news are events that somebody is to be told of. To tell takes locks, which those who add an
// event may hold: that is left to a goroutine, of which there is one at a time, however fast
// events come.
type news struct {
	// pending are the events that have come since the last ones were told, and telling.
	pending atomic.Uint32
}

// telling says that the goroutine is there. It is no event.
const telling = 1 << 31

// add has tell called soon, with what has come since it was last.
func (n *news) add(m waiter.Mask, tell func(waiter.Mask)) {
	if n.pending.Or(uint32(m)|telling)&telling == 0 {
		go n.tell(tell)
	}
}

func (n *news) tell(tell func(waiter.Mask)) {
	for {
		if m := n.pending.Swap(telling) &^ telling; m != 0 {
			tell(waiter.Mask(m))
		} else if n.pending.CompareAndSwap(telling, 0) {
			return
		}
	}
}

// asyncIO is a description's registration for O_ASYNC.
type asyncIO struct {
	d     *FileDescription
	fd    int32
	entry waiter.Entry
	news  news
}

// SetAsync has the owner told, or not, when the file becomes ready. fd is the descriptor
// that its siginfo_t shall name.
func (d *FileDescription) SetAsync(on bool, fd int32) {
	d.closeMu.Lock()
	defer d.closeMu.Unlock()
	switch {
	case on && d.async == nil:
		a := &asyncIO{d: d, fd: fd}
		a.entry.Listener = a
		a.entry.Mask = waiter.Err | waiter.Hup | waiter.Pri
		if d.CanRead() {
			a.entry.Mask |= waiter.In
		}
		if d.CanWrite() {
			a.entry.Mask |= waiter.Out
		}
		d.async = a
		d.Register(&a.entry)
	case !on && d.async != nil:
		d.Unregister(&d.async.entry)
		d.async = nil
	}
}

// NotifyEvent implements waiter.Listener.
func (a *asyncIO) NotifyEvent(m waiter.Mask) { a.news.add(m, a.tell) }

func (a *asyncIO) tell(m waiter.Mask) {
	if o := a.d.Owner(); o != nil && o.Tell != nil && a.d.Flags()&unix.O_ASYNC != 0 {
		o.Tell(o, unix.SIGIO, a.fd, m)
	}
}
