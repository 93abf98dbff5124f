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
	// By the host's calls alone: package os would begin Go's poller, which ends the process where
	// the host refuses one, before anybody can say so.
	dir, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	var entries [1 << 10]byte
	n, err := unix.ReadDirent(dir, entries[:])
	if err != nil {
		return
	}
	// They come in the order in which they were made, and sysmon is the first that
	// the runtime makes.
	_, _, threads := unix.ParseDirent(entries[:n], 2, nil)
	if len(threads) < 2 {
		return
	}
	file, err := unix.Open("/proc/"+threads[1]+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(file)
	_, _ = unix.Write(file, strconv.AppendInt(nil, slack.Nanoseconds(), 10))
}

// Restore gives the calling thread, to which the goroutine is locked, the slack with which
// the process was started, for a program that it starts.
func Restore() {
	if own := callers.Load(); own > 0 {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0)
	}
}
