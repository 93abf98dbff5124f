package boot

import (
	"os"
	"strconv"
	"time"
)

// Go's runtime has a thread, sysmon, that looks every 20 µs whether there is something
// to do that no other thread sees to, as long as the sentry is busy now and then. Each
// look takes a processor from whoever is on it, mostly a stub, which cost programs that
// start others a tenth of their time and more. What it finds can wait a little:
// goroutines that are ready while all of Go's processors are lent to host calls, or one
// that has run for 10 ms.

// sysmonSlack is how much later than asked for the host may wake sysmon. Threads that
// sysmon makes inherit it, so it is not longer.
const sysmonSlack = 200 * time.Microsecond

// calmSysmon has the host wake sysmon later. It must be called before privileges are
// given up; a host that refuses it has slower guests and no more.
func calmSysmon() {
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
	_ = os.WriteFile("/proc/"+threads[1]+"/timerslack_ns", strconv.AppendInt(nil, sysmonSlack.Nanoseconds(), 10), 0)
}
