// Package pipefs is pipe(7): pipes, and the FIFOs that file systems keep
// behind their inodes of type S_IFIFO.
//
// It must not know tasks or paths.
//
// Lock order: Pipe.mu, then the locks of its waiter queues.
package pipefs

import (
	"sync"

	"coffer/internal/sentry/ring"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// Atomic is PIPE_BUF: writes of at most this many bytes are not torn.
	Atomic = 4096
	// DefaultSize is the capacity of a new pipe in bytes.
	DefaultSize = 16 * 4096
	// MaxSize is the largest capacity, /proc/sys/fs/pipe-max-size, which not
	// even CAP_SYS_RESOURCE exceeds here: it bounds the sentry's memory.
	MaxSize = 1 << 20
	// page is the unit in which Linux counts capacity.
	page = 4096
)

// Pipe is the buffer between the ends. Make one with New or NewFIFO.
type Pipe struct {
	mu   sync.Mutex
	buf  ring.Buffer
	size int

	// segs divides the buffer's contents into packets and stretches of
	// stream, oldest first; it is empty while no packet is in the pipe.
	segs []segment

	readers, writers int
	// opened counts opens for reading and for writing: that a peer came and
	// went while one slept in open(2) shows here.
	readOpens, writeOpens uint64

	// Read ends, write ends and ends that do both wait apart, so that an
	// edge is reported only to whom it concerns.
	readQ, writeQ, bothQ waiter.Queue
}

type segment struct {
	n      int
	packet bool
}

// NewFIFO returns a pipe without ends, for an inode of type S_IFIFO; the
// inode's Open is the pipe's.
func NewFIFO() *Pipe { return &Pipe{size: DefaultSize} }

// full reports whether a writer of any size has to wait: poll(2) calls a pipe
// writable while there is room for an atomic write.
func (p *Pipe) full() bool {
	return p.size-p.buf.Len() < Atomic || len(p.segs) >= p.size/page
}

func (p *Pipe) notifyReaders(m waiter.Mask) {
	p.readQ.Notify(m)
	p.bothQ.Notify(m)
}

func (p *Pipe) notifyWriters(m waiter.Mask) {
	p.writeQ.Notify(m)
	p.bothQ.Notify(m)
}

// read takes bytes out. EAGAIN if there are none but writers, 0 at the end.
func (p *Pipe) read(dst []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf.Len() == 0 && len(p.segs) == 0 {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if len(dst) == 0 {
		return 0, nil
	}
	wasFull := p.full()
	n := p.take(dst)
	if wasFull && !p.full() {
		p.notifyWriters(waiter.Writable)
	}
	return n, nil
}

// take removes bytes for one read: up to the end of a packet, whose rest is
// lost (pipe2(2), O_DIRECT), or any number of stream bytes.
func (p *Pipe) take(dst []byte) int {
	if len(p.segs) == 0 {
		return p.buf.Read(dst)
	}
	s := &p.segs[0]
	n := p.buf.Read(dst[:min(len(dst), s.n)])
	s.n -= n
	if s.packet {
		p.buf.Discard(s.n)
		s.n = 0
	}
	if s.n == 0 {
		p.segs = p.segs[:copy(p.segs, p.segs[1:])]
	}
	return n
}

// write puts bytes in: all of them if they are at most Atomic, else as many
// as fit; EAGAIN if that is none, EPIPE without readers. packet makes each
// write (of at most Atomic bytes) a packet.
func (p *Pipe) write(src []byte, packet bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(src) == 0 {
		return 0, nil
	}
	if p.readers == 0 {
		return 0, unix.EPIPE
	}
	n := 0
	if packet {
		for n < len(src) {
			k := min(len(src)-n, Atomic)
			if p.size-p.buf.Len() < k || len(p.segs) >= p.size/page {
				break
			}
			p.addSegment(k, true)
			p.buf.Write(src[n : n+k])
			n += k
		}
	} else {
		n = min(len(src), p.size-p.buf.Len())
		if len(src) <= Atomic && n < len(src) {
			n = 0
		}
		if n > 0 {
			if len(p.segs) > 0 {
				p.addSegment(n, false)
			}
			p.buf.Write(src[:n])
		}
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	p.notifyReaders(waiter.Readable)
	return n, nil
}

// addSegment records n bytes that are about to be written.
func (p *Pipe) addSegment(n int, packet bool) {
	if len(p.segs) == 0 && p.buf.Len() > 0 {
		p.segs = append(p.segs, segment{p.buf.Len(), false})
	}
	if last := len(p.segs) - 1; !packet && last >= 0 && !p.segs[last].packet {
		p.segs[last].n += n
		return
	}
	p.segs = append(p.segs, segment{n, packet})
}

// Peek copies bytes without taking them, after skip of them: for tee(2).
// EAGAIN and 0 are as for a read.
func (p *Pipe) Peek(dst []byte, skip int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf.Len() <= skip {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	return p.buf.Peek(dst, skip), nil
}

// Len returns how many bytes wait to be read.
func (p *Pipe) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Len()
}

// Free returns how many bytes may be written without waiting.
func (p *Pipe) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.size-p.buf.Len(), 0)
}

// Size returns the capacity: fcntl(2)'s F_GETPIPE_SZ.
func (p *Pipe) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// SetSize sets the capacity, rounded up to a power of two of pages, and
// returns it: fcntl(2)'s F_SETPIPE_SZ. EINVAL for a size that no pipe can
// have, EPERM above MaxSize, EBUSY if more than that is in the pipe.
func (p *Pipe) SetSize(n uint64) (int, error) {
	if n > 1<<31 {
		return 0, unix.EINVAL
	}
	size := page
	for uint64(size) < n {
		size *= 2
	}
	if size > MaxSize {
		return 0, unix.EPERM
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf.Len() > size || len(p.segs) > size/page {
		return 0, unix.EBUSY
	}
	wasFull := p.full()
	if size < p.size {
		p.buf.Trim()
	}
	p.size = size
	if wasFull && !p.full() {
		p.notifyWriters(waiter.Writable)
	}
	return size, nil
}
