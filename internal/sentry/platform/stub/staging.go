package stub

import (
	"sync"
	"syscall"
	"time"
	"unsafe"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
)

// Bytes go between guest memory and the sentry through a window, which the stub fills
// or empties: that costs two copies in the processor's caches, where the host's own
// copy (process_vm_readv(2)) has to find each page, which takes five times as long.
//
// Every slot has a small window. A thread that copies much gets one of its process's
// staging windows instead, as long as it keeps on: these take memory, so a process has
// few, a sandbox not many more, and who has not used its own for a while loses it, with
// what it holds. A window is never two processes'.

const (
	// stagingAfter is after how many copies that do not fit the slot's window a thread
	// gets a larger one. Its pages take time to come by: less often it would not pay.
	stagingAfter = 8
	// stagingMax is how many a sandbox has.
	stagingMax = 16
	// stagingTick is how often is looked for those that are not used any more.
	stagingTick = time.Second
)

// window is where a thread's bytes go through: the slot's, or a staging window.
type window struct {
	bytes  []byte // the sentry's view
	offset uint64 // from the slot
	// staged is the staging window's number from 1 on, 0 for the slot's.
	staged int
	// used says that it was used since the last tick.
	used bool
	// large counts copies that did not fit.
	large uint8
}

// stagings are the staging windows of all processes. The lock is taken with the thread
// claimed, before Process.mu.
type stagings struct {
	tick   time.Duration
	mu     sync.Mutex
	owners map[*Thread]struct{}
	timer  *time.Timer
}

// resetWindow makes the window the slot's. The thread is claimed, or not in use yet.
func (t *Thread) resetWindow() {
	t.win = window{bytes: t.slotWindow(), offset: windowOffset}
	t.batch.Add(1)
	t.bringInto()
}

// bringInto tells the stub where to bring to what comes along with a call.
func (t *Thread) bringInto() {
	t.page.bringTo = t.slotAddr() + t.win.offset
	t.page.bringMax = t.bringing.max(len(t.win.bytes))
}

// want tells of n bytes to copy that the stub could copy, and gets a larger window for
// a thread that has many such. The thread is claimed, and has nothing in its window.
func (t *Thread) want(n int) {
	w := &t.win
	w.used = true
	if n <= windowSize || w.staged != 0 {
		return
	}
	if w.large++; w.large == stagingAfter {
		w.large = 0
		t.takeStaging()
	}
}

// takeStaging gets the thread a staging window if there is one.
func (t *Thread) takeStaging() {
	p := t.proc
	s := &p.stubs.stagings
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owners) == stagingMax {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.staged {
		if p.staged[i] || p.mem == 0 {
			continue
		}
		p.staged[i] = true
		offset := uintptr(stagingOffset + i*stagingSize)
		t.win = window{
			bytes:  unsafe.Slice((*byte)(p.at(0, offset)), stagingSize),
			offset: uint64(offset) - uint64(t.slot)*SlotSize,
			staged: i + 1, used: true,
		}
		t.batch.Add(1)
		t.bringInto()
		if s.owners == nil {
			s.owners = make(map[*Thread]struct{})
		}
		s.owners[t] = struct{}{}
		if s.timer == nil {
			s.timer = time.AfterFunc(s.tick, crash.Guard(p.stubs.sweepStagings))
		} else if len(s.owners) == 1 {
			s.timer.Reset(s.tick)
		}
		return
	}
}

// giveStaging gives a staging window back, with its memory. The thread is claimed or has
// ended, and nothing in the window is needed.
func (t *Thread) giveStaging() {
	s := &t.proc.stubs.stagings
	s.mu.Lock()
	defer s.mu.Unlock()
	t.giveStagingLocked()
}

func (t *Thread) giveStagingLocked() {
	p := t.proc
	if t.win.staged == 0 {
		return
	}
	delete(p.stubs.stagings.owners, t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.staged[t.win.staged-1] = false
	if p.mem != 0 {
		syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(&t.win.bytes[0])), stagingSize, unix.MADV_REMOVE)
		t.resetWindow()
	}
}

// sweepStagings takes staging windows from threads that have not used theirs for a tick.
func (s *Stubs) sweepStagings() {
	s.stagings.mu.Lock()
	defer s.stagings.mu.Unlock()
	for t := range s.stagings.owners {
		// Who runs guest code may be bringing something, and has the window until it
		// waits.
		if !t.state.CompareAndSwap(stateIdle, stateEntered) {
			continue
		}
		if t.win.used {
			t.win.used = false
		} else if t.nops == 0 {
			t.giveStagingLocked()
		}
		t.leave()
	}
	if len(s.stagings.owners) > 0 {
		s.stagings.timer.Reset(s.stagings.tick)
	}
}
