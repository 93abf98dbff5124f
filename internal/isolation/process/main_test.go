package process

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// creatorRole has this test binary make a container and end, as coffer does.
const creatorRole = "creator"

// creatorRuns is what it writes when it has locked the file of its spec.
const creatorRuns = "running\n"

func TestMain(m *testing.M) {
	unix.Umask(0o022) // users of containers must get at what tests make for them
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Role:
			os.Exit(InitMain(os.Args[2:]))
		case creatorRole:
			os.Exit(creator(os.Args[2:]))
		}
	}
	code := m.Run()
	if root.dir != "" {
		os.RemoveAll(root.dir)
	}
	os.Exit(code)
}

// root is a root file system of busybox, which all tests share and none writes to.
var root struct {
	dir string
	err error
}

// bundle returns a container's spec with busybox in its root, or skips the test.
func bundle(t testing.TB) *specs.Spec {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers behind the process wall are tested as root")
	}
	if root.dir == "" && root.err == nil {
		root.dir, root.err = makeRoot()
	}
	if root.err != nil {
		t.Skip("no root file system to test with: ", root.err)
	}
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: root.dir, Readonly: true},
		Process: &specs.Process{Args: []string{"/bin/true"}, Env: []string{"PATH=/bin"}, Cwd: "/"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
		}},
	}
}

var library = regexp.MustCompile(`/[^ ]+`)

func makeRoot() (string, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "coffer-process-test")
	if err != nil {
		return "", err
	}
	// Users of the container who are not root must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	for _, d := range []string{"bin", "proc", "dev", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return dir, err
		}
	}
	files := []string{busybox}
	if out, err := exec.Command("ldd", busybox).Output(); err == nil {
		files = append(files, library.FindAllString(string(out), -1)...)
	}
	for _, f := range files {
		target := filepath.Join(dir, f)
		if f == busybox {
			target = filepath.Join(dir, "bin/busybox")
		}
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(target), 0o755)
		}
		if err == nil {
			err = os.WriteFile(target, b, 0o755)
		}
		if err != nil {
			return dir, err
		}
	}
	for _, applet := range []string{"sh", "true", "cat", "ls", "id", "sleep", "hostname", "kill", "env", "pwd", "stty", "tty", "mkdir"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return dir, err
		}
	}
	err = os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"), 0o644)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "etc/data"), []byte("no program"), 0o644)
	}
	return dir, err
}

// container is a container of a test's.
type container struct {
	t testing.TB
	*isolation.Container
	request *isolation.Request
	out     *output
	in      *os.File // the writing end of its standard input
}

// output is what a program writes.
type output struct {
	read, write *os.File
}

func newOutput(t testing.TB) *output {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &output{r, w}
}

// all returns all output, once nothing that writes is left.
func (o *output) all() string {
	o.write.Close()
	b, _ := io.ReadAll(o.read)
	return string(b)
}

func prepare(t testing.TB, spec *specs.Spec) *container {
	t.Helper()
	c := &container{t: t, out: newOutput(t)}
	dir := t.TempDir()
	state := func(status specs.ContainerState, pid int) *specs.State {
		return &specs.State{Version: specs.Version, ID: "test", Status: status, Pid: pid, Bundle: dir}
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = in
	t.Cleanup(func() { stdin.Close(); in.Close() })
	c.request = &isolation.Request{
		ID: "test", Bundle: dir, Spec: spec, StateDir: dir, State: state,
		Streams: isolation.Streams{Stdio: [3]*os.File{stdin, c.out.write, c.out.write}},
		Created: func(isolation.PID) error { return nil },
	}
	c.Container = &isolation.Container{ID: "test", Bundle: dir, Spec: isolation.Known(spec), StateDir: dir, State: state}
	return c
}

// create makes a container for a test, or fails it.
func create(t testing.TB, spec *specs.Spec) *container {
	t.Helper()
	c := prepare(t, spec)
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *container) create() error {
	if err := New().Check(c.request); err != nil {
		return err
	}
	pid, err := New().Create(c.request)
	if err != nil {
		return err
	}
	c.Init = pid
	c.t.Cleanup(func() {
		if err := New().Destroy(c.Container); err != nil {
			c.t.Error(err)
		}
		waitFor(pid.PID) // reaped already if the test did
	})
	return nil
}

func (c *container) start() {
	c.t.Helper()
	if err := New().Start(c.Container); err != nil {
		c.t.Fatal(err)
	}
}

// run starts the container and returns what it wrote and how it ended.
func (c *container) run() (string, unix.WaitStatus) {
	c.t.Helper()
	c.start()
	out := c.out.all()
	return out, waitFor(c.Init.PID)
}

// exec runs a command in the container.
func (c *container) exec(args ...string) (string, unix.WaitStatus, error) {
	c.t.Helper()
	out := newOutput(c.t)
	pid, err := New().Exec(c.Container, &isolation.Exec{
		Process: &specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/"},
		Streams: isolation.Streams{Stdio: [3]*os.File{nil, out.write, out.write}},
	})
	if err != nil {
		return "", 0, err
	}
	text := out.all()
	return text, waitFor(pid.PID), nil
}

func shell(spec *specs.Spec, script string) *specs.Spec {
	spec.Process.Args = []string{"/bin/sh", "-c", script}
	return spec
}

// namespaceOf names a namespace of a process.
func namespaceOf(t testing.TB, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(procPath(pid, "ns/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func setNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType, path string) {
	n := specs.LinuxNamespace{Type: kind, Path: path}
	i := slices.IndexFunc(spec.Linux.Namespaces, func(o specs.LinuxNamespace) bool { return o.Type == kind })
	if i < 0 {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, n)
	} else {
		spec.Linux.Namespaces[i] = n
	}
}

func withUserNamespace(spec *specs.Spec) *specs.Spec {
	setNamespace(spec, specs.UserNamespace, "")
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	return spec
}

// creator makes the container of which it reads the spec from a file, keeps its
// number in another, and ends; if it is told to, it starts the container before
// and waits for its end.
func creator(args []string) int {
	err := func() error {
		config, err := os.Open(args[0])
		if err != nil {
			return err
		}
		// The lock ends with this process.
		if err := unix.Flock(int(config.Fd()), unix.LOCK_EX); err != nil {
			return err
		}
		fmt.Print(creatorRuns)
		data, err := io.ReadAll(config)
		if err != nil {
			return err
		}
		spec := new(specs.Spec)
		if err := json.Unmarshal(data, spec); err != nil {
			return err
		}
		dir := filepath.Dir(args[0])
		state := func(status specs.ContainerState, pid int) *specs.State {
			return &specs.State{Version: specs.Version, ID: "test", Status: status, Pid: pid}
		}
		pid, err := New().Create(&isolation.Request{
			ID: "test", Bundle: dir, Spec: spec, StateDir: dir, State: state,
			Streams: isolation.Streams{Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}},
			Created: func(isolation.PID) error { return nil },
		})
		if err != nil {
			return err
		}
		if len(args) > 1 && args[1] == "start" {
			c := &isolation.Container{ID: "test", Spec: isolation.Known(spec), StateDir: dir, Init: pid, State: state}
			if err := New().Start(c); err != nil {
				return err
			}
			waitFor(pid.PID)
			return New().Destroy(c)
		}
		return os.WriteFile(filepath.Join(dir, "pid"), fmt.Append(nil, pid.PID), 0o600)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mustFail checks that an error says all of texts.
func mustFail(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, where one that says %q is expected", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not say %q", err, text)
		}
	}
}
