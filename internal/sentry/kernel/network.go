package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/unixsock"
	"coffer/internal/sentry/vfs"
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

// SocketCredentials, PathOrigin and Mounts make a Task a socket.Caller.

// SocketCredentials are what unix(7) tells a peer of the task, in the numbers
// of the sandbox's first namespaces. ShownCredentials turns those of a peer into
// the task's.
func (t *Task) SocketCredentials() socket.Ucred {
	c := t.Credentials()
	return socket.Ucred{PID: t.FirstPID(), UID: c.EUID, GID: c.EGID}
}

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
