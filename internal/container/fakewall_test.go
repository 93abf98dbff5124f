package container

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fakeWall makes "containers" that are a process without a wall: this test
// binary again, which waits on a FIFO until it is started, and then until it is
// killed. It ends with its maker unless Create has returned.
type fakeWall struct {
	// crashAt is where the process that uses the wall kills itself.
	crashAt string
	// failAt is where a method fails.
	failAt string
	// onExec is called by Exec, if not nil.
	onExec func() error
}

// point is a place at which a wall's user may end.
func (w *fakeWall) point(name string) error {
	if w.crashAt == name {
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	if w.failAt == name {
		return errors.New("failing at " + name)
	}
	return nil
}

const gate = "gate" // a FIFO until the program is started

func (w *fakeWall) Check(*isolation.Request) error { return w.point("check") }

func (w *fakeWall) Create(r *isolation.Request) (pid isolation.PID, err error) {
	if err := w.point("create begins"); err != nil {
		return pid, err
	}
	if err := unix.Mkfifo(filepath.Join(r.StateDir, gate), 0o600); err != nil {
		return pid, err
	}
	cmd := exec.Command("/proc/self/exe", r.StateDir)
	cmd.Env = append(os.Environ(), role+"=init")
	life, err := cmd.StdinPipe()
	if err != nil {
		return pid, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return pid, err
	}
	says := bufio.NewReader(output)
	if err := cmd.Start(); err != nil {
		return pid, err
	}
	defer func() {
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	if _, err = says.ReadString('\n'); err != nil {
		return pid, err
	}
	if pid, err = isolation.FindPID(cmd.Process.Pid); err != nil {
		return pid, err
	}
	if err = r.Cgroup.Add(pid.PID, ""); err != nil {
		return pid, err
	}
	if err = w.point("process is there"); err != nil {
		return pid, err
	}
	if err = r.Created(pid); err != nil {
		return pid, err
	}
	if err = w.point("hooks have run"); err != nil {
		return pid, err
	}
	if _, err = life.Write([]byte("stay\n")); err != nil {
		return pid, err
	}
	// It answers when it will stay.
	if _, err = says.ReadString('\n'); err != nil {
		return pid, err
	}
	if err = w.point("create ends"); err != nil {
		return pid, err
	}
	return pid, nil
}

// runInit is the process of a fake container.
func runInit(dir string) {
	fmt.Println("ready")
	if s, _ := bufio.NewReader(os.Stdin).ReadString('\n'); s != "stay\n" {
		os.Exit(3)
	}
	fmt.Println("staying")
	f, err := os.Open(filepath.Join(dir, gate)) // until Start opens it too
	if err != nil {
		os.Exit(4)
	}
	if _, err := io.ReadAll(f); err != nil {
		os.Exit(5)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	// That it has started is seen by this.
	if err := os.Remove(f.Name()); err != nil {
		os.Exit(6)
	}
	<-term
	os.Exit(7)
}

func (w *fakeWall) Start(c *isolation.Container) error {
	if err := w.point("start begins"); err != nil {
		return err
	}
	path := filepath.Join(c.StateDir, gate)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	f.Close()
	for {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			break
		}
		if alive, err := c.Init.Alive(); err != nil || !alive {
			return fmt.Errorf("it ended instead of starting: %v", err)
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 1e5}, nil)
	}
	return w.point("start ends")
}

func (w *fakeWall) Started(c *isolation.Container) (bool, error) {
	_, err := os.Lstat(filepath.Join(c.StateDir, gate))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

func (w *fakeWall) Signal(c *isolation.Container, sig unix.Signal, _ bool) error {
	return c.Init.Signal(sig)
}

func (w *fakeWall) Exec(_ *isolation.Container, e *isolation.Exec) (pid isolation.PID, err error) {
	if w.onExec != nil {
		if err := w.onExec(); err != nil {
			return pid, err
		}
	}
	cmd := exec.Command(e.Process.Args[0], e.Process.Args[1:]...)
	if err := cmd.Start(); err != nil {
		return pid, err
	}
	return isolation.FindPID(cmd.Process.Pid)
}

func (w *fakeWall) Processes(c *isolation.Container) ([]isolation.Process, error) {
	return []isolation.Process{{PID: c.Init.PID}}, nil
}

func (w *fakeWall) Destroy(c *isolation.Container) error {
	if err := w.point("destroy begins"); err != nil {
		return err
	}
	if err := c.Init.Signal(unix.SIGKILL); err != nil && err != unix.ESRCH {
		return err
	}
	return w.point("destroy ends")
}

// role is the variable that says what this test binary is executed for.
const role = "COFFER_CONTAINER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "init":
		runInit(os.Args[1])
	case "command":
		os.Exit(runCommand(os.Args[1:]))
	}
	// Containers whose maker is killed come to this process, which reaps them:
	// who else would is not known.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	os.Exit(m.Run())
}

