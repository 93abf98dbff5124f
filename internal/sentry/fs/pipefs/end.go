package pipefs

import (
	"encoding/binary"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// End is one open file description of a pipe: for reading, writing or both.
type End struct {
	vfs.NoFile
	pipe          *Pipe
	reads, writes bool
	// hadWriter and writeOpens (Pipe's, at this end's open) tell whether a
	// writer has ever been there: there is no POLLHUP before the first.
	hadWriter  bool
	writeOpens uint64
	// peerOpens is the count of the other side's opens that Ready waits to
	// see surpassed; waits says whether it has to.
	waits     bool
	peerOpens uint64
}

// New returns the read and the write end of a new pipe, each a description
// with one reference. flags may hold O_NONBLOCK and O_DIRECT.
func New(cred *auth.Credentials, flags uint32) (r, w *vfs.FileDescription) {
	p := NewFIFO()
	p.unnamed = true
	ino := anon.New("pipe:", unix.S_IFIFO|0600, anon.PipeDev, cred)
	ino.OnOpen(p.Open)
	flags &= unix.O_NONBLOCK | unix.O_DIRECT
	p.mu.Lock()
	rf, wf := p.attach(true, false), p.attach(false, true)
	p.mu.Unlock()
	return vfs.NewDescription(rf, ino, vfs.Path{}, unix.O_RDONLY|flags),
		vfs.NewDescription(wf, ino, vfs.Path{}, unix.O_WRONLY|flags)
}

// Of returns the pipe behind a file and which ways the file goes, or nil.
func Of(f vfs.File) (p *Pipe, reads, writes bool) {
	if e, ok := f.(*End); ok {
		return e.pipe, e.reads, e.writes
	}
	return nil, false, false
}

// Open makes an end for open(2) on a FIFO, or on a pipe by its link in /proc.
// It never waits: unless flags hold O_NONBLOCK the caller has to wait, for
// readiness of any kind, while the End's OpenReady says EAGAIN. ENXIO for a
// non-blocking writer of a FIFO without readers.
func (p *Pipe) Open(_ vfs.Caller, flags uint32) (vfs.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e *End
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		e = p.attach(true, false)
		e.waits, e.peerOpens = p.writers == 0 && flags&unix.O_NONBLOCK == 0 && !p.unnamed, p.writeOpens
	case unix.O_WRONLY:
		if flags&unix.O_NONBLOCK != 0 && p.readers == 0 && !p.unnamed {
			return nil, unix.ENXIO
		}
		e = p.attach(false, true)
		e.waits, e.peerOpens = p.readers == 0 && !p.unnamed, p.readOpens
	case unix.O_RDWR:
		e = p.attach(true, true)
	default:
		return nil, unix.EINVAL
	}
	return e, nil
}

// attach counts a new end in. Pipe.mu is held.
func (p *Pipe) attach(reads, writes bool) *End {
	e := &End{pipe: p, reads: reads, writes: writes}
	if p.readers == 0 && p.writers == 0 {
		p.most = DefaultSize / page
		if pages.Add(int64(p.most)) > softPages {
			pages.Add(smallPipe - int64(p.most))
			p.most = smallPipe
		}
	}
	if reads {
		p.readers++
		p.readOpens++
	}
	if writes {
		p.writers++
		p.writeOpens++
	}
	e.hadWriter, e.writeOpens = p.writers > 0 || p.unnamed, p.writeOpens
	// Wake who sleeps in open(2); to others this is a spurious event.
	if writes {
		p.readQ.Notify(waiter.All)
	}
	if reads {
		p.writeQ.Notify(waiter.All)
	}
	return e
}

// OpenReady implements vfs.BlockingOpener: EAGAIN while open(2) has to wait
// for the other side.
func (e *End) OpenReady() error {
	if !e.waits {
		return nil
	}
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.reads && p.writeOpens == e.peerOpens || e.writes && p.readOpens == e.peerOpens {
		return unix.EAGAIN
	}
	return nil
}

// Read implements vfs.File.
func (e *End) Read(_ vfs.Caller, dst []byte, _ int64) (int, error) {
	if !e.reads {
		return 0, unix.EBADF
	}
	return e.pipe.read(dst)
}

// Unread implements vfs.Unreader.
func (e *End) Unread(p []byte) { e.pipe.unread(p) }

// Write implements vfs.File. EPIPE if nobody can read; the caller sends SIGPIPE.
func (e *End) Write(_ vfs.Caller, src []byte, off int64, flags uint32) (int, int64, error) {
	if !e.writes {
		return 0, off, unix.EBADF
	}
	n, err := e.pipe.write(src, flags&unix.O_DIRECT != 0)
	return n, off, err
}

// Ioctl implements vfs.File.
func (e *End) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	if cmd != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(e.pipe.Len()))
	_, err := c.CopyOut(arg, b[:])
	return 0, err
}

// Readiness implements waiter.Waitable, as poll(2) describes pipes: a read
// end hangs up when the last writer has gone, a write end is in error when
// the last reader has.
func (e *End) Readiness(mask waiter.Mask) waiter.Mask {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	var m waiter.Mask
	if e.reads {
		if p.buf.Len() > 0 {
			m |= waiter.Readable
		}
		if p.writers == 0 && (e.hadWriter || p.writeOpens != e.writeOpens) {
			m |= waiter.Hup
		}
	}
	if e.writes {
		if !p.full() {
			m |= waiter.Writable
		}
		if p.readers == 0 {
			m |= waiter.Err
		}
	}
	return m & mask
}

func (e *End) queue() *waiter.Queue {
	switch {
	case e.reads && e.writes:
		return &e.pipe.bothQ
	case e.reads:
		return &e.pipe.readQ
	}
	return &e.pipe.writeQ
}

// Register implements waiter.Waitable.
func (e *End) Register(w *waiter.Entry) { e.queue().Register(w) }

// Unregister implements waiter.Waitable.
func (e *End) Unregister(w *waiter.Entry) { e.queue().Unregister(w) }

// PipeSize and SetPipeSize implement vfs.PipeSizer.
func (e *End) PipeSize() int { return e.pipe.Size() }

// SetPipeSize is Pipe.SetSize.
func (e *End) SetPipeSize(_ vfs.Caller, size int) (int, error) {
	if size < 0 {
		return 0, unix.EINVAL
	}
	return e.pipe.SetSize(uint64(size))
}

// Fsync implements vfs.File.
func (e *End) Fsync(bool) error { return unix.EINVAL }

// Release implements vfs.File: the last end of a side tells the other side,
// and the last of all drops what nobody can read any more.
func (e *End) Release() {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.reads {
		p.readers--
	}
	if e.writes {
		p.writers--
	}
	if e.writes && p.writers == 0 {
		p.notifyReaders(waiter.Readable | waiter.Hup)
	}
	if e.reads && p.readers == 0 {
		p.notifyWriters(waiter.Writable | waiter.Err)
	}
	if p.readers == 0 && p.writers == 0 {
		p.buf.Release()
		p.slots, p.head = nil, 0
		pages.Add(-int64(p.most))
	}
}

var (
	_ vfs.BlockingOpener = (*End)(nil)
	_ vfs.PipeSizer      = (*End)(nil)
)
