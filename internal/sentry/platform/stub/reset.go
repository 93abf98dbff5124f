package stub

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Reset implements platform.Resetter.
func (p *Process) Reset() bool {
	t := p.lastGuest()
	if t == nil || !t.withoutRseq() {
		return false
	}
	t.enter()
	t.giveStaging()
	p.scrub()
	t.leave()
	p.mu.Lock()
	p.mapping, p.reserve, p.death = nil, nil, nil
	f := p.OnReset
	p.mu.Unlock()
	if f != nil {
		f()
	}
	return true
}

// scrub forgets what went between the sentry and the program that ends: the next one may
// be another user's, and can read its stub's windows.
func (p *Process) scrub() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mem == 0 {
		return
	}
	for slot := range p.nextSlot {
		clear(p.pageOf(slot).fetch[:])
		syscall.Syscall(syscall.SYS_MADVISE, uintptr(p.at(slot, windowOffset)), windowSize, unix.MADV_REMOVE)
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
