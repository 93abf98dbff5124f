package vfs

import "coffer/internal/sentry/auth"

// Caller is the task on whose behalf an operation runs, as far as a file
// system may know it. kernel.Task implements it; tests use their own.
type Caller interface {
	// Credentials are those that permission checks go by.
	Credentials() *auth.Credentials
	// Umask is masked out of the mode of what is created.
	Umask() uint32
	// FSLimit is RLIMIT_FSIZE in bytes.
	FSLimit() uint64
	// CopyIn reads guest memory; it returns how much could be read and
	// EFAULT if that is less than asked for.
	CopyIn(addr uint64, dst []byte) (int, error)
	// CopyOut writes guest memory, with results like CopyIn's.
	CopyOut(addr uint64, src []byte) (int, error)
}
