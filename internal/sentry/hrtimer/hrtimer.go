// Package hrtimer has timers as exact as the host's. Those of Go's runtime are up to a
// millisecond late: its poller waits for whole milliseconds (epoll_wait(2)).
//
// It must not know who waits. Timers that are not set cost nothing.
package hrtimer

import (
	"container/heap"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
)

// exactBelow is how short a wait must be to be exact. Of longer ones a millisecond is a
// small part, and most are given up: they need no host call.
const exactBelow = 20 * time.Millisecond

// Timer calls a function at an instant.
type Timer struct {
	f      func()
	coarse *time.Timer // or nil
	// at is the instant of an exact one, since start, and index its place in the
	// queue; -1 is none. The queue's lock is held for both.
	at    time.Duration
	index int
}

// New returns a timer that is not set. f must not wait: others' timers are late meanwhile.
func New(f func()) *Timer { return &Timer{f: f, index: -1} }

// Reset sets the timer: f is called once, after d. What was set before is given up; f may
// have been called for that, and may be running.
func (t *Timer) Reset(d time.Duration) {
	q := &exact
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(t)
	if d < exactBelow && q.open() {
		if t.coarse != nil {
			t.coarse.Stop()
		}
		t.at = time.Since(start) + d
		heap.Push(q, t)
		q.arm()
		return
	}
	if t.coarse == nil {
		t.coarse = time.AfterFunc(d, crash.Guard(t.f))
	} else {
		t.coarse.Reset(d)
	}
}

// Stop gives up what was set; f may be running.
func (t *Timer) Stop() {
	q := &exact
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(t)
	if t.coarse != nil {
		t.coarse.Stop()
	}
}

// queue has the exact timers that are set, the next one first. mu is a leaf lock.
type queue struct {
	mu     sync.Mutex
	timers []*Timer // a heap
	// file is a timerfd(2), which Go's poller waits for; it is made with the first timer.
	file   *os.File
	fd     int
	failed bool
	// armed is when it expires, since start, or 0. It is changed with mu held.
	armed atomic.Int64
}

var (
	exact queue
	start = time.Now()
)

// open reports whether there is a file, which a host may refuse: then Go's timers do.
func (q *queue) open() bool {
	if q.file != nil || q.failed {
		return !q.failed
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		q.failed = true
		return false
	}
	q.file, q.fd = os.NewFile(uintptr(fd), "timers"), fd
	go crash.Guard(q.serve)()
	return true
}

// serve calls what is due each time the file expires.
func (q *queue) serve() {
	var expirations [8]byte
	for {
		if _, err := q.file.Read(expirations[:]); err != nil {
			panic(err) // nothing closes it
		}
		for q.callDue() {
		}
	}
}

// CallDue calls exact timers that are due, and reports whether there were any. It is for those
// who may keep from Go's processors whoever else would, and costs next to nothing while none
// is set. No lock may be held that a timer's function takes.
func CallDue() bool {
	armed := exact.armed.Load()
	return armed != 0 && time.Since(start) >= time.Duration(armed) && exact.callDue()
}

// callDue calls some of those that are due.
func (q *queue) callDue() bool {
	var some [8]*Timer
	due := q.due(some[:0])
	for _, t := range due {
		t.f()
	}
	return len(due) > 0
}

// due takes out of the queue what is due, as much as there is room for.
func (q *queue) due(due []*Timer) []*Timer {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed.Store(0)
	now := time.Since(start)
	for len(q.timers) > 0 && q.timers[0].at <= now && len(due) < cap(due) {
		due = append(due, heap.Pop(q).(*Timer))
	}
	q.arm()
	return due
}

// arm has the file expire when the next timer is due. One that is given up is not worth a
// host call: the file expires for nothing.
func (q *queue) arm() {
	if len(q.timers) == 0 {
		return
	}
	at := q.timers[0].at
	if armed := time.Duration(q.armed.Load()); armed != 0 && armed <= at {
		return
	}
	q.armed.Store(int64(at))
	in := max(at-time.Since(start), 1) // 0 would disarm it
	if err := unix.TimerfdSettime(q.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil); err != nil {
		panic(err)
	}
}

func (q *queue) remove(t *Timer) {
	if t.index >= 0 {
		heap.Remove(q, t.index)
	}
}

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (q *queue) Len() int           { return len(q.timers) }
func (q *queue) Less(i, j int) bool { return q.timers[i].at < q.timers[j].at }

func (q *queue) Swap(i, j int) {
	q.timers[i], q.timers[j] = q.timers[j], q.timers[i]
	q.timers[i].index, q.timers[j].index = i, j
}

func (q *queue) Push(x any) {
	t := x.(*Timer)
	t.index = len(q.timers)
	q.timers = append(q.timers, t)
}

func (q *queue) Pop() any {
	last := len(q.timers) - 1
	t := q.timers[last]
	q.timers[last] = nil
	q.timers = q.timers[:last]
	t.index = -1
	return t
}
