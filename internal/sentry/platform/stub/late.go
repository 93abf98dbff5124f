package stub

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// A thread's batch may hold late operations: those that nobody waits for, so
// that they run with whatever the stub does next, which is to resume the guest
// as a rule. One turn of the stub does for all then.

// lateOp is one of them, for the thread that is to hear of its failure.
type lateOp struct {
	queuedOp
	at   int    // its index in the batch, or -1
	data []byte // an OpWrite's, in the window
}

// lateReserve is how much of a batch late operations leave to others.
const lateReserve = opSteps + 2

// CopyOutLate implements platform.Context.
func (t *Thread) CopyOutLate(addr uint64, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	if !t.inLimits(addr, len(src)) {
		return unix.EFAULT
	}
	t.forgetFetched()
	t.settle()
	t.claim()
	if t.used == 0 {
		t.want(len(src))
	}
	if len(src) > len(t.win.bytes)-t.used || t.nops > opsMax-lateReserve {
		t.leave()
		_, err := t.CopyOut(addr, src)
		return err
	}
	copy(t.win.bytes[t.used:], src)
	t.addWrite(queuedOp{op: platform.Op{Kind: platform.OpWrite, Addr: addr}, t: t}, len(src))
	t.leave()
	return nil
}

// FillLate implements platform.Context. Its place is the window.
func (t *Thread) FillLate(addr uint64, n int, fill func(p []byte) int) bool {
	if !t.inLimits(addr, n) {
		return false
	}
	t.forgetFetched()
	t.settle()
	t.claim() // who borrows the thread uses the window
	defer t.leave()
	if n > len(t.win.bytes)-t.used || t.nops > opsMax-lateReserve {
		return false
	}
	t.win.used = true
	if n = fill(t.win.bytes[t.used:][:n:n]); n > 0 {
		t.addWrite(queuedOp{op: platform.Op{Kind: platform.OpWrite, Addr: addr}, t: t}, n)
	}
	return true
}

// addWrite adds a copy of the window's next n bytes to guest memory to the
// batch.
func (t *Thread) addWrite(q queuedOp, n int) {
	at := t.add(opCopyOut, q.op.Addr, uint64(n), t.win.offset+uint64(t.used))
	t.late = append(t.late, lateOp{q, at, t.win.bytes[t.used:][:n]})
	t.used += n
	t.bulk.moved += n
	t.bulk.written += n
}

// addLate adds a queued operation to the batch. It reports false if there is
// no room.
func (t *Thread) addLate(q queuedOp) bool {
	if t.nops > opsMax-lateReserve+opSteps-q.entries() {
		return false
	}
	if q.op.Kind == platform.OpMmap && q.op.FD >= 0 {
		t.addFileMaps(q)
		return true
	}
	if q.op.Kind == platform.OpWrite {
		if len(q.op.Data) > len(t.win.bytes)-t.used {
			return false
		}
		t.addWrite(q, copy(t.win.bytes[t.used:], q.op.Data))
		return true
	}
	t.late = append(t.late, lateOp{q, t.addOp(&q.op), nil})
	return true
}

// runLate runs what is in the batch. The caller has claimed the thread.
func (t *Thread) runLate() {
	if t.nops > 0 {
		t.run()
	}
}

// finishLate tells of the late operations of a batch that failed.
func (t *Thread) finishLate() {
	if t.page.failed != 0 {
		t.proc.mu.Lock()
		t.tellLate()
		t.proc.mu.Unlock()
	}
	t.late, t.used = t.late[:0], 0
}

// tellLate is finishLate's part that needs the process's mu.
func (t *Thread) tellLate() {
	var behind *Thread // a write of its was not made: it hears of those behind as well
	for _, l := range t.late {
		if l.at < 0 {
			continue
		}
		_, err := t.result(l.at)
		if l.op.Kind != platform.OpWrite {
			if err != nil {
				l.t.failLocked(l.op, err)
			}
			continue
		}
		err = nil
		if t.page.ops[l.at].result != 0 {
			behind, err = l.t, unix.EFAULT
		}
		if l.t == behind {
			l.op.Data = string(l.data)
			l.t.failLocked(l.op, err)
		}
	}
}

// Prepare readies what is queued for RunGuest to run: in its own turn if no
// other thread could come in between, else now.
func (t *Thread) Prepare() {
	if t.proc.pending.Load() != 0 && !t.absorb() {
		t.settle()
	}
}

// absorb moves the queue to the batch, and reports false if it may not or
// there is no room.
func (t *Thread) absorb() bool {
	p := t.proc
	if p.lastGuest() != t {
		return false
	}
	p.opMu.Lock()
	defer p.opMu.Unlock()
	t.claim()
	defer t.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for done < len(p.queue) && t.addLate(p.queue[done]) {
		done++
	}
	p.pending.Add(-int32(done))
	n := copy(p.queue, p.queue[done:])
	clear(p.queue[n:])
	p.queue = p.queue[:n]
	return n == 0
}
