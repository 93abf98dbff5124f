package waiter

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// inflowFrom is how many bytes in inflowSpan are an inflow in bulk.
	inflowFrom = 128 << 10
	inflowSpan = time.Millisecond
	// inflowLeast is how much a read counts from: smaller ones need not look at a clock.
	inflowLeast = 2 << 10
	// inflowLasts is how long it goes on after the last span that had as many, and how long a span
	// may be.
	inflowLasts = 4 * inflowSpan
)

// Inflow is what comes from the host for guests. If it comes in bulk, who reads it has as much to do as
// who takes it to a guest: each needs a processor of its own.
type Inflow struct {
	bulk atomic.Bool
	// one says that it is a single stream's.
	one atomic.Bool
	// aside takes the calling thread out of the way of who takes it to a guest.
	aside atomic.Pointer[func()]
	// helper has work done on another processor, if it can.
	helper atomic.Pointer[func(work func()) bool]

	// mu protects what follows.
	mu      sync.Mutex
	since   time.Time
	bytes   int
	several bool
	timer   *time.Timer
}

// FromHost is the inflow of all that leads out of the sandbox.
var FromHost Inflow

// Begin is for who is about to read. It may go to another processor.
func (i *Inflow) Begin() {
	if f := i.aside.Load(); f != nil {
		(*f)()
	}
}

// Read notes that so many bytes were, of several streams or not.
func (i *Inflow) Read(n int, several bool) {
	if n >= inflowLeast {
		i.read(n, several, time.Now())
	}
}

func (i *Inflow) read(n int, several bool, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bytes += n
	i.several = i.several || several
	took := now.Sub(i.since)
	if took < inflowSpan {
		return
	}
	if took < inflowLasts && i.bytes >= inflowFrom {
		i.one.Store(!i.several)
		i.bulk.Store(true)
		if i.timer == nil {
			i.timer = time.AfterFunc(inflowLasts, i.end)
		} else {
			i.timer.Reset(inflowLasts)
		}
	}
	i.since, i.bytes, i.several = now, 0, false
}

func (i *Inflow) end() {
	i.bulk.Store(false)
	i.one.Store(false)
	i.aside.Store(nil)
}

// InBulk reports whether much comes.
func (i *Inflow) InBulk() bool { return i.bulk.Load() }

// Avoid has who reads call f before, until the inflow is no longer in bulk.
func (i *Inflow) Avoid(f *func()) {
	i.aside.Store(f)
	if !i.bulk.Load() {
		i.aside.Store(nil)
	}
}

// HelpedBy has f be what Aside asks: it has work done on another processor and reports true, or false.
func (i *Inflow) HelpedBy(f func(work func()) bool) { i.helper.Store(&f) }

// Aside has work done on another processor than the caller's, soon, and reports whether it will be: while
// much comes, and not in one stream, which leaves time for all to who takes it to a guest.
func (i *Inflow) Aside(work func()) bool {
	return i.bulk.Load() && !i.one.Load() && i.help(work)
}

func (i *Inflow) help(work func()) bool {
	f := i.helper.Load()
	return f != nil && (*f)(work)
}
