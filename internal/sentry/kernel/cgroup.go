package kernel

// Cgroup is a control group: processes that belong together from their birth
// on, as those of one container do (cgroups(7)). A process's never changes.
type Cgroup struct {
	k *Kernel
}

// NewCgroup makes a control group with nothing in it.
func (k *Kernel) NewCgroup() *Cgroup { return &Cgroup{k: k} }

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
