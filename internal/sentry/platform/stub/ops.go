package stub

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

const (
	// opSteps is the most entries of a batch that one Op takes.
	opSteps = 3
	// sharersMax is the most mappings more that may share a descriptor's way to
	// the stub.
	sharersMax = 8
)

// Queue implements platform.Context. A descriptor to map is passed to the
// stub at once, so the caller may close it.
func (t *Thread) Queue(o platform.Op) {
	t.forgetFetched()
	p := t.proc
	for {
		p.mu.Lock()
		if o.SameFD && p.share(t, o) {
			p.mu.Unlock()
			return
		}
		if o.Kind == platform.OpMmap && o.FD >= 0 {
			switch err := p.send(o.FD); err {
			case nil:
			case unix.EAGAIN, unix.ETOOMANYREFS:
				// The socket is full: have the stub empty it.
				full := len(p.queue) > 0
				p.mu.Unlock()
				if !full {
					t.fail(o, unix.ENFILE)
					return
				}
				t.settle()
				continue
			default:
				p.mu.Unlock()
				t.fail(o, err)
				return
			}
		}
		p.queue = append(p.queue, queuedOp{op: o, t: t})
		p.pending.Add(1)
		p.mu.Unlock()
		return
	}
}

// share adds a mapping to the one before, if that waits for the same descriptor.
// mu is held.
func (p *Process) share(t *Thread, o platform.Op) bool {
	if len(p.queue) == 0 {
		return false
	}
	last := &p.queue[len(p.queue)-1]
	if last.t != t || last.op.Kind != platform.OpMmap || last.op.FD != o.FD || o.FD < 0 || len(last.more) == sharersMax {
		return false
	}
	last.more = append(last.more, o)
	return true
}

// Flush implements platform.Context.
func (t *Thread) Flush() error {
	t.Settle()
	return t.Failed()
}

// Failed returns the failures of operations since the last call, or that the
// stub is gone.
func (t *Thread) Failed() error {
	if t.opErr.Load() != nil {
		t.proc.mu.Lock()
		e := t.opErr.Swap(nil)
		t.proc.mu.Unlock()
		if e != nil {
			return e
		}
	}
	if t.Gone() {
		return errGone
	}
	return nil
}

// LateFailed implements platform.Context.
func (t *Thread) LateFailed() bool { return t.opErr.Load() != nil }

// fail records an operation's failure.
func (t *Thread) fail(o platform.Op, err error) {
	t.proc.mu.Lock()
	defer t.proc.mu.Unlock()
	t.failLocked(o, err)
}

// failLocked is fail with the process's mu held.
func (t *Thread) failLocked(o platform.Op, err error) {
	e := &platform.OpError{Op: o, Errno: err}
	last := t.opErr.Load()
	if last == nil {
		t.opErr.Store(e)
		return
	}
	for last.Next != nil {
		last = last.Next
	}
	last.Next = e
}

// settle runs what is queued for the address space, by whichever thread, or
// waits until it has been run.
func (t *Thread) settle() {
	p := t.proc
	if p.pending.Load() == 0 {
		return
	}
	p.opMu.Lock()
	t.drainLocked()
	p.opMu.Unlock()
}

// Settle is settle for the platforms, before guest code runs, with the batch.
func (t *Thread) Settle() {
	t.settle()
	if t.nops > 0 {
		t.enter()
		t.leave()
	}
}

// drainLocked runs the queue until it is empty. opMu is held.
func (t *Thread) drainLocked() {
	p := t.proc
	for {
		p.mu.Lock()
		queue := p.queue
		p.queue = nil
		p.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		t.enter()
		for rest := queue; len(rest) > 0; {
			n := t.runSome(rest)
			if n == 0 {
				break
			}
			rest = rest[n:]
		}
		t.leave()
		p.pending.Add(-int32(len(queue)))
		p.mu.Lock()
		if p.queue == nil && cap(queue) <= opsMax {
			clear(queue)
			p.queue = queue[:0]
		}
		p.mu.Unlock()
	}
}

// runSome runs as many operations as fit a batch and returns how many; 0 if
// the stub is gone.
func (t *Thread) runSome(queue []queuedOp) int {
	n := 0
	for n < len(queue) && t.addLate(queue[n]) {
		n++
	}
	if !t.run() {
		return 0
	}
	return n
}

// addFileMaps adds a mapping of a file to the batch, with those that share its
// descriptor.
func (t *Thread) addFileMaps(q queuedOp) {
	t.add(opReceive)
	for i := -1; i < len(q.more); i++ {
		o := &q.op
		if i >= 0 {
			o = &q.more[i]
		}
		at := t.add(opMmapFD, o.Addr, o.Length, uint64(o.Prot), uint64(o.Flags), 0, o.Offset)
		t.late = append(t.late, lateOp{queuedOp: queuedOp{op: *o, t: q.t}, at: at})
		if c := &o.Code; c.Length > 0 {
			at := t.add(opMmapFD, c.Addr, c.Length, codeProt, unix.MAP_PRIVATE|unix.MAP_FIXED, 0, c.Offset)
			t.late = append(t.late, lateOp{queuedOp: queuedOp{op: *o, t: q.t}, at: at})
		}
	}
	t.add(opCloseFD)
}

// entries is how many entries of a batch the operation takes.
func (q *queuedOp) entries() int {
	n := opSteps
	if q.op.Code.Length > 0 {
		n++
	}
	for i := range q.more {
		if n++; q.more[i].Code.Length > 0 {
			n++
		}
	}
	return n
}

// A batch has room for the largest.
const _ = uint(opsMax - lateReserve - 2*sharersMax - 1)

// addOp adds another operation to the batch and returns the index of its result.
func (t *Thread) addOp(o *platform.Op) int {
	switch o.Kind {
	case platform.OpMmap:
		return t.add(unix.SYS_MMAP, o.Addr, o.Length, uint64(o.Prot), uint64(o.Flags), ^uint64(0), 0)
	case platform.OpMunmap:
		return t.add(unix.SYS_MUNMAP, o.Addr, o.Length)
	case platform.OpMprotect:
		return t.add(unix.SYS_MPROTECT, o.Addr, o.Length, uint64(o.Prot))
	case platform.OpMremap:
		return t.add(unix.SYS_MREMAP, o.Addr, o.Length, o.NewLength, uint64(o.Flags), o.NewAddr)
	case platform.OpMadvise:
		return t.add(unix.SYS_MADVISE, o.Addr, o.Length, uint64(o.Advice))
	case platform.OpMsync:
		return t.add(unix.SYS_MSYNC, o.Addr, o.Length, uint64(o.Flags))
	case platform.OpMlock:
		return t.add(unix.SYS_MLOCK, o.Addr, o.Length)
	case platform.OpMunlock:
		return t.add(unix.SYS_MUNLOCK, o.Addr, o.Length)
	}
	return -1
}

// syncBases adds what brings the stub's segment bases to the guest's.
func (t *Thread) syncBases() {
	if t.regs.Fs_base != t.fsBase {
		t.add(unix.SYS_ARCH_PRCTL, archSetFS, t.regs.Fs_base)
		t.fsBase = t.regs.Fs_base
	}
	if t.regs.Gs_base != t.gsBase {
		gs := t.regs.Gs_base
		if gs == 0 && t.proc.stubs.fsgsbase {
			gs = t.slotAddr() // for stubEntry
		}
		t.add(unix.SYS_ARCH_PRCTL, archSetGS, gs)
		t.gsBase = t.regs.Gs_base
	}
}