// command is what runCommand is to do, as JSON.
type command struct {
	Verb, Root, ID, Bundle string
	CrashAt, FailAt        string
	PIDFile                string
	Force                  bool
	CgroupsPath            string
}

// runCommand does what one command of coffer does, in a process of its own.
func runCommand(args []string) int {
	var c command
	err := json.Unmarshal([]byte(args[0]), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c *command) run() error {
	s := storeAt(c.Root, &fakeWall{crashAt: c.CrashAt, failAt: c.FailAt})
	switch c.Verb {
	case "create":
		r, err := newRequest(c.ID, c.Bundle)
		if err != nil {
			return err
		}
		r.PIDFile = c.PIDFile
		_, err = s.Create(r)
		return err
	case "start":
		return s.Start(c.ID)
	case "delete":
		return s.Delete(c.ID, c.Force)
	case "wait": // with the lock
		held, err := s.acquire(c.ID, lockChange)
		if err != nil {
			return err
		}
		defer held.release()
		fmt.Println("locked")
		io.Copy(io.Discard, os.Stdin)
		return nil
	}
	return fmt.Errorf("no such verb: %s", c.Verb)
}

// process starts a command in a process of its own.
func (c *command) process(t *testing.T) *exec.Cmd {
	t.Helper()
	arg, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", string(arg))
	cmd.Env = append(os.Environ(), role+"=command")
	return cmd
}

func storeAt(root string, w isolation.Wall) *Store {
	return NewStore(root, func(isolation.Level) (isolation.Wall, error) { return w, nil })
}

// newRequest reads a bundle as the command line does.
func newRequest(id, bundle string) (*CreateRequest, error) {
	data, spec, err := oci.Load(bundle)
	if err != nil {
		return nil, err
	}
	return &CreateRequest{
		ID: id, Bundle: bundle, Config: data, Spec: spec, Isolation: isolation.LevelProcess,
		Cgroup: hostcgroup.Options{Rootless: os.Geteuid() != 0},
	}, nil
}

// newBundle makes a bundle whose configuration change may change. Its cgroups
// are this test's alone.
func newBundle(t *testing.T, change func(*specs.Spec)) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := oci.Template(false)
	spec.Process.Terminal = false
	if change != nil {
		change(spec)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, oci.ConfigFile), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// testStore makes a store whose containers are ended with the test, however that
// ends, and an ID that no other test's cgroup has.
func testStore(t *testing.T, w isolation.Wall) (s *Store, id string) {
	t.Helper()
	if _, err := hostcgroup.Plan(oci.Template(false), "coffer-test", hostcgroup.Options{Rootless: os.Geteuid() != 0}); err != nil {
		t.Skipf("containers cannot be made here: %v", err)
	}
	s = storeAt(filepath.Join(t.TempDir(), "store"), w)
	id = fmt.Sprintf("coffer-test-%d-%s", os.Getpid(), strings.ReplaceAll(filepath.Base(filepath.Dir(s.root)), "/", "-"))
	id += "-" + filepath.Base(filepath.Dir(filepath.Dir(s.root)))
	t.Cleanup(func() {
		clean := storeAt(s.root, &fakeWall{})
		ids, err := clean.IDs()
		if err != nil {
			t.Error(err)
		}
		for _, id := range ids {
			c, _ := clean.Find(id)
			if err := clean.Delete(id, true); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
			if c != nil {
				reap(c.Init)
			}
		}
	})
	return s, id
}

// reap takes the wait status of a process that is, or became, this one's child.
func reap(p isolation.PID) unix.WaitStatus {
	var status unix.WaitStatus
	for p.PID > 0 {
		if _, err := unix.Wait4(p.PID, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	return status
}

func (w *fakeWall) HostResources(r *specs.LinuxResources) *specs.LinuxResources { return r }

func (w *fakeWall) CheckPause(*isolation.Container) error { return nil }

func (w *fakeWall) Usage(*isolation.Container) (*isolation.Usage, error) { return nil, nil }

func (w *fakeWall) Update(*isolation.Container, *specs.LinuxResources) error { return nil }
