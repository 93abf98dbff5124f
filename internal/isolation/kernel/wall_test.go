package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLife(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sh", "-c", "echo hello $$; exit 7"))
	if on, err := New().Started(b.Container); on || err != nil {
		t.Errorf("started before start: %v, %v", on, err)
	}
	if list, err := New().Processes(b.Container); err != nil || len(list) != 1 || list[0].PID != 1 {
		t.Errorf("processes of a created container: %+v, %v", list, err)
	}
	b.start()
	if w := p.wait(b.Init); !w.Exited() || w.ExitStatus() != 7 {
		t.Errorf("ended with %#x, want exit code 7", w)
	}
	if got := b.output(); got != "hello 1\n" {
		t.Errorf("it wrote %q", got)
	}
	if err := New().Signal(b.Container, unix.SIGTERM, false); !errors.Is(err, unix.ESRCH) {
		t.Errorf("a signal to a container that has ended: %v", err)
	}
	if err := New().Destroy(b.Container); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(b.StateDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartedTellsTheTruth(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	for _, want := range []bool{false, true} {
		if on, err := New().Started(b.Container); on != want || err != nil {
			t.Errorf("started: %v, %v, want %v", on, err, want)
		}
		if !want {
			b.start()
		}
	}
	if err := New().Start(b.Container); err == nil || !strings.Contains(err.Error(), "started before") {
		t.Errorf("starting twice: %v", err)
	}
}

func TestNotFound(t *testing.T) {
	p := newPod(t)
	for _, c := range []struct {
		name, program, want string
		code                int
	}{
		{"command", "nothing", `exec: "nothing": executable file not found in $PATH`, 127},
		{"path", "/bin/nothing", `exec: "/bin/nothing": no such file or directory`, 127},
		{"directory", "/tmp", `exec: "/tmp": permission denied`, 126},
	} {
		_, err := p.create(c.name, spec(c.program))
		var pe *isolation.ProgramError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), c.want) || pe.Code != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		left, err := os.ReadDir(filepath.Join(p.root, c.name))
		if err != nil || len(left) != 0 {
			t.Errorf("%s: left behind: %v, %v", c.name, left, err)
		}
	}
}

func TestKill(t *testing.T) {
	p := newPod(t)
	for _, c := range []struct {
		name  string
		start bool
		sig   unix.Signal
		want  int
	}{
		{"created", false, unix.SIGTERM, 128 + 15},
		{"created and killed", false, unix.SIGKILL, -9},
		{"running", true, unix.SIGKILL, -9},
	} {
		b := p.mustCreate(strings.ReplaceAll(c.name, " ", "-"), spec("sleep", "1000"))
		if c.start {
			b.start()
		}
		if err := New().Signal(b.Container, c.sig, false); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		w := p.wait(b.Init)
		got := w.ExitStatus()
		if w.Signaled() {
			got = -int(w.Signal())
		}
		if got != c.want {
			t.Errorf("%s: ended with %d, want %d", c.name, got, c.want)
		}
	}
}

func TestExec(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	b.start()
	got, w := b.exec("sh", "-c", "echo $PPID; hostname; cat /proc/1/comm; exit 3")
	if got != "0\nbox\nsleep\n" || w.ExitStatus() != 3 {
		t.Errorf("%q, %#x", got, w)
	}
	if _, w := b.exec("sh", "-c", "kill -9 $$"); w.ExitStatus() != 128+9 {
		t.Errorf("one that is killed ends with %#x", w)
	}
	stdio := b.streams()
	defer stdio.close()
	_, err := New().Exec(b.Container, &isolation.Exec{
		Process: &specs.Process{Args: []string{"nothing"}, Cwd: "/"}, Streams: stdio.Streams,
	})
	if err == nil || !strings.Contains(err.Error(), "executable file not found in $PATH") {
		t.Errorf("a program that is not there: %v", err)
	}

	// A signal to the attendant is one to the process.
	pid := b.mustExec("sleep", "1000")
	list, err := New().Processes(b.Container)
	if err != nil || !slices.ContainsFunc(list, func(p isolation.Process) bool { return p.Command == "sleep 1000" && p.PID == 1 }) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := pid.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if w := p.wait(pid); w.Signal() != unix.SIGKILL {
		t.Errorf("an attendant that is killed ends with %#x", w)
	}
	<-b.drained // its process has ended too
}

// TestIntercept has processes made from outside by each platform.
func TestIntercept(t *testing.T) {
	p := newPod(t)
	for _, p.intercept = range boot.Platforms() {
		b := p.mustCreate(p.intercept, spec("sleep", "1000"))
		b.start()
		for range 3 {
			if got, w := b.exec("sh", "-c", "echo $PPID; exit 3"); got != "0\n" || w.ExitStatus() != 3 {
				t.Errorf("%s: %q, %#x", p.intercept, got, w)
			}
		}
		if err := New().Signal(b.Container, unix.SIGKILL, false); err != nil {
			t.Error(err)
		}
		p.wait(b.Init)
	}
}

// BenchmarkLife makes, starts and removes a container.
func BenchmarkLife(b *testing.B) {
	p := newPod(b)
	for i := range b.N {
		c := p.mustCreate(strconv.Itoa(i), spec("true"))
		c.start()
		p.wait(c.Init)
		if err := New().Destroy(c.Container); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExec(b *testing.B) {
	p := newPod(b)
	c := p.mustCreate("a", spec("sleep", "1000"))
	c.start()
	for b.Loop() {
		if _, w := c.exec("true"); w != 0 {
			b.Fatalf("status %#x", w)
		}
	}
}
