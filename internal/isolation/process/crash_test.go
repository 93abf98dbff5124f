package process

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// patience is for what must happen at once: a test that runs into it fails.
const patience = time.Minute

// TestKilledAnywhere kills a process at each system call of some kinds that a
// coffer makes that creates a container, or the children that it has for that,
// init included. Whoever it was, Destroy then leaves nothing: neither of the
// container, nor of what was on its way to become one.
func TestKilledAnywhere(t *testing.T) {
	spec := shell(withUserNamespace(bundle(t)), "cat")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace to kill processes at their system calls")
	}
	setNamespace(spec, specs.TimeNamespace, "") // two children
	spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/true"}}}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Each of these is made at points between which the state of things differs.
	for _, c := range []struct {
		call  string
		times int // how often a process makes it, or how often matters
	}{
		{"unshare", 2}, {"setresuid", 2}, {"dup3", 2}, {"execveat", 1}, {"sendmsg", 6}, {"recvmsg", 6},
		{"pivot_root", 1}, {"setsid", 1}, {"listen", 1}, {"accept4", 1}, {"capset", 1}, {"exit_group", 1},
	} {
		t.Run(c.call, func(t *testing.T) {
			for n := 1; n <= c.times; n++ {
				created := killAt(t, spec, strace, self, fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", c.call, n), "trace="+c.call)
				// These two are made when all is done, and by whom else is not sure.
				if created && n == 1 && c.call != "accept4" && c.call != "exit_group" {
					t.Errorf("nobody was killed at %s: is it called no more?", c.call)
				}
			}
		})
	}
}

// killAt has strace kill a process while a container is created, and destroys
// what there is. It reports whether the container was created.
func killAt(t *testing.T, spec *specs.Spec, strace, self, inject, trace string) (created bool) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	b, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(config, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	// All that belongs to the container holds the pipe, and so does strace as
	// long as one of them lives.
	out := newOutput(t)
	out.read.SetReadDeadline(time.Now().Add(patience))
	cmd := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", trace, "-e", inject, self, creatorRole, config)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = newOutput(t).read, out.write, out.write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The lock is free when the creator has ended, and with it those of its
	// children that are not init yet.
	word := make([]byte, len(creatorRuns))
	if _, err := io.ReadFull(out.read, word); err != nil || string(word) != creatorRuns {
		t.Fatalf("%s: the creator says %q, %v", inject, word, err)
	}
	lock, err := os.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := ignoreEINTR(func() error { return unix.Flock(int(lock.Fd()), unix.LOCK_SH) }); err != nil {
		t.Fatal(err)
	}

	c := &isolation.Container{ID: "test", Bundle: dir, Spec: isolation.Known(spec), StateDir: dir}
	if b, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil {
		created = true
		pid, _ := strconv.Atoi(string(b))
		// As if it had been put on record only if it still is.
		c.Init, _ = isolation.FindPID(pid)
	}
	if err := New().Destroy(c); err != nil {
		t.Errorf("%s: %v", inject, err)
	}
	out.write.Close()
	said, err := io.ReadAll(out.read)
	if err != nil {
		t.Errorf("%s: something of the container is left: %v", inject, err)
	}
	cmd.Wait()
	if t.Failed() {
		t.Logf("%s: %s", inject, said)
	}
	return created
}

// TestStarterKilled: whether a command that was to start the container was ended
// before it said so or after, Started tells the truth.
func TestStarterKilled(t *testing.T) {
	c := create(t, shell(bundle(t), "echo; cat"))
	for range 3 {
		ch, err := connectStart(c.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		ch.close()
	}
	if started, err := New().Started(c.Container); started || err != nil {
		t.Errorf("before a request, Started = %v, %v", started, err)
	}
	ch, err := connectStart(c.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.send(&word{Word: wordStart}); err != nil {
		t.Fatal(err)
	}
	ch.close()
	if _, err := c.out.read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if started, err := New().Started(c.Container); !started || err != nil {
		t.Errorf("while the program runs, Started = %v, %v", started, err)
	}
}
