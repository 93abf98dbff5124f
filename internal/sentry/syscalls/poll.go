package syscalls

import (
	"encoding/binary"
	"math"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func pollRows() []Row {
	return []Row{
		full(7, "poll", sysPoll, P("fds", PollFDs), P("nfds", Unsigned), P("timeout", Dec)),
		full(271, "ppoll", sysPpoll, P("fds", PollFDs), P("nfds", Unsigned), P("tmo_p", Timespec),
			P("sigmask", SigSet), P("sigsetsize", Unsigned)),
		full(23, "select", sysSelect, P("nfds", Dec), P("readfds", InOutFDSet).counts(-1),
			P("writefds", InOutFDSet).counts(-2), P("exceptfds", InOutFDSet).counts(-3),
			P("timeout", Timeval)),
		full(270, "pselect6", sysPselect6, P("nfds", Dec), P("readfds", InOutFDSet).counts(-1),
			P("writefds", InOutFDSet).counts(-2), P("exceptfds", InOutFDSet).counts(-3),
			P("timeout", Timespec), P("sigmask", SigSetArg)),
	}
}

// sizeofPollFD is sizeof(struct pollfd).
const sizeofPollFD = 8

// fromNow is the time in d, for Block; a time beyond what counts is never.
func fromNow(d time.Duration) time.Time {
	if d > math.MaxInt64/2 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// millisecondsFromNow is fromNow for a time-out in milliseconds, where
// negative means never.
func millisecondsFromNow(ms int32) time.Time {
	if ms < 0 {
		return time.Time{}
	}
	return fromNow(time.Duration(ms) * time.Millisecond)
}

// left is what remains until a deadline, at least 0.
func left(deadline time.Time) time.Duration { return max(time.Until(deadline), 0) }

// pushMask sets the signal mask at addr, if there is one, for the present
// call. PopMask ends it, and must be called in every case.
func pushMask(t *kernel.Task, addr, size uint64) error {
	if addr == 0 {
		return nil
	}
	if size != 8 {
		return unix.EINVAL
	}
	v, err := t.CopyInUint64(addr)
	if err != nil {
		return err
	}
	t.PushMask(abi.SignalSet(v))
	return nil
}

// sysPoll is poll(2). After a signal without a handler it goes on with what
// is left of the time-out.
func sysPoll(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return pollAgain(t, a[0], a[1], millisecondsFromNow(a.Int(2)), a.Int(2) == 0)
}

func pollAgain(t *kernel.Task, addr, n uint64, deadline time.Time, once bool) (uintptr, error) {
	ready, err := poll(t, addr, n, deadline, once)
	if err == abi.ERESTARTSYS {
		return 0, t.SetRestart(func(t *kernel.Task) (uintptr, error) {
			return pollAgain(t, addr, n, deadline, once)
		})
	}
	return ready, err
}

// sysPpoll is ppoll(2); as the system call, not the library function, it
// updates the time-out.
func sysPpoll(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var deadline time.Time
	once := false
	if a[2] != 0 {
		d, err := copyInTimespec(t, a[2])
		if err != nil {
			return 0, err
		}
		deadline, once = fromNow(d), d == 0
	}
	if err := pushMask(t, a[3], a[4]); err != nil {
		return 0, err
	}
	n, err := poll(t, a[0], a[1], deadline, once)
	t.PopMask(err == abi.ERESTARTSYS)
	if a[2] != 0 && !deadline.IsZero() {
		// As on Linux, a time-out in read-only memory is not an error.
		_ = copyOutTimespec(t, a[2], left(deadline))
	}
	if err == abi.ERESTARTSYS {
		err = abi.ERESTARTNOHAND
	}
	return n, err
}

// poll answers poll(2) for n entries at addr. ERESTARTSYS if a signal came.
func poll(t *kernel.Task, addr, n uint64, deadline time.Time, once bool) (uintptr, error) {
	if n > t.Limit(unix.RLIMIT_NOFILE) || n > maxPolled {
		return 0, unix.EINVAL
	}
	p := newPolling(int(n))
	defer p.release()
	raw := p.raw(int(n) * sizeofPollFD)
	if _, err := t.CopyIn(addr, raw); err != nil {
		return 0, err
	}
	for i := range int(n) {
		e := raw[i*sizeofPollFD:]
		p.add(t, int32(binary.LittleEndian.Uint32(e)), uint32(binary.LittleEndian.Uint16(e[4:])))
	}
	ready, err := p.wait(t, deadline, once)
	if err != nil {
		return 0, err
	}
	for i := range int(n) {
		binary.LittleEndian.PutUint16(raw[i*sizeofPollFD+6:], uint16(p.polled[i].got))
	}
	// One copy for all; the other fields are what the guest had there.
	if err := t.CopyOutLate(addr, raw); err != nil {
		return 0, err
	}
	return uintptr(ready), nil
}
