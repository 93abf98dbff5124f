package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Image is a program that was loaded into an address space of its own, ready
// to run.
type Image struct {
	Context platform.Context
	MM      *mm.MemoryManager
	// Entry is where it starts, and Stack its stack pointer.
	Entry, Stack uint64
	// Comm is the name of the thread that runs it.
	Comm string
	// Creds are the identities to run with, or nil to keep the task's.
	Creds *auth.Credentials
}

// Exec replaces the task's program with img, as execve(2) does from its point
// of no return on: all other threads end, the task becomes the leader, and
// what does not survive execve is reset. On error, which says that the process
// is being ended by another thread, img is still the caller's to release.
func (t *Task) Exec(img *Image) error { return unix.ENOSYS }
