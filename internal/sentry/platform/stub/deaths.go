package stub

import (
	"sync"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
)

// WithDeathWatch has the ends of processes noticed by their sockets, which the
// host closes: the reaper does not get to see a process some of whose threads
// wait for their tracer.
func WithDeathWatch() Option {
	return func(s *Stubs) {
		if fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
			s.deaths = &deathWatch{epoll: fd, procs: make(map[int32]*Process)}
			go crash.Guard(s.deaths.run)()
		}
	}
}

// deathWatch waits for sockets that are hung up. A nil one watches nothing.
type deathWatch struct {
	epoll int

	mu     sync.Mutex
	last   int32
	procs  map[int32]*Process
	closed bool
}

// add starts to watch p, whose number there is not its descriptor's: that may
// soon be another's.
func (w *deathWatch) add(p *Process) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for w.last++; w.procs[w.last] != nil; w.last++ {
	}
	p.watch = w.last
	ev := unix.EpollEvent{Events: unix.EPOLLET, Fd: p.watch}
	if unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, p.sock, &ev) == nil {
		w.procs[p.watch] = p
	}
}

// remove ends it; that the descriptor is closed does so for the host.
func (w *deathWatch) remove(p *Process) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.procs, p.watch)
}

// close ends the watch: with the first death from now on, of which there is
// one at least, the template's.
func (w *deathWatch) close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

func (w *deathWatch) run() {
	events := make([]unix.EpollEvent, 16)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			w.mu.Lock()
			p := w.procs[ev.Fd]
			w.mu.Unlock()
			if p != nil {
				p.setGone()
			}
		}
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			unix.Close(w.epoll)
			return
		}
	}
}

// SetDeath implements platform.Mortal.
func (p *Process) SetDeath(f func()) {
	p.mu.Lock()
	p.death = f
	p.mu.Unlock()
	if p.gone.Load() {
		p.tellDeath()
	}
}

// tellDeath calls what SetDeath was given, unless nobody uses the process any
// more.
func (p *Process) tellDeath() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.death; f != nil && p.refs > 0 {
		p.death = nil
		go crash.Guard(f)()
	}
}
