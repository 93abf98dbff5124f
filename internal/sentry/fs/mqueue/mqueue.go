// Package mqueue is POSIX message queues (mq_overview(7)): named queues whose
// messages have priorities.
//
// It must not know tasks: who wants to be told of a message is a Notifier.
//
// Lock order: Namespace.mu, Queue.mu, waiter queues.
package mqueue

import (
	"fmt"
	"slices"
	"sort"
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// The limits in /proc/sys/fs/mqueue, and those that not even a privileged
// process exceeds.
const (
	maxQueues      = 256
	defaultMax     = 10
	defaultSize    = 8192
	hardMax        = 65536
	hardSize       = 1 << 24
	maxName        = 255
	maxPriority    = 32768
	messageCharged = 64 // what a message is charged beside its size
)

// Attr is struct mq_attr.
type Attr struct{ Flags, MaxMsg, MsgSize, CurMsgs int64 }

// Namespace holds the queues by name. The zero value is empty.
type Namespace struct {
	mu     sync.Mutex
	byName map[string]*Queue
	count  int
	// fs shows the queues, once it was mounted; dev is its device, 0 before the
	// first queue.
	fs  *FS
	dev uint32
	// destroyed says that nobody can reach the namespace but through fs.
	destroyed bool
}

// Queue is one message queue.
type Queue struct {
	ns   *Namespace
	name string
	node *node
	uid  uint32
	cost uint64
	paid *quota.Count // where cost is counted
	wait waiter.Queue

	maxMsg, msgSize int64

	// refs counts open files and the name; ns.mu guards it.
	refs int

	mu     sync.Mutex
	msgs   []message // by priority, the highest first, then by age
	bytes  int64
	notify Notifier
	owner  int32 // the PID of who gets notify
	// receivers count those who sleep in Receive: a message for them is not
	// notified.
	receivers int
}

type message struct {
	prio uint32
	data []byte
}

// Notifier is told once that a message came to an empty queue, by whom.
type Notifier func(sender vfs.Caller)

// File is an open queue.
type File struct {
	vfs.NoFile
	Queue *Queue
}

// Allowance is how many bytes the queues of a user may hold: Used by those that
// there are, in all namespaces, up to Limit, which is RLIMIT_MSGQUEUE.
type Allowance struct {
	Used  *quota.Count
	Limit uint64
}

// Open is mq_open(2). attr is nil for the default.
func (ns *Namespace) Open(c vfs.Caller, name string, flags, mode uint32, attr *Attr, allowed Allowance) (*vfs.FileDescription, error) {
	switch {
	case name == "" || name == "." || name == "..":
		return nil, unix.ENOENT
	case len(name) > maxName:
		return nil, unix.ENAMETOOLONG
	}
	for i := range len(name) {
		if name[i] == '/' {
			return nil, unix.EACCES
		}
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	q := ns.byName[name]
	switch {
	case q == nil && flags&unix.O_CREAT == 0:
		return nil, unix.ENOENT
	case q == nil:
		var err error
		if q, err = ns.create(c.Credentials(), name, mode&^c.Umask(), attr, allowed); err != nil {
			return nil, err
		}
	case flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return nil, unix.EEXIST
	default:
		if err := q.access(c.Credentials(), flags); err != nil {
			return nil, err
		}
	}
	q.refs++
	return vfs.NewDescription(&File{Queue: q}, q.node, vfs.Path{}, flags&(unix.O_ACCMODE|unix.O_NONBLOCK)), nil
}

// create makes a queue that cred is charged for; ns.mu is held.
func (ns *Namespace) create(cred *auth.Credentials, name string, mode uint32, attr *Attr, allowed Allowance) (*Queue, error) {
	if ns.destroyed {
		return nil, unix.EACCES
	}
	a := Attr{MaxMsg: defaultMax, MsgSize: defaultSize}
	if attr != nil {
		a = *attr
		most, largest := int64(defaultMax), int64(defaultSize)
		if cred.Can(unix.CAP_SYS_RESOURCE) {
			most, largest = hardMax, hardSize
		}
		if a.MaxMsg <= 0 || a.MsgSize <= 0 || a.MaxMsg > most || a.MsgSize > largest {
			return nil, unix.EINVAL
		}
	}
	if ns.count >= maxQueues && !cred.Can(unix.CAP_SYS_RESOURCE) || ns.count >= 4*maxQueues {
		return nil, unix.ENOSPC
	}
	cost := uint64(a.MaxMsg) * uint64(a.MsgSize+messageCharged)
	if !allowed.Used.TakeMany(int64(cost), allowed.Limit) {
		return nil, unix.EMFILE
	}
	if ns.byName == nil {
		ns.byName = map[string]*Queue{}
	}
	q := &Queue{ns: ns, name: name, uid: cred.RUID, cost: cost, paid: allowed.Used, maxMsg: a.MaxMsg, msgSize: a.MsgSize, refs: 1}
	q.node = &node{anon.New("/"+name, unix.S_IFREG|mode&0o777, ns.device(), cred), q}
	ns.byName[name] = q
	ns.count++
	return q, nil
}

// Destroy removes all names, when nobody can reach the namespace any more.
func (ns *Namespace) Destroy() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.destroyed = true
	for name, q := range ns.byName {
		delete(ns.byName, name)
		q.unref()
	}
}

// access checks the permission to open.
func (q *Queue) access(c *auth.Credentials, flags uint32) error {
	want := [4]uint32{unix.O_RDONLY: 4, unix.O_WRONLY: 2, unix.O_RDWR: 6, 3: 6}[flags&unix.O_ACCMODE]
	a, _ := q.node.Inode.Attr()
	granted := a.Mode
	switch {
	case c.FSUID == a.UID:
		granted >>= 6
	case c.InGroup(a.GID):
		granted >>= 3
	}
	if want&^granted != 0 && !c.CanOver(unix.CAP_DAC_OVERRIDE, a.UID, a.GID) {
		return unix.EACCES
	}
	return nil
}

// Unlink is mq_unlink(2).
func (ns *Namespace) Unlink(c vfs.Caller, name string) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	q := ns.byName[name]
	if q == nil {
		return unix.ENOENT
	}
	// The directory is sticky: only an owner removes a queue.
	if cred := c.Credentials(); cred.FSUID != q.uid && !cred.Can(unix.CAP_FOWNER) {
		return unix.EACCES
	}
	delete(ns.byName, name)
	q.unref()
	return nil
}

