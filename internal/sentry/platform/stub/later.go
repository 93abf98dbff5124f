package stub

import (
	"time"

	"coffer/internal/sentry/platform"
)

// What a task puts off is done once its guest does not come back at once: the sentry would
// but spin then. A server that has others to answer does come back.

const (
	// laterGlance is how soon it does.
	laterGlance = 2 * time.Microsecond
	// laterMax is how long something is put off at most.
	laterMax = 100 * time.Microsecond
)

// Putting off pays if there comes more to do before it is done. After laterFailures times in
// a row when it did not it is tried ever more rarely, but once in laterRarely sends.
const (
	laterFailures = 2
	laterRarely   = 1 << 10
)

// later is what a Thread's task has put off.
type later struct {
	what  platform.Later // or nil
	since uint64         // cycles
	times int            // how often, since then

	failures int
	rest     int // sends until the next try
}

// PutsOff implements platform.Context.
func (t *Thread) PutsOff() bool {
	l := &t.later
	if t.traced {
		return false
	}
	if l.what != nil || l.failures < laterFailures || l.rest == 0 {
		return true
	}
	l.rest--
	return false
}

// Later implements platform.Context.
func (t *Thread) Later(what platform.Later) {
	l := &t.later
	if l.what != what {
		t.doLater()
		l.what, l.since, l.times = what, cycles(), 0
	}
	l.times++
}

// doLater does what has been put off.
func (t *Thread) doLater() {
	l := &t.later
	if l.what == nil {
		return
	}
	l.what.Do()
	l.what = nil
	if l.times > 1 {
		l.failures = 0
		return
	}
	l.failures++
	l.rest = min(1<<min(l.failures, 30), laterRarely)
}

// meanwhile does what has been put off, while the guest runs, unless that comes back.
func (t *Thread) meanwhile() spinResult {
	l, s := &t.later, t.proc.stubs
	if l.what == nil {
		return spinVain
	}
	result := spinForTurn(t.page, s.spin.glance)
	if result != spinAnswered && result != spinMet || cycles()-l.since > uint64(s.spin.later) {
		t.doLater()
	}
	return result
}
