package boot

import "coffer/internal/sentry/network"

// Container describes one container of a sandbox: its files, its namespaces
// and its first process. Descriptors are as in Sandbox; in a Request they are
// places in the list of descriptors that come with it.
type Container struct {
	// ID names the container among those of the sandbox; that of a sandbox
	// without a server is empty.
	ID string
	// Hostname is what a UTS namespace of the container's own starts with.
	Hostname string
	// Join are the namespaces that are other containers'.
	Join Join

	// Network, if not nil, is what a network namespace of the container's own has
	// beside a loopback interface. Descriptors are its interfaces' and their captures.
	Network *network.Config
	// NetworkOpenToAll lets every user inside listen on every port, and ping.
	NetworkOpenToAll bool

	// Root is the directory that the guest sees as /. In a sandbox without a
	// server it is read-only beneath a writable file system in memory.
	Root int
	// Mounts are further host directories and files, in the order in which
	// they are mounted.
	Mounts []Mount
	// Written are files that take the place of those that are there, once all is
	// mounted.
	Written []WrittenFile

	// Files, if not nil, are described by an OCI spec: then Mounts is empty, and
	// Root is used as Files says.
	Files *Files
	// Domainname is the NIS domain name of a UTS namespace of the container's own.
	Domainname string
	// Sysctls are set before anything runs.
	Sysctls []Sysctl
	// UIDs and GIDs, if there are any, give the container a user namespace.
	UIDs, GIDs []IDMapping
	// TimeOffsets, if not zero, give it a time namespace.
	TimeOffsets TimeOffsets
	// Resources are the container's limits.
	Resources Resources
	// StartHooks run in the container when its program is to start.
	StartHooks []Hook

	// Gate is a descriptor that the sentry closes when the program has been
	// let run, and does nothing else with; 0 is none. The lock that hangs on it
	// tells other processes, even while the sentry is frozen.
	Gate int

	Process
}

// WrittenFile is a file that the description itself has the contents of.
type WrittenFile struct {
	// Path is absolute. Directories that lead there are made; a symbolic link at the
	// path itself is replaced.
	Path string
	Data []byte
}

// Join names, kind by kind, the containers of the sandbox whose namespaces a
// container uses. An empty name stands for a namespace of its own.
type Join struct {
	PID, IPC, UTS, Net string
}

// Process describes the first process of a container, or another one that is
// started in it.
type Process struct {
	Args []string
	Env  []string
	// Cwd is the working directory, in the container.
	Cwd string
	// UserCwd says that the process's user must be able to enter it. Without it a
	// process has it as one inherits it, which nobody looks at then.
	UserCwd bool
	UID     uint32
	GID     uint32
	Groups  []uint32
	// Umask is the file mode creation mask.
	Umask uint32

	// program is the file that is executed, if not Args[0].
	program string
	// Attributes, if not nil, are what an OCI spec asks for; otherwise the
	// process has all capabilities if it is root's, and no others.
	Attributes *Attributes

	// Stdio are descriptors 0 to 2, if Console is -1.
	Stdio [3]int
	// Extra become descriptors 3 and up.
	Extra []int
	// Console is a stream that carries a terminal's bytes, or -1: then the
	// program's descriptors 0 to 2 are a terminal of the sandbox's own. A
	// sandbox with a server is given a terminal in raw mode, which does not
	// block.
	Console    int
	Rows, Cols uint16
}

// descriptors are the places of all that a description donates. Who takes one
// over writes -1 there (take): what is left once the container or the process
// has been made, or could not be, is closed.
func (c *Container) descriptors() []*int {
	fds := []*int{&c.Root}
	for i := range c.Mounts {
		fds = append(fds, &c.Mounts[i].FD)
	}
	if c.Files != nil {
		for i := range c.Files.Trees {
			fds = append(fds, &c.Files.Trees[i].FD)
		}
	}
	if c.Gate != 0 {
		fds = append(fds, &c.Gate)
	}
	if c.Network != nil {
		fds = append(fds, networkDescriptors(c.Network)...)
	}
	return append(fds, c.Process.descriptors()...)
}

func networkDescriptors(n *network.Config) []*int {
	var fds []*int
	if n.Questions != 0 {
		fds = append(fds, &n.Questions)
	}
	if n.Nameserver != nil {
		fds = append(fds, &n.Nameserver.FD)
	}
	for k := range n.Interfaces {
		i := &n.Interfaces[k]
		if i.FD >= 0 {
			fds = append(fds, &i.FD)
		}
		for _, fd := range []*int{&i.Capture, &i.Ready[0], &i.Ready[1]} {
			if *fd != 0 {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

// Donated turns places in the list of what is donated into descriptors of the
// sentry's own, of which the first is number first.
func (b *Sandbox) Donated(first int) {
	places := b.descriptors()
	if b.Trace != nil {
		places = append(places, &b.Trace.FD)
	}
	if b.Server != nil {
		places = append(places, b.Server.descriptors()...)
	}
	for _, p := range places {
		*p += first
	}
}

func (s *Server) descriptors() []*int {
	fds := []*int{&s.Listener}
	if s.Furnished != 0 {
		fds = append(fds, &s.Furnished)
	}
	return fds
}

// take takes over a donated descriptor.
func take(place *int) int {
	fd := *place
	*place = -1
	return fd
}

func (p *Process) descriptors() []*int {
	var fds []*int
	if p.Console >= 0 {
		fds = append(fds, &p.Console)
	} else {
		for i := range p.Stdio {
			fds = append(fds, &p.Stdio[i])
		}
	}
	for i := range p.Extra {
		fds = append(fds, &p.Extra[i])
	}
	return fds
}
