package kernel

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"coffer/internal/sentry/crash"
)

// A bug of the kernel itself is a Go panic. The runtime ends the process and
// shows all goroutines; what it can't know is what the guest did, which is told
// here, before: by the task that panics, or, for goroutines of no task, by
// package crash.

// callLog holds the last system calls of a task, for a report. It is the
// task's own goroutine's.
type callLog struct {
	calls [16]struct {
		nr   uint64
		args Args
	}
	made uint64
}

// add notes a call before it is answered.
func (l *callLog) add(nr uint64, args Args) {
	c := &l.calls[l.made%uint64(len(l.calls))]
	c.nr, c.args = nr, args
	l.made++
}

// describe renders the calls, a line each, the last one last.
func (l *callLog) describe(s Syscalls) string {
	var b strings.Builder
	size := uint64(len(l.calls))
	for i := l.made - min(l.made, size); i < l.made; i++ {
		c := &l.calls[i%size]
		fmt.Fprintf(&b, "\t%s\n", s.Describe(c.nr, c.args))
	}
	return b.String()
}

// reportCrash tells on standard error what the task did before its goroutine
// panicked. It takes no locks, since the task may hold any. Tasks that crash
// at the same time take turns, and the first ends the process.
func (t *Task) reportCrash() {
	t.k.crash.Lock()
	crash.Tell(func() {}) // others need not tell as well
	fmt.Fprintf(os.Stderr, "coffer: a bug of the sentry's struck thread %d (%s) of process %d, after these system calls:\n%s",
		t.TID(), t.Comm(), t.PID(), t.calls.describe(t.k.Syscalls))
}

// reportCalls tells what each task did, for a panic outside of all of them. They
// go on meanwhile, so that the last line of one may be a mixture of two calls.
func (k *Kernel) reportCalls(w io.Writer) {
	const tasksAtMost = 64
	k.crash.Lock()
	fmt.Fprintf(w, "coffer: a bug of the sentry's struck outside of all threads.")
	d := watchdog{k: k, patience: time.Second}
	tasks, ok := d.tasks()
	if !ok {
		fmt.Fprintf(w, " What they did before is not known: a lock is held.\n")
		return
	}
	fmt.Fprintf(w, " These were their last system calls:\n")
	for i, t := range tasks {
		if i == tasksAtMost {
			fmt.Fprintf(w, "and those of %d more threads\n", len(tasks)-i)
			break
		}
		fmt.Fprintf(w, "thread %d (%s) of process %d:\n%s", t.TID(), t.Comm(), t.PID(), t.calls.describe(k.Syscalls))
	}
}
