package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/internal/isolation"
	"coffer/internal/sysmon"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMissingProgram: engines know by these texts what went wrong.
func TestMissingProgram(t *testing.T) {
	running := create(t, shell(bundle(t), "cat"))
	running.start()
	for _, c := range []struct {
		program, says string
		code          int
	}{
		{"nothing", `exec: "nothing": executable file not found in $PATH (`, notFound},
		{"/nothing", `exec: "/nothing": stat /nothing: no such file or directory`, notFound},
		{"/etc/data", `exec: "/etc/data": permission denied`, notExecutable},
		{"/etc", `exec: "/etc": is a directory`, notExecutable},
	} {
		t.Run(c.program, func(t *testing.T) {
			spec := bundle(t)
			spec.Process.Args = []string{c.program}
			err := prepare(t, spec).create()
			mustFail(t, err, c.says)
			if got := programCode(err); got != c.code {
				t.Errorf("the exit code is %d, want %d", got, c.code)
			}
			_, _, err = running.exec(c.program)
			mustFail(t, err, c.says)
			if got := programCode(err); got != c.code {
				t.Errorf("the exit code of exec is %d, want %d", got, c.code)
			}
		})
	}
}

// TestLittleMemory: a limit in which nothing can start is refused. With a few
// pages, Linux ended coffer itself.
func TestLittleMemory(t *testing.T) {
	for limit, refused := range map[int64]bool{1000: true, minMemory - 1: true, minMemory: false, 0: false, -1: false} {
		spec := bundle(t)
		spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		err := New().Check(&isolation.Request{Spec: spec})
		if refused {
			mustFail(t, err, "linux.resources.memory.limit")
		} else if err != nil {
			t.Errorf("a limit of %d: %v", limit, err)
		}
	}
}

// TestDescriptors: a program has its standard streams and what it is to
// inherit, whatever the caller has open.
func TestDescriptors(t *testing.T) {
	for fd := range 5 { // open without close-on-exec
		leak, err := unix.FcntlInt(uintptr(fd%3), unix.F_DUPFD, 40)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(leak)
	}
	extra := newOutput(t)
	for _, n := range []int{0, 1, 9} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			spec := shell(bundle(t), "cd /proc/self/fd; echo *")
			want := []string{"0", "1", "2"}
			for i := range n {
				want = append(want, fmt.Sprint(3+i))
			}
			// The shell's own, of the directory that it lists.
			want = append(want, fmt.Sprint(3+n))
			c := prepare(t, spec)
			for range n {
				c.request.Extra = append(c.request.Extra, extra.write)
			}
			if err := c.create(); err != nil {
				t.Fatal(err)
			}
			out, _ := c.run()
			if got := strings.Fields(out); !slices.Equal(got, sorted(want)) {
				t.Errorf("open are %q, want %q", got, want)
			}
		})
	}
	c := create(t, shell(bundle(t), "cat"))
	c.start()
	out, _, err := c.exec("/bin/sh", "-c", "cd /proc/self/fd; echo *")
	if err != nil || out != "0 1 2 3\n" {
		t.Errorf("exec has %q open (%v)", out, err)
	}
}

