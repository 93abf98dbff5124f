package stub

import (
	"sync/atomic"
	"syscall"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// Reset implements platform.Resetter.
func (p *Process) Reset() bool {
	t := p.lastGuest()
	if t == nil || !p.endSpares() || !p.alone() || !t.withoutRseq() {
		return false
	}
	t.enter()
	t.giveStaging()
	t.giveNoLinks()
	// It clears its own stack by itself, so that no signal is on it meanwhile.
	_, err := t.call(unix.SYS_MADVISE, t.slotAddr()+stackOffset, SlotSize-stackOffset, unix.MADV_REMOVE)
	p.scrub()
	t.leave()
	if err != nil {
		return false
	}
	p.mu.Lock()
	p.mapping, p.reserve, p.death = nil, nil, nil
	f := p.OnReset
	p.mu.Unlock()
	if f != nil {
		f()
	}
	return true
}

// endingMax is how often is looked whether a thread that was told to end has, some
// milliseconds in all.
const endingMax = 100

// alone waits until the threads that were dropped have ended, but not for ever: it reports
// false if they stay, as the first one does.
func (p *Process) alone() bool {
	for n := range endingMax {
		p.mu.Lock()
		ended := p.mem != 0
		for slot := 0; slot < p.nextSlot && ended; slot++ {
			ended = p.threads[slot] != nil || atomic.LoadUint32(&p.pageOf(slot).tid) == 0
		}
		p.mu.Unlock()
		if ended {
			return true
		}
		pause(n)
	}
	return false
}

// scrub forgets what went between the sentry and the program that ends: the next one may be
// another user's, and can read its stub's slots. The stacks hold the registers of threads, those
// of their floating point too, that got a signal.
func (p *Process) scrub() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mem == 0 {
		return
	}
	p.scrubNoLinks()
	for slot := range p.nextSlot {
		pg := p.pageOf(slot)
		clear(pg.fetch[:])
		clear(pg.also[:])
		pg.regs = abi.Regs{}
		size := uintptr(windowSize)
		if p.threads[slot] == nil {
			size = SlotSize - windowOffset
		}
		syscall.Syscall(syscall.SYS_MADVISE, uintptr(p.at(slot, windowOffset)), size, unix.MADV_REMOVE)
	}
}

// lastGuest returns the thread that runs guest code if it is the only one.
func (p *Process) lastGuest() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last *Thread
	for _, t := range p.threads {
		switch {
		case t.parked:
		case last != nil:
			return nil
		default:
			last = t
		}
	}
	if p.gone.Load() {
		return nil
	}
	return last
}
