package kernel

import (
	"testing"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// TestDying tells signals that end a task from those that only interrupt it.
func TestDying(t *testing.T) {
	for _, c := range []struct {
		name                string
		send                func(*Task)
		interrupted, ending bool
	}{
		{"nothing", func(*Task) {}, false, false},
		{"a handler", func(t *Task) {
			t.group.SetAction(int32(unix.SIGUSR1), abi.Sigaction{Handler: 0x1000})
			t.Signal(KernelSignal(unix.SIGUSR1))
		}, true, false},
		{"SIGKILL", func(t *Task) { t.Signal(KernelSignal(unix.SIGKILL)) }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := newFakeTask(t, Config{})
			c.send(task)
			if i, d := task.Interrupted(), task.Dying(); i != c.interrupted || d != c.ending {
				t.Errorf("interrupted %v, dying %v, want %v and %v", i, d, c.interrupted, c.ending)
			}
		})
	}
}