// TestTimerSlack: the host wakes Go's threads of init late, and the program as the caller.
func TestTimerSlack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const ours = 70_000
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, ours, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	sysmon.Calm(time.Millisecond)
	defer func() {
		unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
		sysmon.Calm(50 * time.Microsecond)
	}()
	for _, reap := range []bool{false, true} {
		// As on a thread that sysmon has made.
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1_000_000, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		c := prepare(t, shell(bundle(t), "cat /proc/self/timerslack_ns; read line"))
		c.request.Reap = reap
		if err := c.create(); err != nil {
			t.Fatal(err)
		}
		// Threads come in the order in which they were made: the second one is sysmon.
		threads, err := os.ReadDir(procPath(c.Init.PID, "task"))
		if err != nil || len(threads) < 2 {
			t.Fatalf("init has the threads %v (%v)", threads, err)
		}
		for i, want := range []int{ours, initSlack} {
			slack, err := os.ReadFile("/proc/" + threads[i].Name() + "/timerslack_ns")
			if err != nil || string(slack) != fmt.Sprintln(want) {
				t.Errorf("thread %d of init has a slack of %q (%v), want %d", i, slack, err, want)
			}
		}
		c.start()
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1_000_000, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		out, _, err := c.exec("/bin/sh", "-c", "cat /proc/self/timerslack_ns")
		if err != nil || out != fmt.Sprintln(ours) {
			t.Errorf("exec has a slack of %q (%v)", out, err)
		}
		c.in.Close()
		if out := c.out.all(); out != fmt.Sprintln(ours) {
			t.Errorf("with reap %v the program has a slack of %q", reap, out)
		}
	}
}

// TestStandardStreams: the program's user owns the pipes that it has got, and no
// device of the host's, be it one that is as good as /dev/null.
func TestStandardStreams(t *testing.T) {
	device := filepath.Join(t.TempDir(), "zero")
	switch err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); {
	case errors.Is(err, unix.EPERM):
		t.Skip("making a device is not permitted here")
	case err != nil:
		t.Fatal(err)
	}
	stdin, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			t.Skip("devices can't be opened in the directory of temporary files")
		}
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "echo again >/proc/self/fd/1")
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	if out, status := c.run(); out != "again\n" || status != 0 {
		t.Errorf("it wrote %q and ended with %#x", out, status)
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("the device belongs to %d:%d (%v)", st.Uid, st.Gid, err)
	}
}

// TestReadFileStaysForeign: a file of the host's that a program only reads does
// not become its user's, who could then change its mode and write to it.
func TestReadFileStaysForeign(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("host\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "chmod 666 /proc/self/fd/0 2>/dev/null && echo changed; cat")
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	if out, status := c.run(); out != "host\n" || status != 0 {
		t.Errorf("it wrote %q and ended with %#x", out, status)
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o444 {
		t.Errorf("the file belongs to %d and has the mode %#o (%v)", st.Uid, st.Mode, err)
	}
}

// TestCwdOutside: a working directory that leads out of the container is
// refused (CVE-2024-21626), for containers and for exec.
func TestCwdOutside(t *testing.T) {
	running := create(t, shell(bundle(t), "cat"))
	running.start()
	for fd := 3; fd < 24; fd++ {
		dir := fmt.Sprintf("/proc/self/fd/%d", fd)
		spec := shell(bundle(t), "pwd")
		spec.Process.Cwd = dir
		mustFail(t, prepare(t, spec).create(), "process.cwd")
		_, err := New().Exec(running.Container, &isolation.Exec{Process: &specs.Process{Args: []string{"/bin/pwd"}, Cwd: dir}})
		mustFail(t, err, "process.cwd")
	}
}

// TestCwdMadeInside: a working directory that is missing is not made on the host,
// though a descriptor leads there.
func TestCwdMadeInside(t *testing.T) {
	dir := t.TempDir()
	stdin, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "pwd")
	spec.Process.Cwd = "/proc/self/fd/0/made"
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	mustFail(t, c.create(), "process.cwd")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the host's directory holds %v (%v)", left, err)
	}
}

// TestIgnoredSignals: what coffer was started with ignored is not ignored in
// the container.
func TestIgnoredSignals(t *testing.T) {
	var ignore, before sigaction
	ignore.handler = sigIgnore
	if err := changeAction(unix.SIGUSR2, &ignore, &before); err != nil {
		t.Fatal(err)
	}
	defer changeAction(unix.SIGUSR2, &before, nil)
	spec := bundle(t)
	spec.Process.Args = []string{"cat", "/proc/self/status"}
	out, _ := create(t, spec).run()
	for _, want := range []string{"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in %s", want, out)
		}
	}
}
