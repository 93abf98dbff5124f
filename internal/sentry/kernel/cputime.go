package kernel

import (
	"sync/atomic"
	"time"
)

// cpuTimes are processor times in nanoseconds.
type cpuTimes struct{ user, system int64 }

func (a *cpuTimes) add(b cpuTimes) {
	a.user += b.user
	a.system += b.system
}

// raise makes a no less than b: clocks do not go back.
func (a *cpuTimes) raise(b cpuTimes) {
	a.user, a.system = max(a.user, b.user), max(a.system, b.system)
}

// epoch is what clock stamps count from.
var epoch = time.Now()

// stampNow is a monotonic time in nanoseconds; one vDSO call.
func stampNow() int64 { return int64(time.Since(epoch)) }

// cpuClock keeps a task's processor time: what passes inside of Switch is user
// time, what passes in the kernel awake is system time. It costs two clock
// readings a system call. Only the task writes; others read. On a busy host
// some of it was spent waiting for a processor: see usage.boundLocked.
type cpuClock struct {
	user, system atomic.Int64
	// since is when the present mode began.
	since atomic.Int64
}

// enterGuest begins user time.
func (c *cpuClock) enterGuest(t *Task) {
	now := stampNow()
	c.system.Store(c.system.Load() + now - c.since.Load())
	c.since.Store(now)
	t.mode.Store(modeGuest)
}

// leaveGuest ends user time.
func (c *cpuClock) leaveGuest(t *Task) {
	t.mode.Store(modeKernel)
	now := stampNow()
	c.user.Store(c.user.Load() + now - c.since.Load())
	c.since.Store(now)
}

// pause ends system time, because the task sleeps in the way that mode says.
func (c *cpuClock) pause(t *Task, mode int32) {
	now := stampNow()
	c.system.Store(c.system.Load() + now - c.since.Load())
	c.since.Store(now)
	t.mode.Store(mode)
}

// resume begins system time again.
func (c *cpuClock) resume(t *Task) {
	c.since.Store(stampNow())
	t.mode.Store(modeKernel)
}

// read returns the times so far, the present mode's share among them. A change
// of mode at the same moment may misplace that share once.
func (c *cpuClock) read(t *Task) cpuTimes {
	ct := cpuTimes{c.user.Load(), c.system.Load()}
	part := max(0, stampNow()-c.since.Load())
	switch t.mode.Load() {
	case modeGuest:
		ct.user += part
	case modeKernel:
		ct.system += part
	}
	return ct
}

// CPUTime is the thread's processor time in user and in system mode.
func (t *Task) CPUTime() (user, system time.Duration) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	ct := t.timesLocked()
	return time.Duration(ct.user), time.Duration(ct.system)
}

// timesLocked is the thread's share of what its process has used. The lock of
// the process is held.
func (t *Task) timesLocked() cpuTimes {
	ct := t.clock.read(t)
	all := t.group.countedLocked()
	shown := t.group.boundLocked(all)
	if all.user > shown.user {
		ct.user = int64(float64(ct.user) * float64(shown.user) / float64(all.user))
	}
	if all.system > shown.system {
		ct.system = int64(float64(ct.system) * float64(shown.system) / float64(all.system))
	}
	t.shown.raise(ct)
	return t.shown
}

// CPUTime is the process's, threads that have ended among them.
func (g *ThreadGroup) CPUTime() (user, system time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ct := g.timesLocked()
	return time.Duration(ct.user), time.Duration(ct.system)
}

// timesLocked is what the process has used. Its lock is held.
func (g *ThreadGroup) timesLocked() cpuTimes { return g.boundLocked(g.countedLocked()) }

// countedLocked adds up what its threads have counted.
func (g *ThreadGroup) countedLocked() cpuTimes {
	ct := g.deadTimes
	for _, t := range g.threads {
		ct.add(t.clock.read(t))
	}
	return ct
}

// ChildCPUTime is that of children that ended and were waited for.
func (g *ThreadGroup) ChildCPUTime() (user, system time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Duration(g.childTimes.user), time.Duration(g.childTimes.system)
}
