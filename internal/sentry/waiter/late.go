package waiter

import (
	"slices"
	"sync"
)

// Who waits for the host is woken by a thread of the host's, or by Go's poller, and needs one
// of Go's processors. While guests call all the time, the threads that wait for them keep all
// of these: nobody asks Go's poller then, and who is woken gets one when sysmon takes it away,
// after up to 10 ms. So those threads look, every now and then, whether somebody is late.

// Looker knows who waits for something of the host's.
type Looker interface {
	// Look wakes those for whom something was there at the last look already: what is served
	// in time is left to others. It reports whether there are any, and must not wait.
	Look() bool
}

// lookers are all of them. mu is held while they look: it is taken before their locks.
var lookers struct {
	mu   sync.Mutex
	list []Looker
}

// LookAfter has Late ask l, until end is called.
func LookAfter(l Looker) (end func()) {
	lookers.mu.Lock()
	defer lookers.mu.Unlock()
	lookers.list = append(lookers.list, l)
	return func() {
		lookers.mu.Lock()
		defer lookers.mu.Unlock()
		lookers.list = slices.DeleteFunc(lookers.list, func(o Looker) bool { return o == l })
	}
}

// Late wakes those who are late, and reports whether there are any: the caller is to let them
// run (LetRun). It is for those who may keep all of Go's processors. No lock may be held.
func Late() (are bool) {
	if !lookers.mu.TryLock() {
		return false // others are at it
	}
	defer lookers.mu.Unlock()
	for _, l := range lookers.list {
		are = l.Look() || are
	}
	return are
}
