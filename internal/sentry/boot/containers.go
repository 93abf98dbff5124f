package boot

import (
	"errors"
	"fmt"
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/procfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// container is one container of a sandbox with a server.
type container struct {
	s      *sandbox
	id     string
	init   *process
	cgroup *kernel.Cgroup
	// network is that of its first process, before that goes elsewhere.
	network *network.Namespace
	// root is who is root in it; described is what it was made from.
	root      *auth.Credentials
	described *Container
	// begin is closed for the program to run, and gate with it.
	begin chan struct{}

	mu        sync.Mutex
	resources Resources
	gate      int
	// starting says that the program is about to be let run, started that it was.
	starting, started bool
	// gone says that nothing may be started in it any more.
	gone bool
}

// newContainer makes a container up to its program, which waits for start.
// first is that of the sandbox, whose namespaces are the kernel's own.
func (s *sandbox) newContainer(c *Container, first bool) (*container, error) {
	n := &container{s: s, id: c.ID, cgroup: s.kernel.NewCgroup(), begin: make(chan struct{}), gate: -1, described: c}
	var err error
	if n.root, err = s.rootUser(c); err != nil {
		return nil, err
	}
	n.limit(c.Resources)
	at := place{cgroup: n.cgroup, root: n.root}
	if !first || n.root.UserNS != auth.Initial || c.TimeOffsets != (TimeOffsets{}) {
		if at.namespaces, err = s.server.namespaces(c, n.root.UserNS, first); err != nil {
			return nil, err
		}
	}
	n.network = s.network
	if at.namespaces != nil {
		n.network = at.namespaces.Net.IP
	}
	makeFiles := s.files
	if c.Files != nil {
		makeFiles, at.bare = func(c *Container) (*vfs.MountNamespace, error) { return s.rootOf(c, n.root.UserNS) }, c
	}
	mounts, err := makeFiles(c)
	if err != nil {
		if at.namespaces != nil {
			at.namespaces.Release()
		}
		return nil, err
	}
	defer mounts.DecRef()
	at.mounts = mounts
	if n.init, err = s.newProcess(&c.Process, at); err != nil {
		return nil, err
	}
	if c.Gate != 0 {
		n.gate = take(&c.Gate)
	}
	return n, nil
}

// group is the container's first process.
func (c *container) group() *kernel.ThreadGroup { return c.init.task.ThreadGroup() }

// start lets the program run.
func (c *container) start() error {
	if err := c.mayStart(); err != nil {
		return err
	}
	if err := c.runStartHooks(); err != nil {
		c.destroy()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.group().Ending() {
		return fmt.Errorf("container %s has ended", c.id)
	}
	c.started = true
	close(c.begin)
	if c.gate >= 0 {
		unix.Close(c.gate)
		c.gate = -1
	}
	return nil
}

// mayStart lets one caller start the container, once.
func (c *container) mayStart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.starting:
		return fmt.Errorf("container %s was started before", c.id)
	case c.gone || c.group().Ending():
		return fmt.Errorf("container %s has ended", c.id)
	}
	c.starting = true
	return nil
}

// signal sends a signal from outside to the first process, or to all of them.
func (c *container) signal(sig int32, all bool) error {
	if !kernel.ValidSignal(sig) {
		return fmt.Errorf("%d is no signal", sig)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !all && c.group().Ending() {
		return fmt.Errorf("the first process of container %s has ended", c.id)
	}
	if !c.started && kernel.Terminates(sig) {
		// There is no program yet that could want anything else.
		c.group().Terminate(sig)
		return nil
	}
	if !all {
		return c.group().SignalFromHost(sig)
	}
	return c.cgroup.SignalFromHost(sig)
}

// exec starts another process in the namespaces that the first one is in now.
func (c *container) exec(p *Process) (*process, error) { return c.run(p, nil) }

// run is exec, with stdio for the process's own descriptors 0 to 2 if it is not
// nil.
func (c *container) run(p *Process, stdio []*vfs.FileDescription) (*process, error) {
	t := c.group().Representative()
	if t == nil {
		return nil, fmt.Errorf("container %s has ended", c.id)
	}
	ns, err := t.InNamespace("mnt")
	if err != nil {
		return nil, fmt.Errorf("container %s has ended", c.id)
	}
	defer kernel.DropNamespace(ns)
	at := place{mounts: ns.(*vfs.MountNamespace), cgroup: c.cgroup, root: c.root, stdio: stdio}
	if at.namespaces, err = t.JoinNamespaces(); err != nil {
		return nil, fmt.Errorf("container %s has ended", c.id)
	}
	n, err := c.s.newProcess(p, at)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		n.discard()
		return nil, fmt.Errorf("container %s has ended", c.id)
	}
	n.task.Start()
	return n, nil
}

// destroy ends all processes of the container for good, and returns when they
// have ended.
func (c *container) destroy() {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	all := c.cgroup.ThreadGroups()
	c.cgroup.Kill()
	for _, g := range append(c.cgroup.ThreadGroups(), all...) {
		<-g.Done()
	}
}

// commandMaxShown bounds what is shown of a process's arguments, in bytes.
const commandMaxShown = 256

// processes lists what runs in the container.
func (c *container) processes() []ProcessInfo {
	var list []ProcessInfo
	pids := c.group().PIDs()
	for _, g := range c.cgroup.ThreadGroups() {
		t := g.Representative()
		if t == nil {
			continue // a zombie
		}
		user, system := g.CPUTime()
		list = append(list, ProcessInfo{
			PID: g.IDIn(pids), PPID: g.PPIDIn(pids), UID: t.Credentials().RUID, Threads: len(g.Tasks()),
			CPU: uint64(user + system), Command: procfs.CommandLine(g, commandMaxShown),
		})
	}
	return list
}

// namespaces makes those of a container that does not have the kernel's own. The network
// of the first is the sandbox's in any case.
func (v *server) namespaces(c *Container, owner *auth.UserNamespace, first bool) (_ *kernel.Namespaces, err error) {
	config := kernel.NamespaceConfig{Owner: owner, Time: kernel.TimeOffsets(c.TimeOffsets), Hostname: c.Hostname, Domainname: c.Domainname}
	for _, j := range []struct {
		kind, id string
		into     **kernel.Namespaces
	}{
		{"PID", c.Join.PID, &config.PID}, {"IPC", c.Join.IPC, &config.IPC},
		{"UTS", c.Join.UTS, &config.UTS}, {"network", c.Join.Net, &config.Net},
	} {
		if j.id == "" {
			continue
		}
		other, err := v.container(j.id)
		if err != nil {
			return nil, fmt.Errorf("joining a %s namespace: %w", j.kind, err)
		}
		t := other.group().Representative()
		if t == nil {
			return nil, fmt.Errorf("joining the %s namespace of container %s: it has ended", j.kind, j.id)
		}
		ns, err := t.JoinNamespaces()
		if err != nil {
			return nil, fmt.Errorf("joining the %s namespace of container %s: it has ended", j.kind, j.id)
		}
		defer ns.Release()
		*j.into = ns
	}
	if first {
		config.Network = v.s.network
	} else if c.Join.Net == "" {
		if config.Network, err = c.network(); err != nil {
			return nil, err
		}
	}
	made, err := v.s.kernel.NewNamespaces(config)
	if errors.Is(err, unix.ENOSPC) {
		return nil, fmt.Errorf("the sandbox has %d namespaces already: end what made them", kernel.MaxNamespaces)
	}
	return made, err
}
