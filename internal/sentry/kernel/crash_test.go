package kernel_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform/trap"

	"golang.org/x/sys/unix"
)

// crashing is a system call table with a bug, in the task's goroutine or in
// another one while the task waits.
type crashing struct {
	kernel.Syscalls
	outside bool
}

func (c crashing) Dispatch(t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	if nr != unix.SYS_WRITE {
		return c.Syscalls.Dispatch(t, nr, args)
	}
	if c.outside {
		go crash.Guard(fail)()
		select {}
	}
	fail()
	return 0, nil
}

func fail() { panic("a bug for a test") }

// TestCrashReport has a kernel in another process fail, and looks at what it
// says of it.
func TestCrashReport(t *testing.T) {
	const variable = "KERNEL_TEST_CRASH"
	if where := os.Getenv(variable); where != "" {
		s := boot(t, kernel.Config{}, compile(t, "vsyscall"))
		s.kernel.Syscalls = crashing{s.kernel.Syscalls, where == "outside"}
		go s.kernel.Watch(os.Stderr)
		for !crash.Told() {
			runtime.Gosched()
		}
		s.run("vsyscall")
		t.Fatal("it did not crash")
	}
	newPlatform(t, trap.New).Close() // or skip
	for _, c := range []struct{ where, begins string }{
		{"inside", "a bug of the sentry's struck thread 1 (vsyscall) of process 1"},
		{"outside", "a bug of the sentry's struck outside of all threads. These were their last system calls:\nthread 1 (vsyscall) of process 1"},
	} {
		t.Run(c.where, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashReport$")
			cmd.Env = append(os.Environ(), variable+"="+c.where, "GOTRACEBACK=system",
				"TMPDIR="+t.TempDir()) // the crash leaves its own behind
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 2 {
				t.Errorf("it ended with %v, want exit status 2", err)
			}
			for _, want := range []string{c.begins, "\tset_tid_address(0x", "\twrite(0x1, 0x", "panic: a bug for a test", "kernel_test.fail"} {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("the report lacks %q:\n%s", want, &errs)
				}
			}
			if n := strings.Count(errs.String(), "a bug of the sentry's"); n != 1 {
				t.Errorf("%d reports:\n%s", n, &errs)
			}
		})
	}
}
