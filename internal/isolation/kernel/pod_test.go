package kernel

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
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
		case FollowerRole:
			os.Exit(Follow(os.Args[2:]))
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
	b := &box{pod: p, Container: &isolation.Container{ID: id, Bundle: dir, Spec: isolation.Known(s), Hooks: s.Hooks, StateDir: dir}}
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
