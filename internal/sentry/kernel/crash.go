package kernel

import (
	"fmt"
	"os"
	"strings"
)

// A bug of the kernel itself is a Go panic. The runtime ends the process and
// shows all goroutines; what it can't know is what the guest did, which is told
// here, before.

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
	fmt.Fprintf(os.Stderr, "coffer: a bug of the sentry's struck thread %d (%s) of process %d, after these system calls:\n%s",
		t.TID(), t.Comm(), t.PID(), t.calls.describe(t.k.Syscalls))
}
