package kernel

import (
	"sync/atomic"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Task is one thread of execution: what clone(2) makes and gettid(2) numbers.
// One goroutine runs it. Fields without a lock named are for that goroutine
// alone.
type Task struct {
	k     *Kernel
	group *ThreadGroup
	ctx   platform.Context
	mem   *mm.MemoryManager
	fds   *vfs.FDTable
	fs    *FSContext
	creds atomic.Pointer[auth.Credentials]
}

// ThreadGroup is what getpid(2) numbers: the threads of one process.
type ThreadGroup struct{}

// FSContext is what CLONE_FS shares: root, working directory, umask.
type FSContext struct{}

// Kernel returns the kernel that the task belongs to.
func (t *Task) Kernel() *Kernel { return t.k }

// ThreadGroup returns the task's process.
func (t *Task) ThreadGroup() *ThreadGroup { return t.group }

// Context is the platform context: registers and host memory operations.
func (t *Task) Context() platform.Context { return t.ctx }

// MM is the task's address space.
func (t *Task) MM() *mm.MemoryManager { return t.mem }

// FDs is the task's descriptor table.
func (t *Task) FDs() *vfs.FDTable { return t.fds }

// FS is the task's root, working directory and umask.
func (t *Task) FS() *FSContext { return t.fs }

// File returns the description behind fd with a reference, or EBADF.
func (t *Task) File(fd int32) (*vfs.FileDescription, error) {
	f := t.fds.Get(fd)
	if f == nil {
		return nil, unix.EBADF
	}
	return f, nil
}

// Mounts is the mount namespace that the task's paths are walked in.
func (f *FSContext) Mounts() *vfs.MountNamespace { return nil }

// Root and Cwd return the directories, with a reference taken.
func (f *FSContext) Root() vfs.Path { return vfs.Path{} }
func (f *FSContext) Cwd() vfs.Path  { return vfs.Path{} }

// Credentials, Umask, FSLimit, CopyIn and CopyOut make a Task a vfs.Caller.
func (t *Task) Credentials() *auth.Credentials               { return t.creds.Load() }
func (t *Task) Umask() uint32                                { return 0 }
func (t *Task) FSLimit() uint64                              { return 0 }
func (t *Task) CopyIn(addr uint64, dst []byte) (int, error)  { return t.ctx.CopyIn(addr, dst) }
func (t *Task) CopyOut(addr uint64, src []byte) (int, error) { return t.ctx.CopyOut(addr, src) }

// CopyInString reads a NUL-terminated string of at most max bytes with the
// NUL. ENAMETOOLONG if there is no NUL in them, EFAULT.
func (t *Task) CopyInString(addr uint64, max int) (string, error) { return "", unix.ENOSYS }

// CopyInPath reads a path (at most PATH_MAX bytes).
func (t *Task) CopyInPath(addr uint64) (string, error) { return t.CopyInString(addr, unix.PathMax) }

// Limit returns the soft limit of one resource (unix.RLIMIT_*).
func (t *Task) Limit(resource int) uint64 { return 0 }

// Block sleeps until ch receives (nil), a signal that must be handled arrives
// or the task is killed (ERESTARTSYS), or deadline passes (ETIMEDOUT). A zero
// deadline never passes. No lock may be held.
func (t *Task) Block(ch <-chan struct{}, deadline time.Time) error { return unix.ENOSYS }
