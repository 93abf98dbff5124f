package fuse

import (
	"slices"
	"sync"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// sleeper is a vfs.Caller that can wait for a server, as a task can.
type sleeper interface {
	// TID is its number, which the server is told.
	TID() int32
	// Block sleeps until ch is closed; an error if a signal comes first.
	Block(ch <-chan struct{}, deadline time.Time) error
	// BlockKillable is likewise, but only death interrupts it.
	BlockKillable(ch <-chan struct{}) error
}

// request is one message to the server that has an answer.
type request struct {
	unique uint64
	op     uint32
	msg    []byte
	// done is closed once err and reply are set. It is nil for a request that
	// nobody waits for.
	done  chan struct{}
	err   error
	reply []byte
	// giveBack, if not nil, is called with the answer if nobody waits for it any more.
	giveBack func(reply []byte)

	// Guarded by connection.mu.
	sent, interrupted, abandoned bool
	// held is the node that a request is about for which nobody waits: the
	// server must not hear that it is forgotten before it has answered.
	held *inode
}

// connection is what a device and a file system have in common: the messages
// on their way. It is there from mount(2) until the server closes the device,
// or the file system is unmounted.
type connection struct {
	// ns is the user namespace that the server's IDs are names in.
	ns *auth.UserNamespace
	// ready is closed when INIT is answered, or there is nobody to answer.
	ready chan struct{}

	mu sync.Mutex
	// pending are messages to be read, in order. A server that wants a later
	// one must take the earlier: so forgotten nodes and closed files cannot
	// pile up beyond what was open.
	pending []outgoing
	// interrupts are to be read before those.
	interrupts []uint64
	// asked are the requests that were read and not answered.
	asked      map[uint64]*request
	lastUnique uint64
	// devices are the open ends.
	devices []*device
	gone    bool // no server any more
	started bool // INIT was answered
	agreed  agreed
	// lacks are the operations to which the server said ENOSYS.
	lacks map[uint32]bool
	// notified is the file system that the server's notifications speak of.
	notified *FileSystem
}

// optional are the operations that a server may lack for good: it is asked once.
var optional = map[uint32]bool{
	opOpen: true, opOpendir: true, opFlush: true, opFsync: true, opFsyncdir: true, opAccess: true, opCreate: true,
	opGetxattr: true, opSetxattr: true, opListxattr: true, opRemovexattr: true,
	opRename2: true, opLseek: true, opFallocate: true,
}

// maxAsked bounds how many requests a server may have read without answering
// any: those of killed tasks and of closed files take memory too.
const maxAsked = 1 << 16

// outgoing is a message to be read: a request, or a FORGET, which has no answer.
type outgoing struct {
	req         *request
	node, times uint64
}

func newConnection(ns *auth.UserNamespace) *connection {
	return &connection{ns: ns, ready: make(chan struct{}), asked: map[uint64]*request{}, lacks: map[uint32]bool{}}
}

// start sends INIT, which everything else waits for.
func (cn *connection) start() {
	b := body(nil).u32(protocolMajor, protocolMinor, maxData, offered)
	cn.mu.Lock()
	cn.push(opInit, header{op: opInit}, b)
	cn.mu.Unlock()
}

// push makes a request and puts it into the queue. mu is held.
func (cn *connection) push(op uint32, h header, b body) *request {
	cn.lastUnique += 2 // odd numbers are for INTERRUPT
	h.unique = cn.lastUnique
	r := &request{unique: h.unique, op: op, msg: message(h, b)}
	cn.pending = append(cn.pending, outgoing{req: r})
	cn.wake(waiter.Readable)
	return r
}

// wake tells who waits for the device. mu is held.
func (cn *connection) wake(m waiter.Mask) {
	for _, d := range cn.devices {
		d.queue.Notify(m)
	}
}

// headerFor fills in who asks.
func (cn *connection) headerFor(c vfs.Caller, op uint32, node uint64) header {
	h := header{op: op, node: node}
	if c != nil {
		cred := c.Credentials()
		h.uid, h.gid = cn.ns.FromUID(cred.FSUID), cn.ns.FromGID(cred.FSGID)
	}
	if s, ok := c.(sleeper); ok {
		h.pid = uint32(s.TID())
	}
	return h
}

// names reports whether both IDs have names that the server can be told.
func (cn *connection) names(uid, gid uint32) bool {
	return cn.ns == auth.Initial || cn.ns.Maps(auth.UserID, uid) && cn.ns.Maps(auth.GroupID, gid)
}

// call asks the server and waits for the answer. giveBack, which may be nil,
// gets an answer that comes after the caller was killed. EINTR if it was,
// ENOTCONN or ECONNABORTED if there is no server any more, else the server's
// own error.
func (cn *connection) call(c vfs.Caller, op uint32, n *inode, b body, giveBack func([]byte)) ([]byte, error) {
	s, ok := c.(sleeper)
	if !ok {
		return nil, unix.EIO // nobody is there who could wait
	}
	if cred := c.Credentials(); !cn.names(cred.FSUID, cred.FSGID) {
		return nil, unix.EOVERFLOW
	}
	select {
	case <-cn.ready:
	default:
		if err := s.BlockKillable(cn.ready); err != nil {
			return nil, unix.EINTR
		}
	}
	cn.mu.Lock()
	switch {
	case cn.gone:
		cn.mu.Unlock()
		return nil, unix.ENOTCONN
	case cn.lacks[op]:
		cn.mu.Unlock()
		return nil, unix.ENOSYS
	}
	r := cn.push(op, cn.headerFor(c, op, n.id), b)
	r.done, r.giveBack = make(chan struct{}), giveBack
	cn.mu.Unlock()
	if s.Block(r.done, time.Time{}) != nil {
		cn.interrupt(r)
		if s.BlockKillable(r.done) != nil && cn.abandon(r, n) {
			return nil, unix.EINTR
		}
	}
	if r.err == unix.ENOSYS && optional[op] {
		cn.mu.Lock()
		cn.lacks[op] = true
		cn.mu.Unlock()
	}
	return r.reply, r.err
}

// send sends a message about a node whose answer nobody waits for.
func (cn *connection) send(op uint32, n *inode, b body) {
	n.hold()
	cn.mu.Lock()
	gone := cn.gone
	if !gone {
		cn.push(op, header{op: op, node: n.id}, b).held = n
	}
	cn.mu.Unlock()
	if gone {
		n.DecRef()
	}
}

// forget tells the server that the kernel lets go of so many references to a
// node.
func (cn *connection) forget(node, times uint64) {
	cn.mu.Lock()
	if !cn.gone && times > 0 {
		cn.pending = append(cn.pending, outgoing{node: node, times: times})
		cn.wake(waiter.Readable)
	}
	cn.mu.Unlock()
}

// interrupt tells the server that who made a request got a signal.
func (cn *connection) interrupt(r *request) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if r.interrupted || cn.gone || cn.lacks[opInterrupt] {
		return
	}
	r.interrupted = true
	if r.sent {
		cn.interrupts = append(cn.interrupts, r.unique)
		cn.wake(waiter.Readable)
	}
}

