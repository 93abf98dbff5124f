package kernel

import (
	"sync/atomic"
	"time"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Cgroup is a control group: processes that belong together from their birth
// on, as those of one container do (cgroups(7)). A process's never changes.
type Cgroup struct {
	k *Kernel
	// tasks counts the threads, of which there may be maxTasks; 0 is no limit.
	tasks, maxTasks atomic.Int64
	cpus            atomic.Pointer[[]uint64]
	// reaped are the processor times of processes that are gone; Kernel.mu guards it.
	reaped cpuTimes
	// view is set before there is a process.
	view vfs.FileSystem
}

// NewCgroup makes a control group with nothing in it.
func (k *Kernel) NewCgroup() *Cgroup { return &Cgroup{k: k} }

// LimitTasks lets the group have so many threads and no more: fork(2) says
// EAGAIN then. 0 is no limit.
func (c *Cgroup) LimitTasks(n int64) { c.maxTasks.Store(n) }

// SetCPUs says which processors a process that is started in the group from outside
// may use, 64 a word; others inherit it. The set is not changed any more.
func (c *Cgroup) SetCPUs(set []uint64) { c.cpus.Store(&set) }

// SetView says which file system shows the group to its processes, before there
// is one.
func (c *Cgroup) SetView(fs vfs.FileSystem) { c.view = fs }

// CPUs and View are what SetCPUs and SetView said; nil without.
func (c *Cgroup) CPUs() []uint64 {
	if c == nil || c.cpus.Load() == nil {
		return nil
	}
	return *c.cpus.Load()
}

func (c *Cgroup) View() vfs.FileSystem {
	if c == nil {
		return nil
	}
	return c.view
}

// Tasks is how many threads the group has.
func (c *Cgroup) Tasks() int { return int(c.tasks.Load()) }

// addTask counts a thread in; EAGAIN beyond the limit. A nil group counts none.
func (c *Cgroup) addTask() error {
	if c == nil {
		return nil
	}
	n := c.tasks.Add(1)
	if most := c.maxTasks.Load(); most != 0 && n > most {
		c.tasks.Add(-1)
		return unix.EAGAIN
	}
	return nil
}

func (c *Cgroup) removeTask() {
	if c != nil {
		c.tasks.Add(-1)
	}
}

// ThreadGroups are the processes in the group, zombies included, by number.
func (c *Cgroup) ThreadGroups() []*ThreadGroup {
	var list []*ThreadGroup
	for _, g := range c.k.ThreadGroups() {
		if g.cgroup == c {
			list = append(list, g)
		}
	}
	return list
}

// CPUTime is the processor time of all processes that are or were in the group, in
// user and in system mode.
func (c *Cgroup) CPUTime() (user, system time.Duration) {
	c.k.mu.Lock()
	total := c.reaped
	var list []*ThreadGroup
	for _, g := range c.k.groups {
		if g.cgroup == c {
			list = append(list, g)
		}
	}
	c.k.mu.Unlock()
	for _, g := range list {
		u, s := g.CPUTime()
		total.add(cpuTimes{int64(u), int64(s)})
	}
	return time.Duration(total.user), time.Duration(total.system)
}

// retireLocked keeps the times of a process that is about to be gone. Kernel.mu
// is held. A nil group keeps none.
func (c *Cgroup) retireLocked(g *ThreadGroup) {
	if c == nil {
		return
	}
	g.mu.Lock()
	c.reaped.add(g.timesLocked())
	g.mu.Unlock()
}

// Kill ends all processes in the group by SIGKILL, and those that they make
// meanwhile.
func (c *Cgroup) Kill() {
	for {
		alive := false
		for _, g := range c.ThreadGroups() {
			if !g.Ending() {
				alive = true
				g.Kill()
			}
		}
		if !alive {
			return
		}
	}
}
