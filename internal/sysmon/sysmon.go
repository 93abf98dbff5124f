// Package sysmon has the host wake a thread of Go's runtime less often.
//
// That thread, sysmon, looks every 20 µs whether there is something to do that no other
// thread sees to, as long as the process is busy now and then. Each look takes a
// processor from whoever is on it. What it finds can wait a little: goroutines that are
// ready while all of Go's processors are lent to host calls, or one that has run for
// 10 ms.
//
// It must import nothing of ours.
package sysmon

import (
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// callers is the slack with which the process was started.
var callers atomic.Int64

// Calm has the host wake sysmon up to slack later than it asks. Threads that sysmon makes
// inherit that, and so would the programs that these start: see Restore. It must be called
// before privileges are given up; a host that refuses it has slower guests and no more.
func Calm(slack time.Duration) {
	if own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		callers.Store(int64(own))
	}
	dir, err := os.Open("/proc/self/task")
	if err != nil {
		return
	}
	defer dir.Close()
	// They come in the order in which they were made, and sysmon is the first that
	// the runtime makes.
	threads, err := dir.Readdirnames(-1)
	if err != nil || len(threads) < 2 {
		return
	}
	_ = os.WriteFile("/proc/"+threads[1]+"/timerslack_ns", strconv.AppendInt(nil, slack.Nanoseconds(), 10), 0)
}

// Restore gives the calling thread, to which the goroutine is locked, the slack with which
// the process was started, for a program that it starts.
func Restore() {
	if own := callers.Load(); own > 0 {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0)
	}
}
