package kernel

import "coffer/internal/sentry/ipc"

// IPCActor is the task as the System V objects see it.
func (t *Task) IPCActor() ipc.Actor {
	return ipc.Actor{Creds: t.Credentials(), PID: t.PID(), Owner: t.namespaces.IPC.owner}
}
