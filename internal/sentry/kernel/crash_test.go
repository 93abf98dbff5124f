package kernel_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform/trap"

	"golang.org/x/sys/unix"
)

// crashing is a system call table with a bug.
type crashing struct{ kernel.Syscalls }

func (c crashing) Dispatch(t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	if nr == unix.SYS_WRITE {
		panic("a bug for a test")
	}
	return c.Syscalls.Dispatch(t, nr, args)
}

// TestCrashReport has a kernel in another process fail, and looks at what it
// says of it.
func TestCrashReport(t *testing.T) {
	const variable = "KERNEL_TEST_CRASH"
	if os.Getenv(variable) != "" {
		s := boot(t, kernel.Config{}, compile(t, "vsyscall"))
		s.kernel.Syscalls = crashing{s.kernel.Syscalls}
		s.run("vsyscall")
		t.Fatal("it did not crash")
	}
	newPlatform(t, trap.New).Close() // or skip
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashReport$")
	cmd.Env = append(os.Environ(), variable+"=1", "GOTRACEBACK=system",
		"TMPDIR="+t.TempDir()) // the crash leaves its own behind
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("it ended with %v, want exit status 2", err)
	}
	for _, want := range []string{
		"a bug of the sentry's struck thread 1 (vsyscall) of process 1", "\tset_tid_address(0x", "\twrite(0x1, 0x", "panic: a bug for a test", "crashing.Dispatch",
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &errs)
		}
	}
}
