package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/netlink"
	"coffer/internal/sentry/socket/unixsock"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// UnixSockets are the AF_UNIX sockets of the task's network namespace.
func (t *Task) UnixSockets() *unixsock.Namespace { return t.namespaces.Net.Unix }

// Network is the network of the task's network namespace.
func (t *Task) Network() *network.Namespace { return t.namespaces.Net.IP }

// NetworkOwner is the user namespace whose privileges count over that network.
func (t *Task) NetworkOwner() *auth.UserNamespace { return t.namespaces.Net.Owner() }

// FlowProcess says whom a network's policy is asked for: the number of the task's
// process in the sandbox's first namespace, and its program's name.
func (t *Task) FlowProcess() (pid int32, command string) { return t.FirstPID(), t.Comm() }

// Sockets are the other sockets of the task's network namespace.
func (t *Task) Sockets() *socket.Registry { return &t.namespaces.Net.Sockets }

// NetlinkNamespace is the task's network namespace for a socket of AF_NETLINK.
func (t *Task) NetlinkNamespace() netlink.Namespace {
	n := t.namespaces.Net
	return netlink.Namespace{IP: n.IP, Owner: n.Owner(), Ports: &n.NetlinkPorts, Sockets: &n.Sockets, Unix: n.Unix}
}

// NetworkByFD returns the network that a descriptor of nsfs's stands for, and whose privileges
// count over it. EBADF, or EINVAL for another file.
func (t *Task) NetworkByFD(fd int32) (*network.Namespace, *auth.UserNamespace, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	defer d.DecRef()
	if f, ok := d.File.(interface{ Namespace() Namespace }); ok {
		if n, ok := f.Namespace().(*NetworkNamespace); ok {
			return n.IP, n.Owner(), nil
		}
	}
	return nil, nil, unix.EINVAL
}

// NetworkByPID returns the network of a process. ESRCH if there is none of that number.
func (t *Task) NetworkByPID(pid int32) (*network.Namespace, *auth.UserNamespace, error) {
	o := t.PIDs().Task(pid)
	if o == nil {
		return nil, nil, unix.ESRCH
	}
	ns, err := o.InNamespace("net")
	if err != nil {
		return nil, nil, unix.ESRCH
	}
	n := ns.(*NetworkNamespace)
	return n.IP, n.Owner(), nil
}

// SocketCredentials, PathOrigin and Mounts make a Task a socket.Caller.

// SocketCredentials are what unix(7) tells a peer of the task, in the numbers
// of the sandbox's first namespaces. ShownCredentials turns those of a peer into
// the task's.
func (t *Task) SocketCredentials() socket.Ucred {
	c := t.Credentials()
	return socket.Ucred{PID: t.FirstPID(), UID: c.EUID, GID: c.EGID}
}

// SocketProcess is the process that pidfds of the task as a peer or sender are of.
func (t *Task) SocketProcess() socket.Process { return t.group }

func (t *Task) ShownCredentials(u socket.Ucred) socket.Ucred {
	users := t.Credentials().UserNS
	return socket.Ucred{PID: t.PIDs().Renumber(u.PID), UID: users.FromUID(u.UID), GID: users.FromGID(u.GID)}
}

// PathOrigin is where the task's paths are walked from, with references.
func (t *Task) PathOrigin() vfs.Origin {
	return vfs.Origin{Root: t.fs.Root(), Start: t.fs.Cwd()}
}

// Mounts is the mount namespace that the task's paths are walked in.
func (t *Task) Mounts() *vfs.MountNamespace { return t.fs.Mounts() }