// unref drops a reference; ns.mu is held.
func (q *Queue) unref() {
	if q.refs--; q.refs > 0 {
		return
	}
	q.ns.count--
	q.paid.Add(-int64(q.cost))
	q.mu.Lock()
	defer q.mu.Unlock()
	shmem.Buffers.Uncharge(q.bytes + messageCharged*int64(len(q.msgs)))
	q.msgs, q.bytes = nil, 0
}

// Send puts a message of c's in. EAGAIN while the queue is full; ENOMEM if all
// queues, pipes and sockets hold too much.
func (q *Queue) Send(c vfs.Caller, data []byte, prio uint32) error {
	switch {
	case prio >= maxPriority:
		return unix.EINVAL
	case int64(len(data)) > q.msgSize:
		return unix.EMSGSIZE
	}
	notify, err := q.put(data, prio)
	if notify != nil {
		notify(c)
	}
	return err
}

// put is Send's part under the lock. It returns whom to tell.
func (q *Queue) put(data []byte, prio uint32) (Notifier, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if int64(len(q.msgs)) >= q.maxMsg {
		return nil, unix.EAGAIN
	}
	if !shmem.Buffers.Charge(int64(len(data)) + messageCharged) {
		return nil, unix.ENOMEM
	}
	i := sort.Search(len(q.msgs), func(i int) bool { return q.msgs[i].prio < prio })
	q.msgs = slices.Insert(q.msgs, i, message{prio, data})
	q.bytes += int64(len(data))
	q.wait.Notify(waiter.Readable)
	if len(q.msgs) > 1 || q.receivers > 0 {
		return nil, nil
	}
	f := q.notify
	q.notify, q.owner = nil, 0
	return f, nil
}

