package kernel

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/bpf"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// SeccompListener is the file through which a supervisor answers system calls
// for which a filter says SECCOMP_RET_USER_NOTIF (seccomp_unotify(2)).
type SeccompListener struct {
	anon.File
	// killable is SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: once a call has been
	// received only a deadly signal interrupts it.
	killable bool
	// filter is whose calls come; nil until it is attached.
	filter atomic.Pointer[seccompFilter]
	queue  waiter.Queue

	mu     sync.Mutex
	closed bool
	lastID uint64
	// calls are those that wait for an answer, in order.
	calls []*notifiedCall
}

// notifiedCall is one system call that waits for the supervisor's answer.
// SeccompListener.mu guards it.
type notifiedCall struct {
	id   uint64
	task *Task
	data bpf.Data
	// state is notifyNew, notifySent or notifyReplied.
	state int
	// What the supervisor has answered: see struct seccomp_notif_resp.
	value int64
	errno int32
	flags uint32
	// replied is closed with the answer.
	replied chan struct{}
}

const (
	notifyNew = iota
	notifySent
	notifyReplied
)

// NewSeccompListener returns a listener for a filter that is about to be
// attached, and its description with one reference.
func NewSeccompListener(killable bool) (*SeccompListener, *vfs.FileDescription) {
	var seed [8]byte
	rand.Read(seed[:])
	l := &SeccompListener{killable: killable, lastID: binary.NativeEndian.Uint64(seed[:])}
	return l, anon.NewFile(l, "seccomp notify", unix.O_RDWR)
}

// ask has the supervisor answer a call of t, which waits. Its results are as
// FilterCall's; ENOSYS once the listener is closed.
func (l *SeccompListener) ask(t *Task, d bpf.Data) (v uintptr, answered bool, err error) {
	c := &notifiedCall{task: t, data: d, replied: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, true, unix.ENOSYS
	}
	l.lastID++
	c.id = l.lastID
	l.calls = append(l.calls, c)
	defer l.forget(c)
	l.queue.Notify(waiter.Readable)
	for c.state != notifyReplied {
		killable := l.killable && c.state == notifySent
		l.mu.Unlock()
		if killable {
			err = t.BlockKillable(c.replied)
		} else {
			err = t.Block(c.replied, time.Time{})
		}
		l.mu.Lock()
		if err != nil && c.state != notifyReplied && (killable || !l.killable || c.state != notifySent) {
			return 0, true, err
		}
	}
	if c.flags&unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 {
		t.ctx.Forget()
		return 0, false, nil
	}
	if c.errno != 0 {
		v, err = rawResult(int64(c.errno))
	} else {
		v, err = rawResult(c.value)
	}
	return v, true, err
}

// forget removes a call whose task goes on. mu is held.
func (l *SeccompListener) forget(c *notifiedCall) {
	for i, o := range l.calls {
		if o == c {
			l.calls = append(l.calls[:i], l.calls[i+1:]...)
			return
		}
	}
}

// find returns the call with that number, or nil. mu is held.
func (l *SeccompListener) find(id uint64) *notifiedCall {
	for _, c := range l.calls {
		if c.id == id {
			return c
		}
	}
	return nil
}

// received returns the call with that number if the supervisor has received
// and not answered it: ENOENT, EINPROGRESS. mu is held.
func (l *SeccompListener) received(id uint64) (*notifiedCall, error) {
	c := l.find(id)
	switch {
	case c == nil:
		return nil, unix.ENOENT
	case c.state != notifySent:
		return nil, unix.EINPROGRESS
	}
	return c, nil
}

// reply answers a call. mu is held.
func (c *notifiedCall) reply(value int64, errno int32, flags uint32) {
	c.value, c.errno, c.flags = value, errno, flags
	c.state = notifyReplied
	close(c.replied)
}

// unused reports whether no task has the filter any more.
func (l *SeccompListener) unused() bool {
	f := l.filter.Load()
	return f != nil && f.users.Load() == 0
}

// orphaned is called when that begins to be so.
func (l *SeccompListener) orphaned() { l.queue.Notify(waiter.Hup) }

// Readiness implements waiter.Waitable: In while a call waits to be received,
// Out while one waits to be answered, Hup when no more can come.
func (l *SeccompListener) Readiness(mask waiter.Mask) waiter.Mask {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m waiter.Mask
	for _, c := range l.calls {
		switch c.state {
		case notifyNew:
			m |= waiter.Readable
		case notifySent:
			m |= waiter.Writable
		}
	}
	if l.unused() {
		m |= waiter.Hup
	}
	return m & mask
}

// Register and Unregister implement waiter.Waitable.
func (l *SeccompListener) Register(e *waiter.Entry)   { l.queue.Register(e) }
func (l *SeccompListener) Unregister(e *waiter.Entry) { l.queue.Unregister(e) }

// Release implements vfs.File: all calls, present and coming, get ENOSYS.
func (l *SeccompListener) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.calls {
		if c.state != notifyReplied {
			c.reply(0, -int32(unix.ENOSYS), 0)
		}
	}
}
