package kernel

import (
	"math"
	"runtime"
	"time"

	"coffer/internal/sentry/platform"
)

// usage is what a process used that the host counts. ThreadGroup.mu guards it.
type usage struct {
	// ended is the address space of a process that has ended, and children are
	// those of its children that were waited for and theirs: the host tells how
	// large they were a little later than they end, so they are only asked if
	// somebody wants to know. childMaxRSS is the largest of those that were
	// asked, in bytes.
	ended       platform.PeakTeller
	children    []platform.PeakTeller
	childMaxRSS uint64

	// space, if not nil, is the process's address space, which had taken since
	// when it came to it; spent is what it took in former ones.
	space        platform.CPUTeller
	since, spent time.Duration
	// bounded says that there was one.
	bounded bool
	// shown is the most that was told.
	shown cpuTimes
}

// enter begins to count in an address space, unless it is the present one.
func (u *usage) enter(as platform.AddressSpace) {
	space, ok := as.(platform.CPUTeller)
	if !ok || space == u.space {
		return
	}
	u.settle()
	if since, ok := space.CPUTime(); ok {
		u.space, u.since, u.bounded = space, since, true
	}
}

// leave ends that, because the process has ended.
func (u *usage) leave(as platform.AddressSpace) {
	u.settle()
	u.ended, _ = as.(platform.PeakTeller)
}

// maxChildren is how many children are remembered before they are asked.
const maxChildren = 64

// collect takes over what a child, which is waited for, and its children were.
func (u *usage) collect(child *usage) {
	u.childMaxRSS = max(u.childMaxRSS, child.childMaxRSS)
	u.children = append(u.children, child.children...)
	if child.ended != nil {
		u.children = append(u.children, child.ended)
	}
	// The oldest have ended long ago, and answer at once.
	for len(u.children) > maxChildren {
		u.childMaxRSS = max(u.childMaxRSS, u.children[0].PeakRSS())
		u.children = u.children[1:]
	}
}

// settle adds what the address space took to spent.
func (u *usage) settle() {
	u.spent = u.taken()
	u.space, u.since = nil, 0
}

// taken is what the process took in its address spaces. It is not known, and so
// no bound, once the host has ended one.
func (u *usage) taken() time.Duration {
	if u.space == nil {
		return u.spent
	}
	now, ok := u.space.CPUTime()
	if !ok {
		return math.MaxInt64
	}
	return satAdd(u.spent, max(0, now-u.since))
}

// boundLocked takes from what the threads of a process have counted what they
// only waited for a processor: user time is no more than the host gave their
// address space, and both together no more than all processors had.
func (g *ThreadGroup) boundLocked(counted cpuTimes) cpuTimes {
	u := &g.usage
	if !u.bounded {
		return counted
	}
	all := int64(time.Since(g.start)) * int64(runtime.NumCPU())
	user := min(counted.user, int64(u.taken()))
	u.shown.raise(cpuTimes{user, min(counted.system, max(0, all-user))})
	return u.shown
}

// hasMemoryLocked reports whether a thread of the process has memory still.
func (g *ThreadGroup) hasMemoryLocked() bool {
	for _, t := range g.threads {
		if t.mem != nil {
			return true
		}
	}
	return false
}

// ChildMaxRSS is the largest resident set of the process's children that were
// waited for, and of theirs, in bytes.
func (g *ThreadGroup) ChildMaxRSS() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := &g.usage
	for _, c := range u.children {
		u.childMaxRSS = max(u.childMaxRSS, c.PeakRSS())
	}
	u.children = nil
	return u.childMaxRSS
}

// MaxRSS is the largest resident set of the process, which has ended, and of
// its children that it waited for, in bytes.
func (g *ThreadGroup) MaxRSS() uint64 {
	most := g.ChildMaxRSS()
	g.mu.Lock()
	ended := g.usage.ended
	g.mu.Unlock()
	if ended != nil {
		most = max(most, ended.PeakRSS())
	}
	return most
}
