package stub

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
)

// Chores are what nobody waits for: to give back what the sentry has of a process that has
// ended, and to have the sentry's side of the next one ready. A parent would wait for the
// first before it hears of its child's end, and for the second at its next fork. The reaper
// does them: it is woken by each end in any case, on the processor where that was, while the
// parent goes on elsewhere. If the host does not tell of an end, a timer does what must be done.

const (
	// choresMax is how many processes that have ended are left for later.
	choresMax = 2
	// choresLatest is how long one is left at most.
	choresLatest = 10 * time.Millisecond
	// vesselsReady is how many are made beforehand: a parent that waits for its child forks
	// again while the reaper still takes apart what that has left, or makes one.
	vesselsReady = 2
)

// chores are those that are left. The lock is a leaf.
type chores struct {
	due atomic.Bool
	// taken is one more than the processor on which who left something last goes on.
	taken atomic.Uint32

	mu    sync.Mutex
	ended []*Process
	timed bool // the timer runs
	// ready are for the next processes. They are made beforehand if wanted.
	ready  []*vessel
	wanted bool
	closed bool
}

// vessel is the sentry's side of a process that does not exist yet: the memory of its slots,
// where that is mapped, and both ends of its socket.
type vessel struct {
	memfd        int
	mem          uintptr
	sock, theirs int
}

func newVessel() (*vessel, error) {
	memfd, err := unix.MemfdCreate("coffer-slots", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.Ftruncate(memfd, slotsSize); err != nil {
		unix.Close(memfd)
		return nil, err
	}
	mem, _, e := syscall.Syscall6(syscall.SYS_MMAP, 0, slotsSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_NORESERVE, uintptr(memfd), 0)
	if e != 0 {
		unix.Close(memfd)
		return nil, e
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(memfd)
		syscall.Syscall(syscall.SYS_MUNMAP, mem, slotsSize, 0)
		return nil, err
	}
	return &vessel{memfd, mem, pair[0], pair[1]}, nil
}

// touch has the host provide the pages that the first thread will use in any case: those of
// its control data, of its window, and of the first signal's frame.
func (v *vessel) touch() {
	p := Process{mem: v.mem}
	for _, at := range []uintptr{0, windowOffset, SlotSize - PageSize} {
		*(*byte)(p.at(0, at)) = 0
	}
}

func (v *vessel) discard() {
	syscall.Syscall(syscall.SYS_MUNMAP, v.mem, slotsSize, 0)
	for _, fd := range []int{v.memfd, v.sock, v.theirs} {
		unix.Close(fd)
	}
}

// takeVessel returns one that is ready, or makes one.
func (c *chores) takeVessel() (*vessel, error) {
	c.mu.Lock()
	c.wanted = true
	c.due.Store(true)
	if n := len(c.ready); n > 0 {
		v := c.ready[n-1]
		c.ready = c.ready[:n-1]
		c.mu.Unlock()
		return v, nil
	}
	c.mu.Unlock()
	return newVessel()
}

// wantsVessel reports whether one is to be made. mu is held.
func (c *chores) wantsVessel() bool {
	return c.wanted && !c.closed && len(c.ready) < vesselsReady
}

// leave leaves the rest of a process that nobody uses any more. It has been told to end; that
// it does is a chore too.
func (s *Stubs) leave(p *Process) {
	c := &s.chores
	c.taken.Store(cpu()&cpuNumber + 1)
	c.mu.Lock()
	c.ended = append(c.ended, p)
	full := len(c.ended) > choresMax
	if !c.timed && !full {
		c.timed = true
		time.AfterFunc(choresLatest, crash.Guard(func() {
			c.mu.Lock()
			c.timed = false
			c.mu.Unlock()
			s.doChores()
		}))
	}
	c.due.Store(true)
	c.mu.Unlock()
	if full {
		s.doChores()
	}
}

// makeWay takes the calling thread, the reaper's, off that processor. The host wakes it where it
// ran last: if that is there, it goes first whenever the task that forks waits for its stub, and
// the child that was born elsewhere waits as well.
func (c *chores) makeWay() {
	if at := c.taken.Load(); at != 0 && cpu()&cpuNumber == at-1 {
		leave(at - 1)
	}
}

// doChores does those that are left.
func (s *Stubs) doChores() {
	c := &s.chores
	c.mu.Lock()
	ended := c.ended
	c.ended = nil
	c.due.Store(false)
	c.mu.Unlock()
	for _, p := range ended {
		p.Kill()
		p.discard()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.wantsVessel() {
		c.mu.Unlock()
		v, err := newVessel()
		if err == nil {
			v.touch()
		}
		c.mu.Lock()
		switch {
		case err != nil:
			return // whoever needs one hears of it
		case c.wantsVessel():
			c.ready = append(c.ready, v)
		default: // others do chores as well, or it is over
			v.discard()
		}
	}
	c.wanted = false
}

// close drops what was made for next processes, of which there are none any more. It does
// no other chores: what ended processes have left goes with the sentry.
func (c *chores) close() {
	c.mu.Lock()
	c.closed = true
	ready := c.ready
	c.ready = nil
	c.mu.Unlock()
	for _, v := range ready {
		v.discard()
	}
}
