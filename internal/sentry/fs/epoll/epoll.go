// Package epoll is epoll(7): a set of file descriptions whose events are
// collected as they happen, so that waiting costs nothing per file that is
// quiet.
//
// It must not know tasks.
//
// Lock order: nestMu, Set.mu of an outer set, Set.mu of an inner one, a
// file's own locks, a file's waiter queue, Set.readyMu. What runs under a
// file's queue lock (item.NotifyEvent) takes readyMu and the set's own queue
// only: sets don't nest in circles, so their queues have an order too.
package epoll

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Event is one event as epoll_wait(2) returns it: which events, and the data
// that the program gave for the description.
type Event struct {
	Events uint32
	Data   uint64
}

const (
	// inputFlags are the bits of an interest that are not events.
	inputFlags = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE | unix.EPOLLWAKEUP
	// exclusiveOK is all that may go with EPOLLEXCLUSIVE.
	exclusiveOK = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLERR | unix.EPOLLHUP |
		unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// MaxWatches bounds what the sets of one user hold:
	// /proc/sys/fs/epoll/max_user_watches.
	MaxWatches = 1 << 20
)

// Set is an epoll set.
type Set struct {
	anon.File
	queue waiter.Queue // of those who wait for the set itself
	// watches is what the user has in sets who made this one.
	watches *quota.Count

	mu    sync.Mutex
	items map[key]*item
	// closed is set by Release: nothing may be added any more.
	closed bool

	readyMu     sync.Mutex
	first, last *item // items that may be ready
	nready      int

	// inner counts the sets that are in this one, outer those that this one
	// is in. nestMu guards both.
	inner, outer map[*Set]int
}

// key is what an interest is filed under: the same description may be in a
// set several times, under different numbers.
type key struct {
	fd   int32
	desc *vfs.FileDescription
}

// item is one interest. It holds no reference to its description: the
// description's end removes it.
type item struct {
	key
	set   *Set
	entry waiter.Entry

	// flags and data are what EPOLL_CTL_ADD or MOD gave; Set.mu guards them.
	flags uint32
	data  uint64
	// want is the set of events to be told of; 0 once a one-shot is spent.
	want atomic.Uint32

	// queued says that the item is on the ready list; readyMu guards it.
	queued     bool
	prev, next *item
}

// New returns a description of an empty set. watches counts what its user has in
// sets.
func New(watches *quota.Count) *vfs.FileDescription {
	return anon.NewFile(&Set{watches: watches, items: map[key]*item{}}, "[eventpoll]", unix.O_RDWR)
}

// NotifyEvent implements waiter.Listener.
func (it *item) NotifyEvent(m waiter.Mask) {
	if it.want.Load()&uint32(m) == 0 {
		return
	}
	it.set.push(it)
	it.set.queue.Notify(waiter.Readable)
}

// push puts an item on the ready list, unless it is there.
func (s *Set) push(it *item) {
	s.readyMu.Lock()
	defer s.readyMu.Unlock()
	if it.queued {
		return
	}
	it.queued, it.prev, it.next = true, s.last, nil
	if s.last == nil {
		s.first = it
	} else {
		s.last.next = it
	}
	s.last = it
	s.nready++
}

// pop takes the first item off the ready list, or returns nil.
func (s *Set) pop() *item {
	s.readyMu.Lock()
	defer s.readyMu.Unlock()
	it := s.first
	if it != nil {
		s.unlink(it)
	}
	return it
}

// unlink takes a queued item off the ready list; readyMu is held.
func (s *Set) unlink(it *item) {
	if it.prev == nil {
		s.first = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		s.last = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.queued, it.prev, it.next = false, nil, nil
	s.nready--
}

func (s *Set) readyCount() int {
	s.readyMu.Lock()
	defer s.readyMu.Unlock()
	return s.nready
}

// Collect fills out with events that have happened and returns how many. It
// doesn't wait; 0 is what to wait on, for waiter.In.
func (s *Set) Collect(out []Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	// Level-triggered items go back to the end of the list, so no more than
	// those that were there at the start are looked at.
	for left := s.readyCount(); left > 0 && n < len(out); left-- {
		it := s.pop()
		if it == nil {
			break
		}
		want := it.want.Load()
		got := uint32(it.desc.Readiness(waiter.Mask(want))) & want
		if got == 0 {
			continue
		}
		out[n] = Event{got, it.data}
		n++
		switch {
		case it.flags&unix.EPOLLONESHOT != 0:
			it.want.Store(0)
		case it.flags&unix.EPOLLET == 0:
			s.push(it)
		}
	}
	return n
}

// Readiness implements waiter.Waitable: a set is readable while one of its
// descriptions is ready.
func (s *Set) Readiness(mask waiter.Mask) waiter.Mask {
	if mask&waiter.Readable == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for left := s.readyCount(); left > 0; left-- {
		it := s.pop()
		if it == nil {
			break
		}
		want := it.want.Load()
		if uint32(it.desc.Readiness(waiter.Mask(want)))&want != 0 {
			s.push(it)
			return mask & waiter.Readable
		}
	}
	return 0
}

// Register implements waiter.Waitable.
func (s *Set) Register(e *waiter.Entry) { s.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Set) Unregister(e *waiter.Entry) { s.queue.Unregister(e) }

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (s *Set) FDInfo() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for k, it := range s.items {
		var a vfs.Attr
		if k.desc.Inode != nil {
			a, _ = k.desc.Inode.Attr()
		}
		fmt.Fprintf(&b, "tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n",
			k.fd, it.flags, it.data, 0, a.Ino, a.DevMajor<<20|a.DevMinor)
	}
	return b.String()
}
