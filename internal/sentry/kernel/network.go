package kernel

import (
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/unixsock"
	"coffer/internal/sentry/vfs"
)

// UnixSockets are the names of the sandbox's one network namespace.
func (k *Kernel) UnixSockets() *unixsock.Namespace { return k.unixSockets }

// SocketCredentials, PathOrigin and Mounts make a Task a socket.Caller.

// SocketCredentials are what unix(7) tells a peer of the task.
func (t *Task) SocketCredentials() socket.Ucred {
	c := t.Credentials()
	return socket.Ucred{PID: t.group.id, UID: c.EUID, GID: c.EGID}
}

// PathOrigin is where the task's paths are walked from, with references.
func (t *Task) PathOrigin() vfs.Origin {
	return vfs.Origin{Root: t.fs.Root(), Start: t.fs.Cwd()}
}

// Mounts is the mount namespace that the task's paths are walked in.
func (t *Task) Mounts() *vfs.MountNamespace { return t.fs.Mounts() }
