package kernel

import (
	"coffer/internal/sentry/fs/mqueue"
	"coffer/internal/sentry/ipc"
)

// IPC holds the System V objects of the sandbox's one IPC namespace.
func (k *Kernel) IPC() *ipc.Namespace { return k.ipc }

// IPCActor is the task as the System V objects see it.
func (t *Task) IPCActor() ipc.Actor {
	return ipc.Actor{Creds: t.Credentials(), PID: t.group.id}
}

// MessageQueues holds the POSIX message queues of that namespace.
func (k *Kernel) MessageQueues() *mqueue.Namespace { return &k.mqueues }
