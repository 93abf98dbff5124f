package kernel

import "golang.org/x/sys/unix"

// inherit copies what a new task has from the one that made it and no flag of
// clone(2) decides. Robust lists and timers are not inherited.
func (t *Task) inherit(c *Task) { c.inheritAttributes(t) }

// startCPULimit begins to enforce RLIMIT_CPU on a new process.
func (g *ThreadGroup) startCPULimit() {
	if g.limits.Cur(unix.RLIMIT_CPU) != Infinity {
		g.CPULimitChanged()
	}
}
