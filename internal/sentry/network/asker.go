package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"coffer/internal/egress"
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

const (
	// askPatience is how long an answer may take. It takes far less than a millisecond, but
	// for the first one the helper has to be started, perhaps on a busy host.
	askPatience = 20 * time.Second
	// permitHolds is for how long a permission is not asked for again. Whoever carries
	// the frames asks for himself.
	permitHolds = time.Second
	// maxPermitted bounds the permissions that are kept.
	maxPermitted = 256
)

// asker is a Policy that asks whoever carries the frames, over a socket. It waits for
// answers of several programs at once. An answer that does not come is a refusal.
type asker struct {
	f *os.File

	mu sync.Mutex
	// reading says that there is a goroutine that reads answers, dead that it has ended.
	reading, dead bool
	last          uint64
	waiting       map[uint64]*answer
	permitted     map[permission]time.Time
}

// answer is what somebody waits for.
type answer struct {
	come      chan struct{} // closed with the answer
	permitted bool
}

// permission is what is asked for, apart from who asks.
type permission struct {
	protocol uint8
	to       netip.AddrPort
}

// NewAsker returns a policy that asks over a non-blocking SOCK_SEQPACKET socket, which it
// takes over (egress.Question).
func NewAsker(fd int) (Policy, error) {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		return nil, fmt.Errorf("the socket to ask about flows is not a non-blocking one (flags %#x, %v)", flags, err)
	}
	return &asker{
		f:       os.NewFile(uintptr(fd), "questions about flows"),
		waiting: map[uint64]*answer{}, permitted: map[permission]time.Time{},
	}, nil
}

// Permit implements Policy.
func (a *asker) Permit(f Flow) error {
	p := permission{f.Protocol, f.To}
	answer, id, known := a.expect(p)
	if known {
		return nil
	}
	if answer == nil {
		return unix.EACCES
	}
	defer a.forget(id)
	q := egress.Question{ID: id, Protocol: f.Protocol, From: f.From, To: f.To, PID: f.PID, Command: f.Command}
	a.f.SetWriteDeadline(time.Now().Add(askPatience))
	if _, err := a.f.Write(q.Append(nil)); err != nil {
		return unix.EACCES
	}
	block := f.Block
	if block == nil {
		block = wait
	}
	switch err := block(answer.come, time.Now().Add(askPatience)); {
	case errors.Is(err, unix.ETIMEDOUT):
	case err != nil:
		// After a signal the call is made again: no program expects EINTR of one that
		// need not wait on Linux.
		return abi.ERESTARTNOINTR
	case answer.permitted:
		a.remember(p)
		return nil
	}
	return unix.EACCES
}

// wait waits for a caller who cannot be interrupted.
func wait(come <-chan struct{}, until time.Time) error {
	patience := time.NewTimer(time.Until(until))
	defer patience.Stop()
	select {
	case <-come:
		return nil
	case <-patience.C:
		return unix.ETIMEDOUT
	}
}

// expect reports whether a permission is known, or returns where the answer to a
// question with the ID will come; nil if none will.
func (a *asker) expect(p permission) (w *answer, id uint64, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until, ok := a.permitted[p]; ok && time.Now().Before(until) {
		return nil, 0, true
	}
	if a.dead {
		return nil, 0, false
	}
	if !a.reading {
		a.reading = true
		go a.read()
	}
	a.last++
	w = &answer{come: make(chan struct{})}
	a.waiting[a.last] = w
	return w, a.last, false
}

func (a *asker) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

func (a *asker) remember(p permission) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.permitted) >= maxPermitted {
		clear(a.permitted)
	}
	a.permitted[p] = time.Now().Add(permitHolds)
}

// read hands answers to those who wait, until the other end is no more. Then nothing
// is permitted.
func (a *asker) read() {
	b := make([]byte, 64)
	for {
		n, err := a.f.Read(b)
		if err != nil {
			break
		}
		if r, err := egress.ParseReply(b[:n]); err == nil {
			a.mu.Lock()
			if w := a.waiting[r.ID]; w != nil {
				delete(a.waiting, r.ID)
				w.permitted = r.Permitted
				close(w.come)
			}
			a.mu.Unlock()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dead = true
	clear(a.permitted)
	for id, w := range a.waiting {
		delete(a.waiting, id)
		close(w.come)
	}
}
