package test

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSysmonIsCalm looks whether the thread of the sentry that the host wakes later is
// the one that is meant: Go's sysmon, which sleeps by nanosleep(2) while there is work.
func TestSysmonIsCalm(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's sentry may have it done, and only root can see it")
	}
	cmd := exec.Command(coffer(t), "do", "--", "sh", "-c", "echo up; while :; do /bin/true; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	sentries := children(strconv.Itoa(cmd.Process.Pid))
	if len(sentries) != 1 {
		t.Fatalf("coffer has %d children, want the sentry alone", len(sentries))
	}
	dir, err := os.Open("/proc/" + sentries[0] + "/task")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	threads, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	// Threads that it has made come behind it.
	calm := slices.IndexFunc(threads, func(thread string) bool { return contents(thread, "timerslack_ns") == "200000" })
	if calm < 0 {
		t.Fatalf("none of the sentry's threads %v may be woken late", threads)
	}
	const nanosleep = "35 "
	for end := time.Now().Add(2 * time.Minute); !strings.HasPrefix(contents(threads[calm], "syscall"), nanosleep); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("thread %s, which may be woken late, is at %q and never in nanosleep(2)", threads[calm], contents(threads[calm], "syscall"))
		}
	}
}
