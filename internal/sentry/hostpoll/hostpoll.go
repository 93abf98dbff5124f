// Package hostpoll tells who waits for a descriptor of the host's that it became
// ready. One goroutine sleeps in epoll_wait(2) for all of them. When it is late, those
// do its work who may keep it from running.
//
// It must not know whose descriptors they are.
package hostpoll

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// poller is the goroutine and those who wait. It is started with the first.
type poller struct {
	mu   sync.Mutex
	epfd int // 0 before the goroutine is started
	// queues are by descriptor number. A number that is given again after an
	// event of the old one was fetched wakes somebody for nothing, no more.
	queues map[int32]*waiter.Queue

	// events are what the goroutine is told. The first one's mask is 0 while it sleeps: the
	// host changes that before the goroutine has one of Go's processors.
	events [32]unix.EpollEvent
	// pending says that something was there at the last look.
	pending bool
}

var all poller

// watched are the events asked for. They are edge-triggered: a waiter
// registers, then looks, then sleeps, so no edge is lost, and a level that
// nobody takes costs nothing.
const watched = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

// Add has q told of fd's events. EPERM if the host cannot poll it.
func Add(fd int, q *waiter.Queue) error { return all.add(fd, q) }

// Remove undoes Add, before fd is closed.
func Remove(fd int) { all.remove(fd) }

func (p *poller) add(fd int, q *waiter.Queue) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epfd == 0 {
		epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		p.epfd, p.queues = epfd, map[int32]*waiter.Queue{}
		go crash.Guard(func() { p.run(epfd) })()
	}
	ev := unix.EpollEvent{Events: watched, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return err
	}
	p.queues[int32(fd)] = q
	return nil
}

func (p *poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	delete(p.queues, int32(fd))
}

func (p *poller) run(epfd int) {
	waiter.LookAfter(p)
	for {
		n, err := unix.EpollWait(epfd, p.events[:], -1)
		events := p.events
		atomic.StoreUint32(&p.events[0].Events, 0) // we run
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			panic("hostpoll: epoll_wait: " + err.Error())
		}
		p.tell(events[:n])
	}
}

// tell wakes those who wait for the events, and has them run.
func (p *poller) tell(events []unix.EpollEvent) {
	p.wake(events)
	waiter.LetRun()
}

// wake wakes those who wait for the events.
func (p *poller) wake(events []unix.EpollEvent) {
	for _, e := range events {
		p.mu.Lock()
		q := p.queues[e.Fd]
		p.mu.Unlock()
		if q != nil {
			q.Notify(maskOf(e.Events))
		}
	}
}

// Look implements waiter.Looker. The goroutine may wait for one of Go's processors, or its
// thread for one of the host's: what that has not taken since the last look is taken here.
func (p *poller) Look() bool {
	if atomic.LoadUint32(&p.events[0].Events) != 0 {
		return true
	}
	late := p.pending
	p.pending = Poll(p.epfd, waiter.In) != 0
	if !late || !p.pending {
		return false
	}
	var events [8]unix.EpollEvent
	n, err := unix.EpollWait(p.epfd, events[:], 0)
	if err != nil {
		return false // the goroutine tells
	}
	p.wake(events[:n])
	return n > 0
}

// maskOf adds the "normal data" events of poll(2) to what epoll says.
func maskOf(events uint32) waiter.Mask {
	m := waiter.Mask(events)
	if m&waiter.In != 0 {
		m |= waiter.Readable
	}
	if m&waiter.Out != 0 {
		m |= waiter.Writable
	}
	return m
}

// Poll asks the host for the events of mask that hold now.
func Poll(fd int, mask waiter.Mask) waiter.Mask {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: int16(mask & 0x7fff)}}
	for {
		_, err := unix.Poll(p[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		return waiter.Mask(uint16(p[0].Revents)) & (mask | waiter.Always)
	}
}
