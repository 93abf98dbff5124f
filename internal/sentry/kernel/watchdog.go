package kernel

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"coffer/internal/sentry/crash"
)

// A task is stuck if it is awake in the kernel, in one and the same stay, each
// time that the watchdog looks: a deadlock, an endless loop, or a host that
// does not answer. Looks are counted rather than time, which passes also while
// the host has stopped all of the sandbox.
const (
	watchEvery   = 15 * time.Second
	stuckAfter   = 4       // looks
	stacksAtMost = 4 << 20 // bytes
	lockPatience = 10 * time.Second
)

// watchdog remembers since when each task has been where it was seen last.
type watchdog struct {
	k    *Kernel
	seen map[*Task]stay
	// patience is how long a lock may take.
	patience time.Duration
	// told says that there was a report. One shows all that there is to see.
	told bool
}

// stay is a task's time in the kernel: when it began, and how often it was seen.
type stay struct {
	since int64
	looks int
}

// Watch looks after the tasks until PID 1 has ended, and once writes a report
// with the stacks of all goroutines to w if one of them is stuck. Nothing else
// happens to it: it may be the host that is slow. It also has it told there what
// the tasks did, if the sentry panics.
func (k *Kernel) Watch(w io.Writer) {
	crash.Tell(func() { k.reportCalls(w) })
	crash.Guard(func() { k.watch(w) })()
}

func (k *Kernel) watch(w io.Writer) {
	d := watchdog{k: k, patience: lockPatience}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for !d.told {
		select {
		case <-k.initDone:
			return
		case <-tick.C:
			d.look(w)
		}
	}
}

// look looks once.
func (d *watchdog) look(w io.Writer) {
	tasks, ok := d.tasks()
	if !ok {
		d.report(w, "whoever holds the lock of the task tree or of a process has not come back")
		return
	}
	seen := make(map[*Task]stay, len(tasks))
	for _, t := range tasks {
		now := stay{since: t.clock.since.Load(), looks: 1}
		if t.mode.Load() != modeKernel {
			continue
		}
		if last, ok := d.seen[t]; ok && last.since == now.since {
			now.looks += last.looks
		}
		seen[t] = now
		if now.looks > stuckAfter {
			d.report(w, fmt.Sprintf("thread %d (%s) of process %d has not come back from a system call", t.TID(), t.Comm(), t.PID()))
			return
		}
	}
	d.seen = seen
}

// tasks lists all tasks; ok is false if a lock is held for good.
func (d *watchdog) tasks() (all []*Task, ok bool) {
	if !d.lock(&d.k.mu) {
		return nil, false
	}
	groups := make([]*ThreadGroup, 0, len(d.k.groups))
	for _, g := range d.k.groups {
		groups = append(groups, g)
	}
	d.k.mu.Unlock()
	for _, g := range groups {
		if !d.lock(&g.mu) {
			return nil, false
		}
		all = append(all, g.threads...)
		g.mu.Unlock()
	}
	return all, true
}

// lock takes a lock unless that takes too long.
func (d *watchdog) lock(mu *sync.Mutex) bool {
	for until := time.Now().Add(d.patience); !mu.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			return false
		}
	}
	return true
}

func (d *watchdog) report(w io.Writer, what string) {
	d.told = true
	stacks := make([]byte, stacksAtMost)
	stacks = stacks[:runtime.Stack(stacks, true)]
	fmt.Fprintf(w, "coffer: %s for a minute: unless the host is very slow, this is a bug in Coffer. What its sentry is doing:\n\n%s\n", what, stacks)
}
