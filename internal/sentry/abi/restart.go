package abi

import "golang.org/x/sys/unix"

// Errors that a system call returns when a signal interrupts it. They never
// reach the guest: on the way back the task turns each into EINTR or into a
// restart, as Linux does (include/linux/errno.h, signal(7) "Interruption of
// system calls and library functions by signal handlers").
const (
	// ERESTARTSYS restarts the call unless a handler without SA_RESTART runs.
	ERESTARTSYS = unix.Errno(512)
	// ERESTARTNOINTR always restarts the call.
	ERESTARTNOINTR = unix.Errno(513)
	// ERESTARTNOHAND restarts the call only if no handler runs.
	ERESTARTNOHAND = unix.Errno(514)
	// ERESTARTRESTARTBLOCK restarts through restart_syscall(2), so that a
	// relative time-out goes on counting; a handler turns it into EINTR.
	ERESTARTRESTARTBLOCK = unix.Errno(516)
)
