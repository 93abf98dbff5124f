package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// ProcessConfig is what a process without a parent is made from: PID 1, or
// one that is started in a running sandbox.
type ProcessConfig struct {
	Credentials *auth.Credentials
	// FDs and FS are taken over.
	FDs *vfs.FDTable
	FS  *FSContext
	// Limits are taken over; nil means NewLimits.
	Limits *Limits
	// Comm is the thread's name until it runs a program.
	Comm string
	// TTY, if not nil, becomes the controlling terminal.
	TTY TTY
}

// CreateProcess makes a process, the leader of a session of its own. It has
// no memory and does not run: load a program (Task.Exec), then Start it. The
// first one is PID 1.
func (k *Kernel) CreateProcess(c ProcessConfig) (*Task, error) { return nil, unix.ENOSYS }

// Start runs a task that CreateProcess made.
func (t *Task) Start() {}

// Discard drops a process that was made and can't be started.
func (t *Task) Discard() {}
