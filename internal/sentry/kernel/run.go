package kernel

import (
	"golang.org/x/sys/unix"

	"coffer/internal/sentry/abi"
)

// SetRestart says how to go on if the present call, which is about to return
// abi.ERESTARTRESTARTBLOCK, is restarted after a signal without a handler: by
// calling f instead of the call itself (restart_syscall(2)).
func (t *Task) SetRestart(f func(*Task) (uintptr, error)) error {
	t.restartFn = f
	return abi.ERESTARTRESTARTBLOCK
}

// Restart is restart_syscall(2).
func (t *Task) Restart() (uintptr, error) {
	f := t.restartFn
	t.restartFn = nil
	if f == nil {
		return 0, unix.EINTR
	}
	return f(t)
}
