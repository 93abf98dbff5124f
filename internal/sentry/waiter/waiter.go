// Package waiter tells those who wait that something became ready. It is the
// one way in which anything in the sentry waits: a file that cannot go on
// answers EAGAIN, its user registers an Entry with the file's Queue, tries
// again, and sleeps until the Entry is notified.
//
// A Queue's lock is a leaf: no other lock is taken under it, and a Listener
// must neither block nor take a lock that is held around Notify.
package waiter

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Mask is a set of readiness events, with the values of poll(2).
type Mask uint32

// The events that exist.
const (
	In    Mask = unix.POLLIN
	Pri   Mask = unix.POLLPRI
	Out   Mask = unix.POLLOUT
	Err   Mask = unix.POLLERR
	Hup   Mask = unix.POLLHUP
	RdHup Mask = unix.POLLRDHUP
	Nval  Mask = unix.POLLNVAL
	// Readable and Writable are what poll(2) reports as normal data too.
	Readable = In | 0x40   // POLLRDNORM
	Writable = Out | 0x100 // POLLWRNORM
	// Always is what poll(2) and epoll(7) report even when not asked for.
	Always = Err | Hup
	// All matches every event.
	All Mask = 0xffffffff
)

// Listener is told of events. NotifyEvent runs under the Queue's lock.
type Listener interface {
	NotifyEvent(Mask)
}

// Waitable is anything whose readiness can be waited for.
type Waitable interface {
	// Readiness returns the events of mask that hold now.
	Readiness(mask Mask) Mask
	// Register has e notified of coming events; it must be unregistered.
	Register(e *Entry)
	// Unregister undoes Register.
	Unregister(e *Entry)
}

// Entry is one registration. The zero value with Mask and Listener set is
// ready to be registered; an Entry is in one Queue at a time.
type Entry struct {
	Mask     Mask
	Listener Listener

	next, prev *Entry
	queued     bool
}

// Channel is a Listener that wakes one sleeper: sends that find the channel
// full are dropped, since one pending wake-up says all there is to say.
type Channel chan struct{}

// NewChannel returns a Channel of capacity one.
func NewChannel() Channel { return make(Channel, 1) }

// NotifyEvent implements Listener.
func (c Channel) NotifyEvent(Mask) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Queue is a list of Entries. The zero value is empty and ready.
type Queue struct {
	mu         sync.Mutex
	head, tail *Entry
}

// Register adds e to the end of the queue.
func (q *Queue) Register(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.queued {
		panic("waiter: entry registered twice")
	}
	e.queued, e.prev, e.next = true, q.tail, nil
	if q.tail == nil {
		q.head = e
	} else {
		q.tail.next = e
	}
	q.tail = e
}

// Unregister removes e; it is harmless if e is not registered.
func (q *Queue) Unregister(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !e.queued {
		return
	}
	if e.prev == nil {
		q.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.queued, e.next, e.prev = false, nil, nil
}

// Notify tells every Entry whose mask meets the events.
func (q *Queue) Notify(events Mask) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for e := q.head; e != nil; e = e.next {
		if m := e.Mask & events; m != 0 {
			e.Listener.NotifyEvent(m)
		}
	}
}

// Empty reports whether nobody is registered.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head == nil
}
