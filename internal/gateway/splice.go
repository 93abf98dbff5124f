package gateway

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// connection is a TCP connection with its two halves: inner is the stack's, to the
// sandbox, outer is the host's socket. Bytes pass through without being kept here:
// they are taken from one half only when the other has room.
type connection struct {
	inner tcpip.Endpoint
	queue *waiter.Queue
	outer *socket
	// inspect, if not nil, has a say in the first bytes from the sandbox, and rest in
	// what they go on with.
	inspect func(first []byte, last bool) Decision
	rest    func(first []byte) Rest
	broken  atomic.Bool
	// cut says that the sandbox is no more: nothing comes that has not come.
	cut atomic.Bool
}

// run carries bytes both ways until both sides have ended or one has broken off. It
// calls sent when nothing will leave any more.
func (c *connection) run(bufferSize int, sent func()) {
	c.prepare(bufferSize)
	// What waits for the host's side must hear if the sandbox breaks off.
	watch := waiter.NewFunctionEntry(waiter.EventErr, func(waiter.EventMask) {
		// The stack's locks are held.
		go func() {
			if tcp.EndpointState(c.inner.State()) == tcp.StateError {
				c.breakOff()
			}
		}()
	})
	c.queue.EventRegister(&watch)
	var done sync.WaitGroup
	done.Go(func() {
		if !c.inward() {
			c.breakOff()
		}
	})
	if !c.outward() {
		c.breakOff()
	}
	sent()
	done.Wait()
	c.queue.EventUnregister(&watch)
	c.outer.close()
	c.linger()
}

// breakOff resets both halves.
func (c *connection) breakOff() {
	if !c.broken.Swap(true) {
		c.outer.reset()
		c.inner.Abort()
	}
}

// wait calls f until it returns something else than ErrWouldBlock, and waits each
// time for an event of the inner half.
func (c *connection) wait(events waiter.EventMask, until <-chan time.Time, f func() tcpip.Error) tcpip.Error {
	err := f()
	if _, block := err.(*tcpip.ErrWouldBlock); !block {
		return err
	}
	entry, notified := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	c.queue.EventRegister(&entry)
	defer c.queue.EventUnregister(&entry)
	for {
		err := f()
		if _, block := err.(*tcpip.ErrWouldBlock); !block {
			return err
		}
		select {
		case <-notified:
		case <-until:
			return &tcpip.ErrTimeout{}
		}
	}
}

// outward carries what the sandbox sends, and its end. It reports whether the
// connection is in order.
func (c *connection) outward() bool {
	if c.inspect != nil {
		if inOrder, over := c.inspectFirst(); over || !inOrder {
			return inOrder
		}
	}
	w := &outwardWriter{}
	for {
		var inner tcpip.Error
		err := c.outer.writing(func(fd int) error {
			w.fd, w.err = fd, nil
			_, inner = c.inner.Read(w, tcpip.ReadOptions{})
			return w.err
		})
		if err != nil {
			return false
		}
		if _, block := inner.(*tcpip.ErrWouldBlock); block {
			inner = c.wait(waiter.ReadableEvents, nil, c.readable)
		}
		switch inner.(type) {
		case nil:
		case *tcpip.ErrClosedForReceive:
			c.outer.endSending()
			return true
		default:
			return false
		}
	}
}

// readable says whether there is something to read: nil, ErrWouldBlock, or why
// there will be nothing.
func (c *connection) readable() tcpip.Error {
	_, err := c.inner.Read(refuser{}, tcpip.ReadOptions{Peek: true})
	if _, refused := err.(*tcpip.ErrBadBuffer); refused {
		return nil
	}
	return c.orCut(err)
}

// refuser is a writer that takes nothing.
type refuser struct{}

func (refuser) Write([]byte) (int, error) { return 0, unix.EAGAIN }

// outwardWriter writes segments of the stack's to the host's socket, where they lie.
type outwardWriter struct {
	fd  int
	err error
}

func (w *outwardWriter) Write(b []byte) (n int, err error) {
	for n < len(b) {
		var sent int
		if sent, w.err = sendNow(w.fd, b[n:]); w.err != nil {
			return n, w.err
		}
		n += sent
	}
	return n, nil
}

// inward carries what comes from the host's side, and its end.
func (c *connection) inward() bool {
	for {
		var inner tcpip.Error
		ended := false
		err := c.outer.reading(func(fd int) error {
			n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
			if err != nil {
				return err
			}
			if n == 0 {
				var one [1]byte
				n, err = ignoringInterrupts(func() (int, error) {
					n, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
					return n, err
				})
				if ended = err == nil && n == 0; err != nil || ended {
					return err
				}
			}
			source := &inwardReader{fd: fd, rest: n}
			_, inner = c.inner.Write(source, tcpip.WriteOptions{})
			return source.err
		})
		if err != nil {
			return false
		}
		if ended {
			return c.inner.Shutdown(tcpip.ShutdownWrite) == nil
		}
		if _, full := inner.(*tcpip.ErrWouldBlock); full {
			inner = c.wait(waiter.WritableEvents, nil, c.writable)
		}
		if inner != nil {
			return false
		}
	}
}

// inwardReader has the stack read into its own memory what the host's socket holds.
// It is not asked for more than that: rest bytes are there for sure.
type inwardReader struct {
	fd, rest int
	err      error
}

func (r *inwardReader) Len() int { return r.rest }

func (r *inwardReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := ignoringInterrupts(func() (int, error) { return unix.Read(r.fd, b) })
	switch {
	case err != nil && err != unix.EAGAIN:
		r.err = err
		return 0, err
	case err != nil, n == 0:
		// What has been read before would be lost: the connection breaks off.
		r.err = io.ErrUnexpectedEOF
		return 0, r.err
	}
	r.rest -= n
	return n, nil
}

// writable says whether the inner half has room.
func (c *connection) writable() tcpip.Error {
	switch {
	case c.broken.Load():
		return &tcpip.ErrAborted{}
	case c.inner.Readiness(waiter.WritableEvents) == 0:
		return &tcpip.ErrWouldBlock{}
	}
	return nil
}

// lingerTime is how long a sandbox may take to receive the rest of what was sent to
// it, once both sides have ended.
const lingerTime = 2 * time.Minute

// linger waits until the stack has nothing left to send, and closes the inner half.
// So long, what it holds counts as the connection's.
func (c *connection) linger() {
	late := time.NewTimer(lingerTime)
	defer late.Stop()
	err := c.wait(waiter.EventHUp, late.C, func() tcpip.Error {
		switch tcp.EndpointState(c.inner.State()) {
		case tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
			return nil
		}
		return &tcpip.ErrWouldBlock{}
	})
	if err != nil {
		c.inner.Abort()
	}
	c.inner.Close()
}
