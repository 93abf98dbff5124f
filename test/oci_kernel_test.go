package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// kernelRuntime is coffer as a container runtime with the kernel wall. The program is a
// copy, so that its processes are told from others'.
type kernelRuntime struct {
	t                      *testing.T
	program, root, bundles string
	isolation              string
}

func newKernelRuntime(t *testing.T) *kernelRuntime {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	r := &kernelRuntime{t: t, program: filepath.Join(dir, "coffer"), root: filepath.Join(dir, "root"), bundles: filepath.Join(dir, "bundles"), isolation: "kernel"}
	copyFile(t, coffer(t), r.program)
	t.Cleanup(func() {
		for _, id := range r.list() {
			r.do("delete", "--force", id)
		}
		r.awaitNone()
	})
	return r
}

// anyonesCoffer is a copy of coffer that every user may execute, wherever the tests are.
func anyonesCoffer(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "coffer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "coffer")
	copyFile(t, coffer(t), program)
	for _, name := range []string{dir, program} {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return program
}

func copyFile(t *testing.T, from, to string) {
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

// bundle makes a bundle with busybox that runs args.
func (r *kernelRuntime) bundle(name string, change func(*specs.Spec), args ...string) string {
	r.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		r.t.Skip("busybox is not installed")
	}
	dir := filepath.Join(r.bundles, name)
	rootfs := filepath.Join(dir, "rootfs")
	copyFile(r.t, busybox, filepath.Join(rootfs, "bin/busybox"))
	// It is linked dynamically on some distributions. ldd fails for others.
	libraries, _ := exec.Command("ldd", busybox).Output()
	for _, word := range strings.Fields(string(libraries)) {
		if filepath.IsAbs(word) {
			copyFile(r.t, word, filepath.Join(rootfs, word))
		}
	}
	for _, applet := range []string{"sh", "cat", "sleep", "echo", "hostname", "kill", "ps", "stty", "tty", "true"} {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", applet)); err != nil {
			r.t.Fatal(err)
		}
	}
	if out := run(r.t, time.Minute, dir, "", r.program, "spec"); out.code != 0 {
		r.t.Fatalf("coffer spec: %s", out.stderr)
	}
	config := filepath.Join(dir, "config.json")
	var s specs.Spec
	data, err := os.ReadFile(config)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	s.Process.Args, s.Process.Terminal, s.Root.Readonly = args, false, false
	s.Process.Env = []string{"PATH=/bin"}
	s.Process.Rlimits = nil // whoever runs the tests may have less
	if change != nil {
		change(&s)
	}
	if data, err = json.Marshal(&s); err == nil {
		err = os.WriteFile(config, data, 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return dir
}

func (r *kernelRuntime) command(args ...string) []string {
	return append([]string{r.program, "--root", r.root, "--isolation", r.isolation}, args...)
}

// do runs a command.
func (r *kernelRuntime) do(args ...string) result {
	r.t.Helper()
	return run(r.t, 2*time.Minute, "/", "", r.command(args...)...)
}

// must runs a command that is to succeed. Its container keeps none of our pipes.
func (r *kernelRuntime) must(args ...string) {
	r.t.Helper()
	log := filepath.Join(r.t.TempDir(), "log")
	argv := r.command(append([]string{"--log", log}, args...)...)
	if err := exec.Command(argv[0], argv[1:]...).Run(); err != nil {
		text, _ := os.ReadFile(log)
		r.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, text)
	}
}

func (r *kernelRuntime) status(id string) string {
	r.t.Helper()
	out := r.do("state", id)
	var s struct{ Status, Isolation string }
	if out.code != 0 || json.Unmarshal([]byte(out.stdout), &s) != nil {
		return strings.TrimSpace(out.stderr)
	}
	if s.Isolation != r.isolation {
		r.t.Errorf("the isolation of %s is %q", id, s.Isolation)
	}
	return s.Status
}

func (r *kernelRuntime) expect(id, status string) {
	r.t.Helper()
	if got := r.status(id); got != status {
		r.t.Errorf("%s is %q, want %q", id, got, status)
	}
}

// await waits for a state that comes when it may.
func (r *kernelRuntime) await(id, status string) {
	r.t.Helper()
	for until := time.Now().Add(time.Minute); r.status(id) != status; {
		if time.Now().After(until) {
			r.t.Fatalf("%s is %q, want %q", id, r.status(id), status)
		}
	}
}

func (r *kernelRuntime) list() []string { return strings.Fields(r.do("list", "--quiet").stdout) }

// awaitNone waits until no process of the runtime's is left.
func (r *kernelRuntime) awaitNone() {
	r.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var left []string
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range all {
			if exe, err := os.Readlink(dir + "/exe"); err == nil && exe == r.program {
				args, _ := os.ReadFile(dir + "/cmdline")
				left = append(left, filepath.Base(dir)+" "+strings.ReplaceAll(string(args), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(until) {
			r.t.Fatalf("left behind: %q", left)
		}
	}
}

// id makes a container's name that names no other test's cgroup.
func (r *kernelRuntime) id(name string) string {
	return fmt.Sprintf("oci-kernel-%d-%s", os.Getpid(), name)
}

func TestKernelRuntime(t *testing.T) {
	r := newKernelRuntime(t)
	b := r.bundle("a", nil, forever...)
	id := r.id("a")
	r.must("create", "--bundle", b, id)
	r.expect(id, "created")
	if out := r.do("create", "--bundle", b, id); out.code == 0 || !strings.Contains(out.stderr, "already exists") {
		t.Errorf("a second one of that name: %d, %s", out.code, out.stderr)
	}
	r.must("start", id)
	r.expect(id, "running")
	if out := r.do("start", id); out.code == 0 {
		t.Error("it was started twice")
	}
	if out := r.do("exec", id, "sh", "-c", "echo $PPID; exit 3"); out.code != 3 || out.stdout != "0\n" {
		t.Errorf("exec: %+v", out)
	}
	if out := r.do("exec", id, "nothing"); out.code == 0 || !strings.Contains(out.stderr, "executable file not found in $PATH") {
		t.Errorf("exec of what is not there: %+v", out)
	}
	if out := r.do("ps", "--format", "json", id); out.code != 0 || !strings.Contains(out.stdout, "1") {
		t.Errorf("ps: %+v", out)
	}
	if out := r.do("delete", id); out.code == 0 {
		t.Error("a running container was deleted")
	}
	r.awaitReady(id)
	r.must("kill", id, "TERM")
	r.await(id, "stopped")
	if out := r.do("kill", id, "TERM"); out.code == 0 || !strings.Contains(out.stderr, "container not running") {
		t.Errorf("kill of a stopped one: %+v", out)
	}
	r.must("delete", id)
	if list := r.list(); len(list) != 0 {
		t.Errorf("left: %q", list)
	}
	r.awaitNone()

	missing := r.bundle("missing", nil, "/bin/nothing")
	if out := r.do("run", "--bundle", missing, r.id("missing")); out.code == 0 || !strings.Contains(out.stderr, "no such file or directory") {
		t.Errorf("run of what is not there: %+v", out)
	}
	echo := r.bundle("echo", nil, "sh", "-c", "cat; exit 9")
	if out := run(t, time.Minute, "/", "hello", r.command("run", "--bundle", echo, r.id("echo"))...); out.code != 9 || out.stdout != "hello" {
		t.Errorf("run: %+v", out)
	}
}

func TestKernelPause(t *testing.T) {
	r := newKernelRuntime(t)
	b := r.bundle("a", nil, forever...)
	id := r.id("a")
	r.must("run", "--detach", "--bundle", b, id)
	r.awaitReady(id)
	if out := r.do("pause", id); out.code != 0 && strings.Contains(out.stderr, "freezer") {
		t.Skip("this host freezes no cgroups: ", out.stderr)
	}
	r.expect(id, "paused")
	if out := r.do("exec", id, "true"); out.code == 0 || !strings.Contains(out.stderr, "paused") {
		t.Errorf("exec in a paused container: %+v", out)
	}
	if out := r.do("ps", id); out.code == 0 || !strings.Contains(out.stderr, "it is paused") {
		t.Errorf("ps of a paused container: %+v", out)
	}
	// It is told of new limits, in their order, and gets the signal, when it goes on.
	for n := 70; n <= 77; n++ {
		r.must("update", "--pids-limit", fmt.Sprint(n), id)
	}
	r.must("resume", id)
	for until := time.Now().Add(time.Minute); ; {
		out := r.do("exec", id, "cat", "/sys/fs/cgroup/pids.max")
		if out.stdout == "77\n" {
			break
		}
		if time.Now().After(until) {
			t.Errorf("the limit inside: %+v", out)
			break
		}
	}
	r.must("pause", id)
	r.must("kill", id, "TERM")
	r.expect(id, "paused")
	r.must("resume", id)
	r.await(id, "stopped")
	r.must("delete", id)

	r.must("run", "--detach", "--bundle", b, id)
	r.must("pause", id)
	r.must("delete", "--force", id)
}

// inSandbox gives a spec the annotations and namespaces by which an implementation
// of CRI puts a container into a sandbox.
func inSandbox(sandbox string, pid int) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Annotations = map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": sandbox}
		s.Hostname = ""
		for i := range s.Linux.Namespaces {
			n := &s.Linux.Namespaces[i]
			switch n.Type {
			case specs.IPCNamespace, specs.UTSNamespace:
				n.Path = fmt.Sprintf("/proc/%d/ns/%s", pid, n.Type)
			case specs.NetworkNamespace:
				n.Path = fmt.Sprintf("/proc/%d/ns/net", pid)
			}
		}
	}
}

func TestKernelPod(t *testing.T) {
	r := newKernelRuntime(t)
	pod := r.id("pod")
	b := r.bundle("pod", func(s *specs.Spec) {
		s.Hostname = "pod"
		s.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": pod}
	}, "sleep", "1000")
	r.must("run", "--detach", "--bundle", b, pod)
	var state struct{ PID int }
	if err := json.Unmarshal([]byte(r.do("state", pod).stdout), &state); err != nil {
		t.Fatal(err)
	}
	ids := []string{r.id("one"), r.id("two")}
	for _, id := range ids {
		b := r.bundle(id, inSandbox(pod, state.PID), "sleep", "1000")
		r.must("create", "--bundle", b, id)
		r.expect(id, "created")
		r.must("start", id)
		r.expect(id, "running")
		if out := r.do("exec", id, "sh", "-c", "hostname; echo /proc/[0-9]*"); !strings.HasPrefix(out.stdout, "pod\n/proc/1 /proc/") {
			t.Errorf("in %s: %+v", id, out)
		}
	}
	r.must("kill", ids[0], "KILL")
	r.await(ids[0], "stopped")
	r.must("delete", ids[0])
	r.expect(ids[1], "running")
	r.must("kill", pod, "KILL")
	r.await(pod, "stopped")
	r.await(ids[1], "stopped")
	r.must("delete", ids[1])
	r.must("delete", pod)
	r.awaitNone()
}

// TestKernelCommandsDie kills commands anywhere in the middle: the container is
// in a state that there is, and can be removed.
func TestKernelCommandsDie(t *testing.T) {
	r := newKernelRuntime(t)
	b := r.bundle("a", nil, "sleep", "1000")
	states := []string{"creating", "created", "running", "stopped"}
	for i := range 12 {
		id := r.id(fmt.Sprint(i))
		for _, args := range [][]string{
			{"create", "--bundle", b, id}, {"start", id}, {"exec", "--detach", id, "sleep", "2000"}, {"kill", id, "KILL"}, {"delete", id},
		} {
			argv := r.command(args...)
			cmd := exec.Command(argv[0], argv[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 || args[0] == "create" { // at times the later ones have something to do
				time.Sleep(rand.N(80 * time.Millisecond))
				cmd.Process.Kill()
			}
			cmd.Wait()
			if slices.Contains(r.list(), id) {
				if got := r.status(id); !slices.Contains(states, got) && !strings.Contains(got, "does not exist") {
					t.Errorf("after %s was killed, %s is %q", args[0], id, got)
				}
			}
		}
		if out := r.do("delete", "--force", id); out.code != 0 {
			t.Errorf("delete --force: %+v", out)
		}
		r.awaitNone()
	}
	if list := r.list(); len(list) != 0 {
		t.Errorf("left: %q", list)
	}
}
