package sysmon

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCalm: the host wakes one thread later, which is not the one that runs main.
func TestCalm(t *testing.T) {
	const slack = 1234567 // in nanoseconds
	slacks := func() (late, all int) {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			b, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
			if os.IsPermission(err) {
				t.Skip("this host does not tell:", err)
			}
			if err != nil {
				continue // it has ended
			}
			all++
			if strings.TrimSpace(string(b)) == strconv.Itoa(slack) {
				if late++; thread.Name() == strconv.Itoa(os.Getpid()) {
					t.Error("it is the main thread")
				}
			}
		}
		return late, all
	}
	Calm(slack)
	defer Calm(50 * time.Microsecond)
	if late, all := slacks(); late == 0 || all < 2 {
		t.Errorf("%d of %d threads are woken later", late, all)
	}
}
