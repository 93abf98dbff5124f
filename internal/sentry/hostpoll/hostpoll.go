// Package hostpoll tells who waits for a descriptor of the host's that it became
// ready. One goroutine sleeps in epoll_wait(2) for all of them.
//
// It must not know whose descriptors they are.
package hostpoll

import (
	"sync"

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
	var events [32]unix.EpollEvent
	for {
		n, err := unix.EpollWait(epfd, events[:], -1)
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
	for _, e := range events {
		p.mu.Lock()
		q := p.queues[e.Fd]
		p.mu.Unlock()
		if q != nil {
			q.Notify(maskOf(e.Events))
		}
	}
	waiter.LetRun()
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
