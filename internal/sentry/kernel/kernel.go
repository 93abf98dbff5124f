// Package kernel holds what makes a Linux kernel out of the parts below it:
// tasks, thread groups, sessions, PID and other namespaces, signals, futexes,
// timers and limits.
//
// It must not know particular file systems, sockets, ELF or the system call
// table: the table is handed in as a Syscalls.
//
// Lock order: Kernel.mu (task tree), ThreadGroup.mu (signals), Task.mu, then
// the locks of mm and vfs.
package kernel

import (
	"coffer/internal/sentry/platform"
)

// Syscalls is the system call table, as the kernel needs it.
type Syscalls interface {
	// Dispatch runs call number nr for t, with tracing if it is on.
	Dispatch(t *Task, nr uint64, args Args) (uintptr, error)
}

// Args are a system call's six arguments as they were in registers.
type Args [6]uint64

// Int returns argument i as a C int.
func (a Args) Int(i int) int32 { return int32(a[i]) }

// Uint returns argument i as a C unsigned int.
func (a Args) Uint(i int) uint32 { return uint32(a[i]) }

// Kernel is one running kernel: the tasks of one sandbox.
type Kernel struct {
	Platform platform.Platform
	Syscalls Syscalls
}
