package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGuard kills one that has started a shell, which has started others: they end too.
func TestGuard(t *testing.T) {
	const role = "COFFER_BENCH_GUARDED"
	if os.Getenv(role) != "" {
		d, err := adopt()
		if err != nil {
			t.Fatal(err)
		}
		ended := exec.Command("/bin/true")
		cmd := exec.Command("/bin/sh", "-c", `trap "" TERM; sleep 1000 & echo; echo $$ $!; wait`)
		cmd.Stdout = os.Stdout
		for _, c := range []*exec.Cmd{ended, cmd} {
			if err := d.start(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.wait(ended); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestGuard$")
	cmd.Env = append(os.Environ(), role+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for s := bufio.NewScanner(out); len(pids) < 2 && s.Scan(); {
		pids = nil
		for _, f := range strings.Fields(s.Text()) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) != 2 {
		t.Fatalf("processes %v have been started", pids)
	}
	cmd.Process.Kill()
	cmd.Wait()
	alive := func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !strings.Contains(string(stat), ") Z ")
	}
	for deadline := time.Now().Add(time.Minute); alive(pids[0]) || alive(pids[1]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, pid := range pids {
				unix.Kill(pid, unix.SIGKILL)
			}
			t.Fatal("what was started lives on after a minute")
		}
	}
}
