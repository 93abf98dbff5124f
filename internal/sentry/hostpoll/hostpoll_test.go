package hostpoll

import (
	"runtime"
	"sync/atomic"
	"testing"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Who waits must have run before the poller sleeps again with Go's processor.
func TestWokenRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var q waiter.Queue
	woken := waiter.NewChannel()
	var ran atomic.Int64
	q.Register(&waiter.Entry{Mask: waiter.In, Listener: woken})
	go func() {
		for range woken {
			ran.Add(1)
		}
	}()
	runtime.Gosched()
	p := poller{queues: map[int32]*waiter.Queue{3: &q}}
	const times = 1000
	late := 0
	for n := range int64(times) {
		if p.tell([]unix.EpollEvent{{Events: unix.EPOLLIN, Fd: 3}}); ran.Load() != n+1 {
			late++
		}
		for ran.Load() != n+1 {
			runtime.Gosched()
		}
	}
	close(woken)
	// When the host has the test wait, Go's scheduler may have who waits give up its turn.
	if late > times/100 {
		t.Errorf("%d of %d times who waits had not run", late, times)
	}
}

// Who looks takes what nobody has taken since the last look, once, and lets the goroutine run
// if that has been told already.
func TestLook(t *testing.T) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epfd)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	p := poller{epfd: epfd, queues: map[int32]*waiter.Queue{}} // and no goroutine
	var q waiter.Queue
	woken := waiter.NewChannel()
	q.Register(&waiter.Entry{Mask: waiter.In, Listener: woken})
	if err := p.add(pipe[0], &q); err != nil {
		t.Fatal(err)
	}
	look := func(when string, late, wakes bool) {
		t.Helper()
		if got := p.Look(); got != late {
			t.Errorf("%s, a look says %t", when, got)
		}
		if got := len(woken) > 0; got != wakes {
			t.Errorf("%s, who waits is woken: %t", when, got)
		}
		for len(woken) > 0 {
			<-woken
		}
	}
	write := func() {
		t.Helper()
		if _, err := unix.Write(pipe[1], []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	look("with nothing there", false, false)
	write()
	look("with something new", false, false)
	look("with something old", true, true)
	look("with what was told", false, false)
	write()
	look("with something new again", false, false)
	if n, err := unix.EpollWait(epfd, p.events[:], 0); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	look("with what the goroutine has not told yet", true, false)
	p.events[0].Events = 0
	look("with what that has told", false, false)
}
