package kernel_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/ptrace"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap"
	"coffer/internal/sentry/syscalls"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// system is a kernel booted in the test's own process: a tmpfs with the
// programs in /bin, nothing else.
type system struct {
	t      testing.TB
	kernel *kernel.Kernel
	mounts *vfs.MountNamespace
	// length is how long the program is meant to take, if that is long.
	length time.Duration
}

// compile makes a static program of a C source in testdata.
func compile(t testing.TB, name string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed")
	}
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command(cc, "-static", "-O1", "-pthread", "-o", out, filepath.Join("testdata", name+".c"))
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	return out
}

// newPlatform starts the platform, or skips the test where it can't run.
func newPlatform(t testing.TB, start func(...stub.Option) (platform.Platform, error)) platform.Platform {
	t.Helper()
	p, err := start()
	if err != nil {
		t.Skipf("no platform: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

func boot(t testing.TB, c kernel.Config, programs ...string) *system {
	t.Helper()
	if c.Platform == nil {
		c.Platform = newPlatform(t, trap.New)
	}
	c.Syscalls = syscalls.New()
	s := &system{t: t, kernel: kernel.New(c), mounts: vfs.NewMountNamespace(tmpfs.New(tmpfs.Options{Mode: 0o755}), 0)}
	w := writer{auth.New(0, 0, nil)}
	root := s.mounts.Root()
	defer root.DecRef()
	o := vfs.Origin{Root: root, Start: root}
	for _, d := range []string{"/bin", "/tmp"} {
		if err := s.mounts.MkdirAt(w, o, d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range programs {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.mounts.OpenAt(w, o, "/bin/"+filepath.Base(p), vfs.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o755})
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			n, err := d.Write(w, data)
			if err != nil {
				t.Fatal(err)
			}
			data = data[n:]
		}
		d.DecRef()
	}
	return s
}

// run runs a program as PID 1 and returns what it wrote and how it ended.
func (s *system) run(argv ...string) (string, kernel.ExitStatus) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	fd, err := unix.Dup(int(w.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	d, err := hostfs.NewFD(fd, "out")
	if err != nil {
		s.t.Fatal(err)
	}
	fds := vfs.NewFDTable()
	for range 3 {
		if _, err := fds.Install(d, 0, 3, false); err != nil {
			s.t.Fatal(err)
		}
	}
	d.DecRef()
	t, err := s.kernel.CreateProcess(kernel.ProcessConfig{
		Credentials: auth.New(0, 0, nil), FDs: fds,
		FS: kernel.NewFSContext(s.mounts, s.mounts.Root(), s.mounts.Root(), 0o022),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := syscalls.Exec(t, "/bin/"+argv[0], argv, []string{"PATH=/bin"}); err != nil {
		s.t.Fatal(err)
	}
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	t.Start()
	over := time.AfterFunc(s.length+2*time.Minute, s.kernel.KillAll)
	status := s.kernel.Wait()
	if !over.Stop() {
		s.t.Error("the program did not end by itself")
	}
	if n := s.kernel.TaskCount(); n != 0 {
		s.t.Errorf("%d tasks are left", n)
	}
	return <-text, status
}

// writer fills the file system before there is a task.
type writer struct{ c *auth.Credentials }

func (w writer) Credentials() *auth.Credentials    { return w.c }
func (writer) Umask() uint32                       { return 0 }
func (writer) FSLimit() uint64                     { return ^uint64(0) }
func (writer) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (writer) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

// TestRaces runs testdata/races.c: what can happen at once to processes.
func TestRaces(t *testing.T) {
	s := boot(t, kernel.Config{}, compile(t, "races"))
	out, status := s.run("races")
	if status != 0 || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("status %#x after:\n%s", uint32(status), out)
	}
}

// TestTooManyTasks checks that a fork bomb meets EAGAIN and that the kernel
// ends cleanly with it.
func TestTooManyTasks(t *testing.T) {
	s := boot(t, kernel.Config{MaxTasks: 20}, compile(t, "bomb"))
	out, status := s.run("bomb")
	if status != 0 || out != "19 tasks, then EAGAIN\n" {
		t.Errorf("status %#x, output %q", uint32(status), out)
	}
}

// TestKillAll checks that all ends when the sandbox is told to.
func TestKillAll(t *testing.T) {
	s := boot(t, kernel.Config{ProtectInit: true}, compile(t, "bomb"))
	go func() {
		for s.kernel.TaskCount() < 20 {
			time.Sleep(time.Millisecond)
		}
		s.kernel.KillAll()
	}()
	if out, status := s.run("bomb", "stay"); status.Signal() != int32(unix.SIGKILL) {
		t.Errorf("status %#x, output %q", uint32(status), out)
	}
}

// TestVsyscall calls the vsyscall page.
func TestVsyscall(t *testing.T) {
	s := boot(t, kernel.Config{}, compile(t, "vsyscall"))
	if out, status := s.run("vsyscall"); status != 0 || out != "ok\n" {
		t.Errorf("status %#x, output %q", uint32(status), out)
	}
}

// TestLostMemory has the host end a process's stub, as it does when memory is
// short, while all its threads wait in the kernel: the parent hears of it.
func TestLostMemory(t *testing.T) {
	for name, start := range map[string]func(...stub.Option) (platform.Platform, error){"trap": trap.New, "ptrace": ptrace.New} {
		t.Run(name, func(t *testing.T) {
			s := boot(t, kernel.Config{Platform: newPlatform(t, start)}, compile(t, "lost"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				var tasks []*kernel.Task
				for len(tasks) != 2 {
					time.Sleep(time.Millisecond)
					if g := s.kernel.PIDs().ThreadGroup(kernel.InitPID + 1); g != nil {
						tasks = g.Tasks()
					}
				}
				for _, task := range tasks {
					for task.State() != 'S' {
						time.Sleep(time.Millisecond)
					}
				}
				m, _, _ := tasks[0].Resources()
				m.AddressSpace().(interface{ Kill() }).Kill()
			}()
			out, status := s.run("lost")
			<-done
			if status != 0 || out != "status 0x9\n" {
				t.Errorf("status %#x, output %q", uint32(status), out)
			}
		})
	}
}
