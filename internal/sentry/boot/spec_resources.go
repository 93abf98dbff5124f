package boot

import (
	"coffer/internal/sentry/fs/sysfs"
	"coffer/internal/sentry/kernel"
)

// limit gives a container that is being made its limits, and what shows them.
func (c *container) limit(r Resources) {
	c.resources = r
	c.cgroup.SetView(sysfs.NewCgroup(c.limits, c.usage))
	c.applyLocked()
}

// usage is what the container uses, and has used of processor time.
func (c *container) usage() sysfs.Usage {
	user, system := c.cgroup.CPUTime()
	return sysfs.Usage{
		Memory: kernel.MemoryUsed(c.cgroup.ThreadGroups()), Tasks: c.cgroup.Tasks(),
		User: uint64(user), System: uint64(system),
	}
}

// interfacesMax bounds how many interfaces are told of: with the longest names they fit a reply.
const interfacesMax = 128

// interfaces are those by which the container's network leads out of the sandbox.
func (c *container) interfaces() (list []Interface) {
	for _, l := range c.network.Links() {
		if l.LeadsOut() && len(list) < interfacesMax {
			list = append(list, Interface{l.Name, l.Statistics})
		}
	}
	return list
}

// update changes limits. The host enforces those of memory and processor time;
// what is the kernel's own is changed here, and all is shown.
func (c *container) update(change *ResourceChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resources.Change(change)
	c.applyLocked()
	if c.s.server.first == c && change.Memory != nil {
		c.s.kernel.SetMemoryLimit(uint64(c.resources.Memory))
	}
	if change.CPUs == nil {
		return
	}
	for _, g := range c.cgroup.ThreadGroups() {
		for _, t := range g.Tasks() {
			// It fails for a set of processors that the sandbox does not have,
			// which the host has refused.
			_ = t.SetAffinity(change.CPUs)
		}
	}
}

// applyLocked has the control group go by the limits. c.mu is held, unless nobody
// else knows c.
func (c *container) applyLocked() {
	cpus := c.resources.CPUs
	if cpus == nil {
		cpus = kernel.CPUs()
	}
	c.cgroup.LimitTasks(c.resources.Tasks)
	c.cgroup.SetCPUs(cpus)
}

// limits are the container's as cgroups(7) of version 2 has them.
func (c *container) limits() sysfs.Limits {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.resources
	l := sysfs.Limits{
		Memory: uint64(r.Memory), Reservation: uint64(r.Reservation), Tasks: uint64(r.Tasks),
		Quota: uint64(r.Quota), Period: r.Period, Weight: r.Weight, CPUs: c.cgroup.CPUs(),
	}
	if r.MemorySwap > r.Memory && r.Memory > 0 {
		l.Swap = uint64(r.MemorySwap - r.Memory)
	}
	if l.Tasks == 0 {
		l.Tasks = uint64(c.s.kernel.MaxTasks())
	}
	return l
}
