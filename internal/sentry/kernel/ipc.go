package kernel

import (
	"coffer/internal/sentry/fs/mqueue"
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// IPCActor is the task as the System V objects see it.
func (t *Task) IPCActor() ipc.Actor {
	return ipc.Actor{Creds: t.Credentials(), PID: t.PID(), Owner: t.namespaces.IPC.owner}
}

// mount(2) shows the queues of the IPC namespace of who mounts. EPERM without
// CAP_SYS_ADMIN over that.
func init() {
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: mqueue.TypeName, Nested: true, Mount: func(r vfs.MountRequest) (vfs.FileSystem, error) {
		t, ok := r.Caller.(*Task)
		switch {
		case !ok:
			return nil, unix.ENODEV
		case r.Data != "":
			return nil, unix.EINVAL
		case !t.Credentials().CanIn(t.namespaces.IPC.owner, unix.CAP_SYS_ADMIN):
			return nil, unix.EPERM
		}
		return t.namespaces.IPC.Queues.FileSystem(), nil
	}})
}
