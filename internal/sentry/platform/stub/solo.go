package stub

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// A frame that comes from the host is read by one goroutine, taken through the network stack
// by a second one, and wakes a third, a task. Go's scheduler wakes a thread of the host for
// each that becomes ready while one of its processors is idle: to run there, which takes that
// processor an interrupt and whoever is on it his time, or to look for it in vain, since the
// first goroutine waits a moment later and the next could run in its place. So while one
// task at a time is at work, which has nothing to gain from a second processor, that one is
// held: a goroutine sleeps in the host without telling Go. This is called solo. To begin and
// to end it takes but a wake-up, where a change of GOMAXPROCS would stop all goroutines.
//
// Nobody can wait for ever for the processor that is left, whoever has it: a goroutine that
// waits for another one gives it up, one that is in a host call has it taken away by sysmon,
// and one that spins can be stopped. The holder has no lock, and nobody waits for it but the
// runtime, when it stops all goroutines or scans their stacks, as for a garbage collection:
// its signal ends the holder's sleep, and solo. And whatever may be, solo ends if for the time
// soloLook no task has come to wait. While the holder does work for others (aside) it is a goroutine
// like any.

const (
	// soloRests is how many times tasks must have come to wait, one after another with
	// never two at work at once, before solo begins. It is twice as many, up to
	// soloRestsMax, each time that solo was ended by such before it was worth it.
	soloRests    = 16
	soloRestsMax = soloRests << 10
	// soloLook is after how long the holder looks whether a task has come to wait. It is more
	// than a thread waits for a processor of a busy host, mostly.
	soloLook = 4 * time.Millisecond
	// soloTurns is after how many turns of its guest's a task lets others run. One that wakes
	// another and then waits for it, as by a pipe, takes one or two.
	soloTurns = 8
	// soloBulk is how many bytes speak against solo if a task gets them between two waits: what
	// follows them could be taken through the network stack meanwhile. What comes in bulk from
	// the host does not (inflow.go).
	soloBulk = 64 << 10
	// soloWorth is how many looks make it worth it.
	soloWorth = 16
)

// What solo.state holds.
const (
	soloOff    = iota
	soloOn     // the holder sleeps, or is about to
	soloEnding // it is to end
	soloCalled // it is on, and the holder is called to work
)

// solo is what all threads know of it.
type solo struct {
	state uint32 // a futex; only the holder sets it to soloOff
	// rests counts since something spoke against solo, need is how many it takes.
	rests, need atomic.Uint32
	// rest is set when a task has come to wait, since the holder has looked.
	rest atomic.Bool
	// looks are the holder's since it began.
	looks atomic.Uint32

	// mu protects what follows, and that solo is not over before the last work is done.
	mu sync.Mutex
	// work is what the holder is to do, called on which processor.
	work []func()
	from uint32
}

// rested notes that a task, which has got so many bytes since it last did, waits for something
// else than its guest, and begins solo if it may be by now. A processor must be left, and one
// held: that is for two.
func (s *Stubs) rested(got int) {
	o := &s.solo
	if got >= soloBulk && !s.inflow.inBulk() {
		o.several()
		return
	}
	if !o.rest.Load() {
		o.rest.Store(true)
	}
	if o.rests.Add(1) < max(o.need.Load(), soloRests) || atomic.LoadUint32(&o.state) != soloOff {
		return
	}
	if runtime.GOMAXPROCS(0) != 2 {
		o.rests.Store(0) // nor is this asked each time
		return
	}
	if atomic.CompareAndSwapUint32(&o.state, soloOff, soloOn) {
		o.looks.Store(0)
		go crash.Guard(s.hold)()
	}
}

// several notes that a second thread is at work, or will be, which speaks against solo.
func (o *solo) several() {
	if o.rests.Load() != 0 {
		o.rests.Store(0)
	}
	if was := atomic.LoadUint32(&o.state); was != soloOff && was != soloEnding && atomic.CompareAndSwapUint32(&o.state, was, soloEnding) {
		o.learn(true)
		futexWake(&o.state)
	}
}

// giveWay lets others run every now and then in solo, while the thread's guest runs: only so
// is a second task at work, which the thread has woken and could do without. A task that takes
// what comes from the host in bulk need never wait: this is its rest.
func (t *Thread) giveWay() {
	s := t.proc.stubs
	on := atomic.LoadUint32(&s.solo.state) != soloOff
	if !on && t.bulk.average < bulkFrom {
		return
	}
	if t.alone++; t.alone%soloTurns != 0 {
		return
	}
	if on {
		t.unpin() // as in callDue
		waiter.LetRun()
	}
	if t.inBulk() && s.inflow.inBulk() {
		s.rested(t.bulk.written)
		t.bulk.written = 0
	}
}

// learn says how long it takes until the next time. vain says that solo was in somebody's way.
func (o *solo) learn(vain bool) {
	switch need := max(o.need.Load(), soloRests); {
	case o.looks.Load() >= soloWorth:
		o.need.Store(soloRests)
	case vain:
		o.need.Store(min(2*need, soloRestsMax))
	}
}

// hold has a processor of Go's and does nothing but what it is called for, while solo lasts.
func (s *Stubs) hold() {
	o := &s.solo
	limit := unix.NsecToTimespec(soloLook.Nanoseconds())
	for {
		was := atomic.LoadUint32(&o.state)
		if was == soloEnding {
			break
		}
		if was == soloCalled {
			atomic.CompareAndSwapUint32(&o.state, soloCalled, soloOn)
			for o.help(false) {
			}
			continue
		}
		o.rest.Store(false)
		// A raw call, or the processor would be given to others. A signal of the runtime's
		// ends it, since it has a limit: futex(2).
		_, _, err := syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&o.state)), 0, soloOn, uintptr(unsafe.Pointer(&limit)), 0, 0)
		o.looks.Add(1)
		stuck := err == unix.ETIMEDOUT && !o.rest.Load()
		if (stuck || err == unix.EINTR) && atomic.CompareAndSwapUint32(&o.state, soloOn, soloEnding) {
			o.learn(stuck && s.working.Load() != 0)
			break
		}
		// Before sysmon, after 10 ms, takes this for a goroutine that should let others run.
		runtime.Gosched()
	}
	for o.help(true) {
	}
}

// aside has solo's holder do work, on another processor than the caller's, and reports whether it will. It is for
// what does not wait.
func (s *Stubs) aside(work func()) bool {
	o := &s.solo
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case atomic.CompareAndSwapUint32(&o.state, soloOn, soloCalled):
		o.from = cpu() & cpuNumber
		futexWake(&o.state)
	case atomic.LoadUint32(&o.state) != soloCalled:
		return false
	}
	o.work = append(o.work, work)
	return true
}

// help does the work that there is, and reports whether there was any. If not, and ends says so, solo is over.
func (o *solo) help(ends bool) bool {
	o.mu.Lock()
	work, from := o.work, o.from
	o.work = nil
	if len(work) == 0 && ends {
		o.rests.Store(0)
		atomic.StoreUint32(&o.state, soloOff)
	}
	o.mu.Unlock()
	if len(work) == 0 {
		return false
	}
	avoid(from)
	for _, f := range work {
		f()
	}
	return true
}
