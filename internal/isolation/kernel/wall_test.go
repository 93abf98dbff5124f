package kernel

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary play the roles in which the program executes
// itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sentry":
			os.Exit(boot.Main())
		case AttendantRole:
			os.Exit(Attend(os.Args[2:]))
		case commandRole:
			os.Exit(runCommand(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// pod is a directory of containers, as the lifecycle above the wall keeps it.
type pod struct {
	t    testing.TB
	root string
	fs   string // a root file system
	// intercept is how system calls are intercepted, empty for the default.
	intercept string
}

func newPod(t testing.TB) *pod {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}) {
		t.Skip("a program with cgo cannot give up its privileges: build the test with CGO_ENABLED=0")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	p := &pod{t: t, root: t.TempDir(), fs: t.TempDir()}
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		if err := os.Mkdir(filepath.Join(p.fs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyTo := func(from, to string) {
		t.Helper()
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyTo(busybox, filepath.Join(p.fs, "bin/busybox"))
	// It is linked dynamically on some distributions. ldd fails for others.
	libraries, _ := exec.Command("ldd", busybox).Output()
	for _, word := range strings.Fields(string(libraries)) {
		if filepath.IsAbs(word) {
			copyTo(word, filepath.Join(p.fs, word))
		}
	}
	for _, name := range []string{"sh", "cat", "sleep", "echo", "true", "false", "ps", "kill", "stty", "tty", "hostname", "id", "readlink", "ls"} {
		if err := os.Symlink("busybox", filepath.Join(p.fs, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// box is one container under test.
type box struct {
	*isolation.Container
	pod *pod
	out *bytes.Buffer
	// drained is closed when nobody has its output open any more.
	drained chan struct{}
}

func spec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version, Hostname: "box",
		Root: &specs.Root{},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc"},
			{Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Options: []string{"nosuid", "noexec"}},
		},
		Linux: &specs.Linux{},
	}
}

// create makes a container whose output is collected.
func (p *pod) create(id string, s *specs.Spec) (*box, error) {
	p.t.Helper()
	b := &box{pod: p}
	stdio := b.streams()
	defer stdio.close()
	made, err := p.createWith(id, s, stdio.Streams)
	b.Container = made.Container
	return b, err
}

func (p *pod) createWith(id string, s *specs.Spec, streams isolation.Streams) (*box, error) {
	p.t.Helper()
	dir := filepath.Join(p.root, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	s.Root.Path = p.fs
	b := &box{pod: p, Container: &isolation.Container{ID: id, Bundle: dir, Spec: s, StateDir: dir}}
	pid, err := New().Create(&isolation.Request{ID: id, Bundle: dir, Spec: s, StateDir: dir, Streams: streams, Intercept: p.intercept})
	if err != nil {
		return b, err
	}
	b.Init = pid
	p.t.Cleanup(func() {
		if err := New().Destroy(b.Container); err != nil {
			p.t.Errorf("destroying %s: %v", id, err)
		}
		unix.Wait4(pid.PID, nil, unix.WNOHANG, nil)
	})
	return b, nil
}

func (p *pod) mustCreate(id string, s *specs.Spec) *box {
	p.t.Helper()
	b, err := p.create(id, s)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

type ends struct {
	isolation.Streams
	files []*os.File
}

func (e *ends) close() {
	for _, f := range e.files {
		f.Close()
	}
}

// streams are standard streams whose output is collected.
func (b *box) streams() *ends {
	b.pod.t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		b.pod.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		b.pod.t.Fatal(err)
	}
	out, drained := new(bytes.Buffer), make(chan struct{})
	b.out, b.drained = out, drained
	go func() {
		io.Copy(out, r)
		r.Close()
		close(drained)
	}()
	e := &ends{files: []*os.File{null, w}}
	e.Stdio = [3]*os.File{null, w, w}
	return e
}

func (b *box) start() {
	b.pod.t.Helper()
	if err := New().Start(b.Container); err != nil {
		b.pod.t.Fatal(err)
	}
}

// wait waits for a process that is this one's child.
func (p *pod) wait(pid isolation.PID) unix.WaitStatus {
	p.t.Helper()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid.PID, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		return status
	}
}

// output is what the program wrote, all of it.
func (b *box) output() string {
	<-b.drained
	return b.out.String()
}

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
		var se *StartError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), c.want) || se.Code != c.code {
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

// exec runs a program in the container and returns what it wrote and its status.
func (b *box) exec(args ...string) (string, unix.WaitStatus) {
	b.pod.t.Helper()
	pid := b.mustExec(args...)
	w := b.pod.wait(pid)
	return b.output(), w
}

func (b *box) mustExec(args ...string) isolation.PID {
	b.pod.t.Helper()
	stdio := b.streams()
	defer stdio.close()
	pid, err := New().Exec(b.Container, &isolation.Exec{
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}, Streams: stdio.Streams,
	})
	if err != nil {
		b.pod.t.Fatal(err)
	}
	return pid
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
