package link

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ready waits until a socket is ready for one kind of event (epoll(7)). Go's poller watches
// it, and not the socket: there it would wait for all events, and the host tells of room
// for more each time that a frame which was sent has been taken, which would wake a thread
// for each frame.
type ready struct {
	file   *os.File
	raw    syscall.RawConn
	events uint32
	// waits counts the waits. asleep is the number of the one that is on, or 0.
	waits  int64
	asleep atomic.Int64

	// pending is the wait that was on at the last look, if there was something that would end it,
	// or 0. toLook is poll, made once, and found what it found.
	pending int64
	toLook  func(uintptr)
	found   bool
}

// OpenReady makes an epoll instance for Config.Ready.
func OpenReady() (*os.File, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll instance: %w", err)
	}
	// So that Go's poller takes it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("an epoll instance for Go's poller: %w", err)
	}
	return os.NewFile(uintptr(fd), "epoll"), nil
}

// newReady uses an epoll instance that OpenReady has made, or makes one if fd is 0.
func newReady(fd int, events uint32) (*ready, error) {
	r := &ready{events: events}
	r.toLook = r.poll
	var err error
	if fd != 0 {
		r.file = os.NewFile(uintptr(fd), "epoll")
	} else if r.file, err = OpenReady(); err != nil {
		return nil, err
	}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		r.file.Close()
		return nil, err
	}
	return r, nil
}

// watch begins with a socket, unwatch ends with it.
func (r *ready) watch(fd uintptr) error { return r.control(unix.EPOLL_CTL_ADD, fd) }

func (r *ready) unwatch(fd uintptr) error { return r.control(unix.EPOLL_CTL_DEL, fd) }

func (r *ready) control(op int, fd uintptr) error {
	var err error
	e := r.raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), op, int(fd), &unix.EpollEvent{Events: r.events | unix.EPOLLET, Fd: int32(fd)})
	})
	if e != nil {
		return e
	}
	return err
}

// wait calls f until it is true, and waits for an event after each time that it is not.
// Events that come while f runs count. The error says that r is closed.
func (r *ready) wait(f func() bool) error {
	for {
		err := r.raw.Read(func(uintptr) bool {
			r.asleep.Store(0)
			if f() {
				return true
			}
			r.waits++
			r.asleep.Store(r.waits)
			return false
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		r.file.SetReadDeadline(time.Time{}) // look has set one
	}
}

// first waits for an event, and leaves it there.
func (r *ready) first() error {
	return r.wait(func() (is bool) {
		r.raw.Control(func(epoll uintptr) { is = isReady(epoll) })
		return is
	})
}

// past ends a wait at once.
var past = time.Unix(1, 0)

// look ends a wait that would have ended by the last look already, and reports whether there is
// one. One goroutine at a time may look.
func (r *ready) look() bool {
	late, now := r.pending, r.asleep.Load()
	r.pending = 0
	if now == 0 || r.raw.Control(r.toLook) != nil || !r.found {
		return false
	}
	r.pending = now
	return now == late && r.file.SetReadDeadline(past) == nil
}

// poll asks the host whether there is something.
func (r *ready) poll(epoll uintptr) { r.found = isReady(epoll) }

func isReady(epoll uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(epoll), Events: unix.POLLIN}}
	n, _ := unix.Poll(p[:], 0)
	return n > 0
}

func (r *ready) close() {
	if r != nil {
		r.file.Close()
	}
}