// Receive takes the oldest message of the highest priority. EMSGSIZE if size,
// the room that the caller has, is less than any message may need; EAGAIN if
// there is none.
func (q *Queue) Receive(size uint64) (data []byte, prio uint32, err error) {
	if size < uint64(q.msgSize) {
		return nil, 0, unix.EMSGSIZE
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) == 0 {
		return nil, 0, unix.EAGAIN
	}
	m := q.msgs[0]
	q.msgs = slices.Delete(q.msgs, 0, 1)
	q.bytes -= int64(len(m.data))
	shmem.Buffers.Uncharge(int64(len(m.data)) + messageCharged)
	q.wait.Notify(waiter.Writable)
	return m.data, m.prio, nil
}

// Waiting counts a sleeper in Receive in (1) or out (-1).
func (q *Queue) Waiting(by int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.receivers += by
}

// MsgSize is the longest message that the queue takes.
func (q *Queue) MsgSize() int64 { return q.msgSize }

// SetNotify is mq_notify(2): the process owner wants f called; nil ends that.
// EBUSY if another registration stands.
func (q *Queue) SetNotify(owner int32, f Notifier) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case f == nil && q.owner == owner:
		q.notify, q.owner = nil, 0
	case f == nil:
	case q.notify != nil:
		return unix.EBUSY
	default:
		q.notify, q.owner = f, owner
	}
	return nil
}

// Attr returns the queue's attributes without flags.
func (q *Queue) Attr() Attr {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Attr{MaxMsg: q.maxMsg, MsgSize: q.msgSize, CurMsgs: int64(len(q.msgs))}
}

// Read implements vfs.File: the queue's state as text.
func (f *File) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	f.Queue.mu.Lock()
	defer f.Queue.mu.Unlock()
	s := fmt.Sprintf("QSIZE:%-10d NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n", f.Queue.bytes)
	if off < 0 || off >= int64(len(s)) {
		return 0, nil
	}
	return copy(p, s[off:]), nil
}

// Readiness implements waiter.Waitable.
func (f *File) Readiness(mask waiter.Mask) waiter.Mask { return f.Queue.Readiness(mask) }

// Readiness of a queue: readable with a message, writable with room.
func (q *Queue) Readiness(mask waiter.Mask) waiter.Mask {
	q.mu.Lock()
	defer q.mu.Unlock()
	var m waiter.Mask
	if len(q.msgs) > 0 {
		m |= waiter.Readable
	}
	if int64(len(q.msgs)) < q.maxMsg {
		m |= waiter.Writable
	}
	return m & mask
}

// Register implements waiter.Waitable.
func (q *Queue) Register(e *waiter.Entry) { q.wait.Register(e) }

// Unregister implements waiter.Waitable.
func (q *Queue) Unregister(e *waiter.Entry) { q.wait.Unregister(e) }

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) { f.Queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) { f.Queue.Unregister(e) }

// Pollable tells epoll that this regular file has readiness.
func (f *File) Pollable() {}

// Flush implements vfs.File: closing ends what the process asked to be told.
func (f *File) Flush(c vfs.Caller) error {
	if p, ok := c.(interface{ FirstPID() int32 }); ok {
		return f.Queue.SetNotify(p.FirstPID(), nil)
	}
	return nil
}

// Release implements vfs.File.
func (f *File) Release() {
	ns := f.Queue.ns
	ns.mu.Lock()
	defer ns.mu.Unlock()
	f.Queue.unref()
}
