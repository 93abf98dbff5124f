package hostcgroup

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the members of cgroups, too.
func TestMain(m *testing.M) {
	switch os.Getenv("HOSTCGROUP_TEST") {
	case "":
		os.Exit(m.Run())
	case "wait":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			answer := lines.Text()
			if path, ok := strings.CutPrefix(answer, "open "); ok {
				f, err := os.Open(path)
				f.Close()
				answer = fmt.Sprint(err)
			}
			fmt.Println(answer)
		}
	case "eat":
		// Waits until it is in its cgroup, and then uses 64 MiB.
		bufio.NewReader(os.Stdin).ReadByte()
		mem, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			os.Exit(3)
		}
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
	case "rootless":
		rootless()
	}
}

// member is a process that opens the files that it is told, and echoes other
// lines, until its input is closed.
type member struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, what string) *member {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOSTCGROUP_TEST="+what)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &member{cmd, in, bufio.NewReader(out)}
}

// killed reports whether the process ended by SIGKILL.
func (m *member) killed() bool {
	m.Wait()
	ws, _ := m.ProcessState.Sys().(syscall.WaitStatus)
	return ws.Signaled() && ws.Signal() == unix.SIGKILL
}

// ask returns what the process answers; nothing once it has ended.
func (m *member) ask(line string) string {
	fmt.Fprintln(m.in, line)
	answer, _ := m.out.ReadString('\n')
	return strings.TrimSpace(answer)
}

// alive reports whether the process still answers.
func (m *member) alive() bool { return m.ask("there?") == "there?" }

// planFor plans a cgroup of its own for the test, and has it removed at the end.
func planFor(t *testing.T, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may make cgroups here")
	}
	path := "/coffer-test-" + newMark()
	c, err := Plan(&specs.Spec{Linux: &specs.Linux{CgroupsPath: path, Resources: r}}, "id", Options{})
	if err != nil {
		t.Skipf("this host's cgroups: %v", err)
	}
	for _, dir := range c.dirs() {
		if unix.Access(filepath.Dir(dir), unix.W_OK) == unix.EROFS {
			t.Skip("this host's cgroups are mounted read-only")
		}
	}
	t.Cleanup(func() {
		if err := c.Destroy(); err != nil {
			t.Errorf("removing the cgroup at the end: %v", err)
		}
		for _, dir := range c.dirs() {
			if cgroups.PathExists(dir) {
				t.Errorf("%s is left", dir)
			}
		}
	})
	return c
}

func create(t *testing.T, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	c := planFor(t, r)
	if c.Exists() {
		t.Fatal("planning has made something")
	}
	if err := c.Create(); err != nil {
		t.Fatal(err)
	}
	return c
}

// again is the cgroup as another process finds it on record.
func again(t *testing.T, c *Cgroup) *Cgroup {
	t.Helper()
	data, err := json.Marshal(c.State())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(&s)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func read(t *testing.T, c *Cgroup, controller, v1, v2 string) string {
	t.Helper()
	file := v1
	if c.unified() {
		file = v2
	}
	data, err := os.ReadFile(filepath.Join(c.Path(controller), file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func resources(memory, pids int64) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if memory != 0 {
		r.Memory = &specs.LinuxMemory{Limit: &memory}
	}
	if pids != 0 {
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return r
}

func planAndCreate(spec *specs.Spec, id string, opt Options) (*Cgroup, error) {
	c, err := Plan(spec, id, opt)
	if err != nil {
		return nil, err
	}
	return c, c.Create()
}
