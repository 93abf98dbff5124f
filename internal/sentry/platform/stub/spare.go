package stub

import (
	"slices"
	"sync/atomic"
)

// A thread whose guest has ended is kept for the next one that the guest starts. That
// saves the host its end and another thread's beginning, of which the latter waits behind
// whoever computes: the host puts a new thread last, but who wakes soon goes on.
//
// What the host knows of a thread is the same for all threads of a stub, but for its
// segment bases, which the sentry keeps account of; its floating-point registers, which
// the new guest has from its parent; and its restartable sequences, which end before. Until
// it is used again it is to nobody, and has no reference to its process.

const (
	// sparesMax is how many threads a process keeps.
	sparesMax = 4
	// SparesAll is how many there are in a sandbox: they take memory, and the host
	// counts them.
	SparesAll = 256
)

// keep makes the thread, which is entered, a spare one. It reports false if there are
// enough, or if it still has restartable sequences: with their memory gone the host would
// end the process.
func (t *Thread) keep() bool {
	t.idle()
	p, s := t.proc, t.proc.stubs
	p.mu.Lock()
	if len(p.spares) == sparesMax || t.rseq.length != 0 || !s.oneMoreSpare() {
		p.mu.Unlock()
		return false
	}
	// Whoever waits for the thread's end is woken next.
	atomic.StoreUint32(&t.page.spin, s.spin.linger)
	s.lingerer.t.Store(t)
	delete(p.threads, t.slot)
	p.spares = append(p.spares, t)
	p.mu.Unlock()
	p.DecRef()
	return true
}

// oneMoreSpare counts one more, if there may be.
func (s *Stubs) oneMoreSpare() bool {
	if s.spares.Add(1) > SparesAll {
		s.spares.Add(-1)
		return false
	}
	return true
}

// removeSpare takes a thread from the spare ones. Process.mu is held.
func (p *Process) removeSpare(i int) *Thread {
	t := p.spares[i]
	p.stubs.lingerer.forget(t)
	p.spares = slices.Delete(p.spares, i, i+1)
	p.stubs.spares.Add(-1)
	return t
}

// takeSpare returns a new user of a spare thread, nil if none is ready.
func (p *Process) takeSpare() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, old := range p.spares {
		if !old.ready() {
			continue
		}
		p.removeSpare(i)
		n := p.addThreadLocked(old.slot, old.gate)
		n.resetWindow()
		n.tid, n.fsBase, n.gsBase = old.tid, old.fsBase, old.gsBase
		// It may be on an errand still.
		n.errands.gate.Store(old.errands.gate.Load())
		return n
	}
	return nil
}

// ready reports whether a spare thread waits for its turn. It does, unless the guest has
// written to its slot.
func (t *Thread) ready() bool { return atomic.LoadUint32(&t.page.turn)&turnSentry != 0 }

// revive is Clone by a spare thread; nil if that can't be.
func (t *Thread) revive() *Thread {
	f := &t.proc.stubs.fp
	if f.size > windowSize {
		return nil
	}
	n := t.proc.takeSpare()
	if n == nil {
		return nil
	}
	// XSAVE leaves most of the header as it is, which XRSTOR wants to be zero.
	clear(n.slotWindow()[fpHeader:fpMinSize])
	t.enter()
	t.add(opXsave, n.slotAddr()+windowOffset, f.mask)
	saved := t.run() && t.page.fault == 0
	t.leave()
	if !saved {
		n.exit()
		t.proc.dropThread(n, true)
		return nil
	}
	// It loads that on its way to the guest, and its window is taken so far.
	n.late = append(n.late, lateOp{at: -1})
	n.add(opXrstor, n.slotAddr()+windowOffset, f.mask)
	n.used = int(f.size)
	n.regs = t.regs
	return n
}

// endSpares ends the spare threads. It reports false if one is not ready for that.
func (p *Process) endSpares() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.spares) > 0 {
		i := len(p.spares) - 1
		if !p.spares[i].ready() {
			return false
		}
		t := p.removeSpare(i)
		p.unused = append(p.unused, t.slot)
		t.exit()
	}
	return true
}

// exit has the thread, which nobody else uses, end.
func (t *Thread) exit() {
	t.AddExit()
	t.page.after = afterPost
	t.handOver(false)
}
