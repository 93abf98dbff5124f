package syscalls

import (
	"sync"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// maxPolled bounds one poll(2) or select(2), beside RLIMIT_NOFILE.
const maxPolled = 1 << 17

// polling is one call's wait for any of several files: what poll(2) and
// select(2) share. They are pooled so that polling a few files does not
// allocate.
type polling struct {
	polled []polled
	buf    []byte
	ch     waiter.Channel
}

// polled is one file that is waited for.
type polled struct {
	file  *vfs.FileDescription // with a reference; nil for none
	want  waiter.Mask
	got   waiter.Mask
	entry waiter.Entry
}

var pollings = sync.Pool{New: func() any { return &polling{ch: waiter.NewChannel()} }}

// newPolling returns an empty polling with room for n files.
func newPolling(n int) *polling {
	p := pollings.Get().(*polling)
	if cap(p.polled) < n {
		p.polled = make([]polled, 0, n)
	}
	return p
}

// raw returns n bytes of room, not cleared.
func (p *polling) raw(n int) []byte {
	if cap(p.buf) < n {
		p.buf = make([]byte, n)
	}
	return p.buf[:n]
}

// add appends a descriptor to wait for. A negative one is ignored, and one
// that is not open is POLLNVAL.
func (p *polling) add(t *kernel.Task, fd int32, events uint32) {
	e := polled{want: waiter.Mask(events) | waiter.Always}
	if fd >= 0 {
		if e.file = t.FDs().Get(fd); e.file == nil || e.file.Flags()&unix.O_PATH != 0 {
			e.got = waiter.Nval
		}
	}
	p.polled = append(p.polled, e)
}

// check asks all files and returns how many have something to say.
func (p *polling) check() int {
	n := 0
	for i := range p.polled {
		e := &p.polled[i]
		if e.file != nil && e.got != waiter.Nval {
			e.got = e.file.Readiness(e.want) & e.want
		}
		if e.got != 0 {
			n++
		}
	}
	return n
}

// wait returns how many files are ready, as soon as there is one or the
// deadline passes; once says not to wait at all. Task.Block's error if a
// signal comes first.
func (p *polling) wait(t *kernel.Task, deadline time.Time, once bool) (int, error) {
	n := p.check()
	if n > 0 || once {
		return n, nil
	}
	for i := range p.polled {
		if e := &p.polled[i]; e.file != nil {
			e.entry = waiter.Entry{Mask: e.want, Listener: p.ch}
			e.file.Register(&e.entry)
		}
	}
	defer p.unregister()
	for {
		if n := p.check(); n > 0 {
			return n, nil
		}
		switch err := t.Block(p.ch, deadline); err {
		case nil:
		case unix.ETIMEDOUT:
			return p.check(), nil
		default:
			return 0, err
		}
	}
}

func (p *polling) unregister() {
	for i := range p.polled {
		if e := &p.polled[i]; e.file != nil {
			e.file.Unregister(&e.entry)
		}
	}
	select {
	case <-p.ch:
	default:
	}
}

// release drops the references and gives p back.
func (p *polling) release() {
	for i := range p.polled {
		if f := p.polled[i].file; f != nil {
			f.DecRef()
		}
	}
	clear(p.polled)
	p.polled = p.polled[:0]
	const worthKeeping = 1024
	if cap(p.polled) > worthKeeping {
		p.polled, p.buf = nil, nil
	}
	pollings.Put(p)
}
