package syscalls

import (
	"sync"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// What is sent to a stream or received from it in larger pieces is copied once on each side
// where the socket can have that: between guest memory and what the socket keeps.

// directMin is from how many bytes on that pays.
const directMin = smallBuffer + 1

// guestMemory is a guestBuffer as a socket.Memory.
type guestMemory struct {
	t *kernel.Task
	g guestBuffer
}

var guestMemories = sync.Pool{New: func() any { return new(guestMemory) }}

func (m *guestMemory) put() {
	*m = guestMemory{}
	guestMemories.Put(m)
}

// CopyIn implements socket.Memory.
func (m *guestMemory) CopyIn(p []byte) (int, error) { return m.g.copyIn(m.t, p) }

// CopyOut implements socket.Memory. The buffer has been found writable.
func (m *guestMemory) CopyOut(p []byte) (int, error) { return m.g.copyOutLate(m.t, p, true) }

// Fill implements socket.Memory. A buffer of several ranges is filled in one step only by a
// buffer in between.
func (m *guestMemory) Fill(n int, fill func(p []byte) int) bool {
	r := m.g.next()
	return uint64(n) <= r.length && m.t.FillResultLate(r.addr, n, m.g.walked, fill)
}

// directOf returns the stream behind f if n bytes are to be moved directly.
func directOf(f vfs.File, n uint64) socket.Direct {
	if n < directMin {
		return nil
	}
	if s, ok := f.(socket.Direct); ok && s.Stream() {
		return s
	}
	return nil
}

// sendDirect sends g's bytes to s, waiting for room if it may. If ok is false, what g has
// left is yet to be sent otherwise.
func (x *exchange) sendDirect(t *kernel.Task, s socket.Direct, g *guestBuffer) (done uintptr, ok bool, err error) {
	m := guestMemories.Get().(*guestMemory)
	m.t = t
	defer m.put()
	for g.total > 0 && !t.Dying() {
		n := 0
		err = waitSocket(t, s, x.nonblock, waiter.Writable, x.deadline(s.WriteTimeout()), func() (err error) {
			m.g = *g
			n, ok, err = s.SendFrom(m, int(g.total), x.flags)
			return err
		})
		g.skip(n)
		done += uintptr(n)
		if !ok || err != nil {
			break
		}
		woke(t, s, n)
	}
	return done, ok, heeded(done, err)
}

// recvDirect receives from s into g, and waits as long as less than target bytes have come.
// If ok is false, more is yet to be received otherwise.
func (x *exchange) recvDirect(t *kernel.Task, s socket.Direct, g *guestBuffer, target uint64) (done uintptr, ok bool, err error) {
	m := guestMemories.Get().(*guestMemory)
	m.t = t
	defer m.put()
	for g.total > 0 {
		step, n := int(min(g.total, maxStep)), 0
		nonblock := x.nonblock || done > 0 && uint64(done) >= target
		err = waitSocket(t, s, nonblock, waiter.Readable|waiter.RdHup, x.deadline(s.ReadTimeout()), func() (err error) {
			m.g = *g
			n, ok, err = s.RecvTo(m, step, x.flags)
			return err
		})
		g.skip(n)
		done += uintptr(n)
		if !ok || err != nil || n == 0 {
			break
		}
		t.Received(s)
		if n < step && uint64(done) >= target {
			break
		}
	}
	return done, ok, heeded(done, err)
}

// heeded is the error of a call that moved done bytes before: a bad address that was
// reached later is none.
func heeded(done uintptr, err error) error {
	if done > 0 && err == unix.EFAULT {
		return nil
	}
	return err
}
