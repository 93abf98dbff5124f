package ipc

import (
	"slices"
	"sync"
	"unsafe"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// The limits of message queues: MSGMAX bytes in a message, MSGMNB in a queue.
const (
	MaxMessage = 8192
	MaxQueued  = 16384
)

// The flags of msgrcv(2) beside NoWait.
const (
	MsgNoError = 0o10000
	MsgExcept  = 0o20000
	MsgCopy    = 0o40000
)

// overhead is what a message takes beside its bytes.
const overhead = int64(unsafe.Sizeof(message{}))

// Messages are the queues of a namespace.
type Messages struct{ registry[*MsgQueue] }

// MsgQueue is one message queue.
type MsgQueue struct {
	parent *Messages
	queue  waiter.Queue

	mu                  sync.Mutex
	p                   Perm
	msgs                []message
	bytes, maxBytes     int
	stime, rtime, ctime int64
	lspid, lrpid        int32
	removed             bool
}

type message struct {
	typ  int64
	data []byte
}

func (q *MsgQueue) perm() *Perm { return &q.p }

func (q *MsgQueue) allow(a Actor, want uint32) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.p.check(a, want)
}

// Get is msgget(2).
func (r *Messages) Get(a Actor, key int32, flags uint32) (int32, error) {
	return r.get(a, key, flags, func(*MsgQueue) error { return nil }, func() (*MsgQueue, error) {
		return &MsgQueue{parent: r, p: newPerm(a, key, flags), maxBytes: MaxQueued, ctime: now()}, nil
	})
}

// Find returns the queue with an ID.
func (r *Messages) Find(id int32) (*MsgQueue, error) { return r.find(id) }

// ByIndex returns the queue with an index, for MSG_STAT, and its ID.
func (r *Messages) ByIndex(i int32) (*MsgQueue, int32, error) { return r.byIndex(i) }

// Usage returns how many queues there are, and the highest index.
func (r *Messages) Usage() (queues int, highest int32) { return r.usage() }

// Send appends a message; the queue takes over data. EAGAIN while it is full,
// ENOMEM if queues, pipes and sockets hold too much.
func (q *MsgQueue) Send(a Actor, typ int64, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.removed {
		return unix.EIDRM
	}
	if err := q.p.check(a, Write); err != nil {
		return err
	}
	if q.bytes+len(data) > q.maxBytes || len(q.msgs)+1 > q.maxBytes {
		return unix.EAGAIN
	}
	if !shmem.Buffers.Charge(overhead + int64(len(data))) {
		return unix.ENOMEM
	}
	q.msgs = append(q.msgs, message{typ, data})
	q.bytes += len(data)
	q.lspid, q.stime = a.PID, now()
	q.queue.Notify(waiter.Readable)
	return nil
}

// Receive takes the first message that typ asks for, as msgrcv(2) says: any
// for 0, of that type, or for a negative one of the lowest type up to -typ.
// EAGAIN if there is none; E2BIG if it is longer than size, unless flags have
// MsgNoError, which cuts it.
func (q *MsgQueue) Receive(a Actor, typ int64, size uint64, flags uint32) (int64, []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.removed {
		return 0, nil, unix.EIDRM
	}
	if err := q.p.check(a, Read); err != nil {
		return 0, nil, err
	}
	i := q.pick(typ, flags)
	if i < 0 {
		return 0, nil, unix.EAGAIN
	}
	m := q.msgs[i]
	data := m.data
	if uint64(len(data)) > size {
		if flags&MsgNoError == 0 {
			return 0, nil, unix.E2BIG
		}
		data = data[:size]
	}
	q.msgs = slices.Delete(q.msgs, i, i+1)
	q.bytes -= len(m.data)
	shmem.Buffers.Uncharge(overhead + int64(len(m.data)))
	q.lrpid, q.rtime = a.PID, now()
	q.queue.Notify(waiter.Writable)
	return m.typ, data, nil
}

func (q *MsgQueue) pick(typ int64, flags uint32) int {
	best := -1
	for i, m := range q.msgs {
		switch {
		case typ == 0:
			return i
		case typ > 0 && (m.typ == typ) != (flags&MsgExcept != 0):
			return i
		case typ < 0 && m.typ <= -typ && (best < 0 || m.typ < q.msgs[best].typ):
			best = i
		}
	}
	return best
}

// Readiness, Register and Unregister implement waiter.Waitable.
func (q *MsgQueue) Readiness(waiter.Mask) waiter.Mask { return 0 }

// Register implements waiter.Waitable.
func (q *MsgQueue) Register(e *waiter.Entry) { q.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (q *MsgQueue) Unregister(e *waiter.Entry) { q.queue.Unregister(e) }

// end marks the queue as removed and drops its messages. mu is held.
func (q *MsgQueue) end() {
	shmem.Buffers.Uncharge(overhead*int64(len(q.msgs)) + int64(q.bytes))
	q.removed, q.msgs, q.bytes = true, nil, 0
}

// Remove is IPC_RMID.
func (q *MsgQueue) Remove(a Actor) error {
	q.mu.Lock()
	if err := q.p.mayControl(a); err != nil {
		q.mu.Unlock()
		return err
	}
	q.end()
	q.queue.Notify(waiter.All)
	q.mu.Unlock()
	q.parent.remove(q)
	return nil
}

// Set is IPC_SET. EPERM for more bytes than MaxQueued, which here no
// privilege allows.
func (q *MsgQueue) Set(a Actor, p Perm, maxBytes uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.p.mayControl(a); err != nil {
		return err
	}
	if maxBytes > MaxQueued {
		return unix.EPERM
	}
	if err := q.p.change(p); err != nil {
		return err
	}
	q.maxBytes, q.ctime = int(maxBytes), now()
	q.queue.Notify(waiter.All)
	return nil
}

// MsqidSize is sizeof(struct msqid64_ds).
const MsqidSize = 120

// Stat is IPC_STAT: struct msqid64_ds. anyone leaves the permission out.
func (q *MsgQueue) Stat(a Actor, anyone bool) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.p.check(a, Read); err != nil && !anyone {
		return nil, err
	}
	b := make([]byte, MsqidSize)
	q.p.Encode(a, b)
	le.PutUint64(b[48:], uint64(q.stime))
	le.PutUint64(b[56:], uint64(q.rtime))
	le.PutUint64(b[64:], uint64(q.ctime))
	le.PutUint64(b[72:], uint64(q.bytes))
	le.PutUint64(b[80:], uint64(len(q.msgs)))
	le.PutUint64(b[88:], uint64(q.maxBytes))
	le.PutUint32(b[96:], uint32(q.lspid))
	le.PutUint32(b[100:], uint32(q.lrpid))
	return b, nil
}