// abandon gives a request up whose caller is killed. A request that the server
// has not seen yet is taken back, except for what it must hear of. false if the
// answer came meanwhile.
func (cn *connection) abandon(r *request, n *inode) bool {
	n.hold()
	cn.mu.Lock()
	var answered bool
	select {
	case <-r.done:
		answered = true
	default:
		r.abandoned = true
		if r.sent || r.op == opFlush {
			r.held, n = n, nil
		} else {
			cn.pending = slices.DeleteFunc(cn.pending, func(o outgoing) bool { return o.req == r })
		}
	}
	cn.mu.Unlock()
	if n != nil {
		n.DecRef()
	}
	return !answered
}

// abort ends the connection: requests fail with ECONNABORTED, later ones with
// ENOTCONN.
func (cn *connection) abort() {
	cn.mu.Lock()
	held := cn.abortLocked()
	cn.mu.Unlock()
	for _, n := range held {
		n.DecRef()
	}
}

// abortLocked is abort with mu held. It returns the nodes that are let go of.
func (cn *connection) abortLocked() (held []*inode) {
	if cn.gone {
		return nil
	}
	cn.gone = true
	var failed []*request
	for _, o := range cn.pending {
		if o.req != nil {
			failed = append(failed, o.req)
		}
	}
	for _, r := range cn.asked {
		failed = append(failed, r)
	}
	cn.pending, cn.interrupts, cn.asked = nil, nil, nil
	for _, r := range failed {
		if r.held != nil {
			held = append(held, r.held)
		}
		r.finish(nil, unix.ECONNABORTED)
	}
	if !cn.started {
		close(cn.ready)
	}
	cn.wake(waiter.All)
	return held
}

// finish hands a request its answer. connection.mu is held.
func (r *request) finish(reply []byte, err error) {
	r.reply, r.err = reply, err
	if r.done != nil {
		close(r.done)
	}
}

// take lays the next message into p. EAGAIN if there is none, ENODEV if there
// never will be one. A request that does not fit fails.
func (cn *connection) take(p []byte) (int, error) {
	n, full, err := cn.next(p)
	if full {
		cn.abort()
	}
	return n, err
}

// next is take; full says that the server owes too many answers.
func (cn *connection) next(p []byte) (n int, full bool, err error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.gone {
		return 0, false, unix.ENODEV
	}
	if len(p) < max(8192, inHeaderSize+writeInSize+int(cn.agreed.maxWrite)) {
		return 0, false, unix.EINVAL
	}
	if len(cn.interrupts) > 0 {
		unique := cn.interrupts[0]
		cn.interrupts = cn.interrupts[1:]
		return copy(p, message(header{op: opInterrupt, unique: unique | 1}, body(nil).u64(unique))), false, nil
	}
	if len(cn.asked) >= maxAsked {
		return 0, true, unix.ENODEV
	}
	for len(cn.pending) > 0 {
		o := cn.pending[0]
		cn.pending[0] = outgoing{}
		if cn.pending = cn.pending[1:]; len(cn.pending) == 0 {
			cn.pending = nil
		}
		if o.req == nil {
			cn.lastUnique += 2
			return copy(p, message(header{op: opForget, unique: cn.lastUnique, node: o.node}, body(nil).u64(o.times))), false, nil
		}
		r := o.req
		if len(r.msg) > len(p) {
			err := unix.EIO
			if r.op == opSetxattr {
				err = unix.E2BIG
			}
			r.finish(nil, err)
			continue // a message that nobody waits for is small
		}
		n := copy(p, r.msg)
		r.msg, r.sent = nil, true
		cn.asked[r.unique] = r
		if r.interrupted {
			cn.interrupts = append(cn.interrupts, r.unique)
		}
		return n, false, nil
	}
	return 0, false, unix.EAGAIN
}

// terms is what INIT agreed on.
func (cn *connection) terms() agreed {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.agreed
}
