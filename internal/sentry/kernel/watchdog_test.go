package kernel

import (
	"strings"
	"testing"
	"time"
)

func TestWatchdog(t *testing.T) {
	for _, c := range []struct {
		name string
		// between happens between looks.
		between func(*Task)
		want    string
	}{
		{"a task that stays in the kernel", func(*Task) {}, "thread 1 (stuck) of process 1 has not come back from a system call"},
		{"a task that comes and goes", func(t *Task) { t.clock.enterGuest(t); time.Sleep(time.Microsecond); t.clock.leaveGuest(t) }, ""},
		{"a task in guest code", func(t *Task) { t.mode.Store(modeGuest) }, ""},
		{"a task that sleeps", func(t *Task) { t.mode.Store(modeBlocked) }, ""},
		{"a lock of the kernel", func(t *Task) { t.k.mu.TryLock() }, "the lock of the task tree"},
		{"a lock of a process", func(t *Task) { t.group.mu.TryLock() }, "the lock of the task tree or of a process"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := newFakeTask(t, Config{})
			task.SetComm("stuck")
			d := watchdog{k: task.k, patience: time.Millisecond}
			var report strings.Builder
			for range stuckAfter {
				d.look(&report)
			}
			if report.Len() != 0 {
				t.Fatalf("a report after %d looks:\n%s", stuckAfter, &report)
			}
			for range 2 * stuckAfter {
				c.between(task)
				if d.look(&report); d.told {
					break
				}
			}
			if got := report.String(); (got != "") != (c.want != "") || !strings.Contains(got, c.want) {
				t.Errorf("the report is %q, want %q", got, c.want)
			}
			if d.told && !strings.Contains(report.String(), "goroutine ") {
				t.Error("the report has no stacks")
			}
		})
	}
}
