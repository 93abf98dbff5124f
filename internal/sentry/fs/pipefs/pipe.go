// Package pipefs is pipe(7): pipes, and the FIFOs that file systems keep
// behind their inodes of type S_IFIFO.
//
// It must not know tasks or paths.
//
// Lock order: Pipe.mu, then the locks of its waiter queues.
package pipefs

import (
	"slices"
	"sync"
	"sync/atomic"

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
	// softPages is how many pages the open pipes may have together before new
	// ones get smallPipe pages and none is made larger: as
	// /proc/sys/fs/pipe-user-pages-soft, but for all users, since it bounds
	// the sentry's memory.
	softPages = 1 << 16
	smallPipe = 2
)

// pages is the capacity of all open pipes in pages.
var pages atomic.Int64

// Pipe is the buffer between the ends. Make one with New or NewFIFO.
type Pipe struct {
	mu  sync.Mutex
	buf ring.Buffer

	// slots tells what Linux's pipe buffers would hold: programs see in what
	// fits and in poll(2) that capacity counts pages, full or not. The oldest
	// is slots[head]; most is how many there may be.
	slots []slot
	head  int
	most  int
	// packet says that what was read last was one.
	packet bool

	// unnamed is true of what pipe(2) made, whose ends have existed: to open
	// it again through /proc or /dev/fd never waits for the other side.
	unnamed bool

	readers, writers int
	// opened counts opens for reading and for writing: that a peer came and
	// went while one slept in open(2) shows here.
	readOpens, writeOpens uint64

	// Read ends, write ends and ends that do both wait apart, so that an
	// edge is reported only to whom it concerns.
	readQ, writeQ, bothQ waiter.Queue
}

// unread puts bytes back that were read last. Without memory for them they are lost.
func (p *Pipe) unread(src []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(src) == 0 || !p.buf.Unread(src) {
		return
	}
	left := len(src)
	if p.used() > 0 && !p.packet {
		s := &p.slots[p.head]
		n := min(left, s.end-s.n)
		s.n += n
		left -= n
	}
	for ; left > 0; left -= min(left, page) {
		p.slots = slices.Insert(p.slots, p.head, slot{end: page, n: min(left, page), packet: p.packet})
	}
	p.notifyReaders(waiter.Readable)
}

// slot is one page of the pipe.
type slot struct {
	// end is how far the page has been written, n how much of that is unread.
	end, n int
	packet bool
}

// NewFIFO returns a pipe without ends, for an inode of type S_IFIFO; the
// inode's Open is the pipe's.
func NewFIFO() *Pipe { return &Pipe{most: DefaultSize / page} }

// used is the number of slots that are taken.
func (p *Pipe) used() int { return len(p.slots) - p.head }

// full reports whether there is no free slot: a pipe that is full is not
// writable to poll(2), though a few bytes may fit the last page.
func (p *Pipe) full() bool { return p.used() >= p.most }

func (p *Pipe) notifyReaders(m waiter.Mask) {
	p.readQ.Notify(m)
	p.bothQ.Notify(m)
}

func (p *Pipe) notifyWriters(m waiter.Mask) {
	p.writeQ.Notify(m)
	p.bothQ.Notify(m)
}

// read takes bytes out: up to the end of a packet, whose rest is lost
// (pipe2(2), O_DIRECT), or any number of stream bytes. EAGAIN if there are
// none but writers, 0 at the end.
func (p *Pipe) read(dst []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used() == 0 {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	wasFull := p.full()
	done := 0
	for done < len(dst) && p.used() > 0 {
		s := &p.slots[p.head]
		n := p.buf.Read(dst[done:min(len(dst), done+s.n)])
		done += n
		s.n -= n
		packet := s.packet
		p.packet = packet
		if packet {
			p.buf.Discard(s.n)
			s.n = 0
		}
		if s.n == 0 {
			p.dropSlot()
		}
		if packet {
			break
		}
	}
	if wasFull && !p.full() {
		p.notifyWriters(waiter.Writable)
	}
	return done, nil
}

// dropSlot forgets the oldest slot.
func (p *Pipe) dropSlot() {
	p.head++
	if p.head == len(p.slots) {
		p.slots, p.head = p.slots[:0], 0
	}
}

// addSlot appends a slot of n bytes.
func (p *Pipe) addSlot(n int, packet bool) {
	if len(p.slots) == cap(p.slots) && p.head > 0 {
		p.slots = p.slots[:copy(p.slots, p.slots[p.head:])]
		p.head = 0
	}
	p.slots = append(p.slots, slot{end: n, n: n, packet: packet})
}

// write puts bytes in: all of them if they are at most Atomic, else as many
// as fit; EAGAIN if that is none, EPIPE without readers, ENOMEM if pipes and
// sockets hold too much. packet makes each page's worth of them a packet.
//
// As on Linux what is over whole pages joins the last page in the pipe if it
// fits there, and the rest takes new pages.
func (p *Pipe) write(src []byte, packet bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers == 0 {
		return 0, unix.EPIPE
	}
	if len(src) == 0 {
		return 0, nil
	}
	joins := 0
	if k := len(src) % page; k > 0 && p.used() > 0 && !packet {
		if last := &p.slots[len(p.slots)-1]; !last.packet && last.end+k <= page {
			joins = k
		}
	}
	n := joins + min(len(src)-joins, max(p.most-p.used(), 0)*page)
	switch {
	case n == 0:
		return 0, unix.EAGAIN
	case !p.buf.Reserve(n):
		return 0, unix.ENOMEM
	}
	if joins > 0 {
		last := &p.slots[len(p.slots)-1]
		last.end += joins
		last.n += joins
	}
	for done := joins; done < n; done += page {
		p.addSlot(min(page, n-done), packet)
	}
	p.buf.Write(src[:n])
	p.notifyReaders(waiter.Readable)
	return n, nil
}

// Peek copies bytes without taking them, after skip of them, as far as one
// read would go: for tee(2). EAGAIN and 0 are as for a read.
func (p *Pipe) Peek(dst []byte, skip int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf.Len() <= skip {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if s := p.slots[p.head]; s.packet {
		dst = dst[:min(len(dst), max(s.n-skip, 0))]
	}
	return p.buf.Peek(dst, skip), nil
}

// Len returns how many bytes wait to be read.
func (p *Pipe) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Len()
}

// Free returns how many bytes may surely be written without waiting.
func (p *Pipe) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.most-p.used(), 0) * page
}

// Size returns the capacity: fcntl(2)'s F_GETPIPE_SZ.
func (p *Pipe) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most * page
}

// SetSize sets the capacity, rounded up to a power of two of pages, and
// returns it: fcntl(2)'s F_SETPIPE_SZ. EINVAL for a size that no pipe can
// have, EPERM above MaxSize or if pipes take too much already, EBUSY if more
// than that is in the pipe. The pipe is open.
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
	if p.used() > size/page {
		return 0, unix.EBUSY
	}
	more := int64(size/page - p.most)
	if more > 0 && pages.Load()+more > softPages {
		return 0, unix.EPERM
	}
	pages.Add(more)
	wasFull := p.full()
	if size/page < p.most {
		p.buf.Trim()
	}
	p.most = size / page
	if wasFull && !p.full() {
		p.notifyWriters(waiter.Writable)
	}
	return size, nil
}
