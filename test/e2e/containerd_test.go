package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"coffer/test/screen"
)

// containerd is a running containerd with the image, and the runtime that its
// containers are to have.
type containerd struct {
	socket  string
	runtime runtime
}

// startContainerd starts containerd, which is stopped with the test.
func startContainerd(t *testing.T, r runtime) *containerd {
	t.Helper()
	leavesNothing(t, "file /run/containerd", "file /run/containerd/fifo", "file /run/containerd/s",
		"file /run/containerd/runc", "file /run/containerd/runc/default", "cgroup /sys/fs/cgroup/*/default", "cgroup /sys/fs/cgroup/default")
	dir, err := os.MkdirTemp(tmp, "containerd")
	if err != nil {
		t.Fatal(err)
	}
	c := &containerd{socket: filepath.Join(dir, "socket"), runtime: r}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), c.socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	serve(t, c.socket, "containerd", "--config", config)
	archive := filepath.Join(dir, "image.tar")
	if err := os.WriteFile(archive, imageArchive(t, rootTar(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	c.must(t, "images", "import", archive)
	return c
}

// argv is a command of containerd's client.
func (c *containerd) argv(args ...string) []string {
	return append([]string{"ctr", "--address", c.socket}, args...)
}

// runArgs is the command that runs a container.
func (c *containerd) runArgs(flags []string, id string, args ...string) []string {
	argv := append([]string{"run", "--runc-binary", c.runtime.path}, flags...)
	return c.argv(append(append(argv, imageName, id), args...)...)
}

func (c *containerd) must(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, c.argv(args...)...)
}

// status is a task's, or empty if there is no such task.
func (c *containerd) status(t *testing.T, id string) string {
	for line := range strings.Lines(c.must(t, "tasks", "list")) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == id {
			return fields[2]
		}
	}
	return ""
}

// deleteTask deletes a task that has stopped, and returns its exit code, of
// which the client warns if it isn't 0.
func (c *containerd) deleteTask(t *testing.T, id string) int {
	t.Helper()
	o := try(t, c.argv("tasks", "delete", id)...)
	if o.code != 0 {
		t.Fatalf("deleting task %s: %s", id, o.stderr)
	}
	_, after, _ := strings.Cut(o.stderr, "non-zero exit code ")
	code, _ := strconv.Atoi(strings.Trim(after, "\"\n"))
	return code
}

// remove ends a container and removes it with its task.
func (c *containerd) remove(t *testing.T, id string) {
	t.Helper()
	c.must(t, "tasks", "kill", "--signal", "KILL", id)
	eventually(t, id+" is stopped", func() bool { return c.status(t, id) == "STOPPED" })
	c.must(t, "tasks", "delete", id)
	c.must(t, "containers", "delete", id)
}

func TestContainerd(t *testing.T) {
	need(t, false, "containerd", "ctr", "containerd-shim-runc-v2")
	eachRuntime(t, func(t *testing.T, r runtime) {
		c := startContainerd(t, r)
		t.Run("hello", func(t *testing.T) {
			o := try(t, c.runArgs([]string{"--rm"}, "hello", "sh", "-c", "echo hello; echo from $(uname -s) >&2; exit 7")...)
			if o.stdout != "hello\n" || o.stderr != "from Linux\n" && !strings.HasPrefix(o.stderr, "from Linux\nctr: ") || o.code != 7 {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
		})
		t.Run("no such program", func(t *testing.T) {
			o := try(t, c.runArgs([]string{"--rm"}, "missing", "/no/such/program")...)
			if o.code == 0 || !strings.Contains(o.stderr, "/no/such/program") {
				t.Errorf("it ended with %d and said %q", o.code, o.stderr)
			}
			if left := c.must(t, "containers", "list", "--quiet"); left != "" {
				c.must(t, "containers", "delete", left)
			}
		})
		must(t, c.runArgs([]string{"--detach"}, "one", "sleep", "1000")...)
		t.Run("exec", func(t *testing.T) {
			if out := c.must(t, "tasks", "exec", "--exec-id", "e1", "one", "sh", "-c", "echo $0 && ps | grep -c 'sleep 1000'"); !strings.HasPrefix(out, "sh\n") {
				t.Errorf("it said %q", out)
			}
			if o := try(t, c.argv("tasks", "exec", "--exec-id", "e2", "one", "sh", "-c", "exit 9")...); o.code != 9 {
				t.Errorf("it ended with %d", o.code)
			}
		})
		t.Run("processes", func(t *testing.T) {
			if out := c.must(t, "tasks", "ps", "one"); len(strings.Split(out, "\n")) < 2 {
				t.Errorf("it has no processes: %q", out)
			}
		})
		t.Run("kill", func(t *testing.T) {
			c.must(t, "tasks", "kill", "--signal", "KILL", "one")
			eventually(t, "the container is stopped", func() bool { return c.status(t, "one") == "STOPPED" })
			if code := c.deleteTask(t, "one"); code != 128+9 {
				t.Errorf("its exit code is %d", code)
			}
			c.must(t, "containers", "delete", "one")
		})
	})
}

func TestContainerdMore(t *testing.T) {
	need(t, true, "containerd", "ctr", "containerd-shim-runc-v2")
	eachRuntime(t, func(t *testing.T, r runtime) {
		c := startContainerd(t, r)
		t.Run("terminal", func(t *testing.T) {
			m, cmd := screen.Open(t, c.runArgs([]string{"--rm", "--tty", "--env", "PS1=ready> "}, "terminal", "sh")...)
			m.Expect("ready> ")
			m.Type("stty size; tty\n")
			m.Expect("30 100")
			m.Expect("/dev/(pts/0|console)")
			m.Expect("ready> ")
			sitAt(t, m, cmd)
		})
		t.Run("exec with a terminal", func(t *testing.T) {
			must(t, c.runArgs([]string{"--detach"}, "tty", "sleep", "1000")...)
			defer c.remove(t, "tty")
			m, cmd := screen.Open(t, c.argv("tasks", "exec", "--tty", "--exec-id", "e", "tty",
				"sh", "-c", `until [ "$(stty size)" = "30 100" ]; do sleep 0.05; done; echo si""zed; read x; exit $x`)...)
			m.Expect("sized")
			m.Type("5\n")
			if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
				t.Errorf("%v; the screen last showed:\n%s", cmd.ProcessState, m.Shown())
			}
		})
		t.Run("signal", func(t *testing.T) {
			// A first process without a handler does not even notice.
			must(t, c.runArgs([]string{"--detach"}, "signal", "sh", "-c", "trap 'exit 3' TERM; touch /ready; while :; do sleep 0.1; done")...)
			eventually(t, "the trap is set", func() bool {
				return try(t, c.argv("tasks", "exec", "--exec-id", "e", "signal", "test", "-e", "/ready")...).code == 0
			})
			c.must(t, "tasks", "kill", "--signal", "TERM", "signal")
			eventually(t, "it ends", func() bool { return c.status(t, "signal") == "STOPPED" })
			if code := c.deleteTask(t, "signal"); code != 3 {
				t.Errorf("its exit code is %d", code)
			}
			c.must(t, "containers", "delete", "signal")
		})
		t.Run("pause", func(t *testing.T) {
			must(t, c.runArgs([]string{"--detach"}, "pause", "sh", "-c", "while :; do echo x >>/n; sleep 0.01; done")...)
			defer c.remove(t, "pause")
			c.must(t, "tasks", "pause", "pause")
			if s := c.status(t, "pause"); s != "PAUSED" {
				t.Errorf("it is %s", s)
			}
			c.must(t, "tasks", "resume", "pause")
			if s := c.status(t, "pause"); s != "RUNNING" {
				t.Errorf("it is %s", s)
			}
			count := func() int {
				n, _ := strconv.Atoi(c.must(t, "tasks", "exec", "--exec-id", "e", "pause", "sh", "-c", "wc -l </n"))
				return n
			}
			before := count()
			eventually(t, "it goes on", func() bool { return count() > before })
		})
		t.Run("stats", func(t *testing.T) {
			must(t, c.runArgs([]string{"--detach"}, "stats", "sleep", "1000")...)
			defer c.remove(t, "stats")
			if out := c.must(t, "tasks", "metrics", "stats"); !strings.Contains(out, "memory") {
				t.Errorf("no memory in %q", out)
			}
		})
		t.Run("memory limit", func(t *testing.T) {
			o := try(t, c.runArgs([]string{"--rm", "--memory-limit", strconv.Itoa(64 << 20)}, "memory",
				"sh", "-c", "echo begins; x=0123456789abcdef; while :; do x=$x$x; done")...)
			if o.code == 0 || o.stdout != "begins\n" {
				t.Errorf("it ended with %d and said %q and %q", o.code, o.stdout, o.stderr)
			}
		})
		t.Run("storm", func(t *testing.T) {
			storm(t, func(i int) error {
				id := fmt.Sprintf("storm-%d", i)
				o := try(t, c.runArgs([]string{"--rm"}, id, "echo", id)...)
				if o.stdout != id+"\n" || o.code != 0 {
					return fmt.Errorf("%s said %q, %q and ended with %d", id, o.stdout, o.stderr, o.code)
				}
				return nil
			})
		})
	})
}

// TestContainerdCNI has containerd's client call plug-ins, which it does between create and
// start.
func TestContainerdCNI(t *testing.T) {
	need(t, true, "containerd", "ctr", "containerd-shim-runc-v2")
	plugins(t, `{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.98.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}`)
	port := tellCallers(t, "0.0.0.0")
	eachRuntime(t, func(t *testing.T, r runtime) {
		c := startContainerd(t, r)
		o := try(t, c.runArgs([]string{"--rm", "--cni"}, "cni", "sh", "-c",
			"nc 10.98.0.1 "+port+"; ip -o -4 addr show eth0; ip route")...)
		from, rest, _ := strings.Cut(o.stdout, "\n")
		if address := strings.TrimPrefix(from, "from "); !strings.HasPrefix(address, "10.98.0.") || !strings.Contains(rest, "inet "+address+"/24") ||
			!strings.Contains(rest, "default via 10.98.0.1 dev eth0") {
			t.Errorf("it said %q and %q", o.stdout, o.stderr)
		}
		if leases, _ := filepath.Glob("/var/lib/cni/networks/e2e/10.*"); len(leases) > 0 {
			t.Errorf("leases are left: %q", leases)
		}
	})
}

// plugins puts the CNI plug-ins and a network with one of them where they are looked for.
func plugins(t *testing.T, plugin string) {
	t.Helper()
	dir, err := filepath.Abs("../../bin/cni")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		dir = "/usr/lib/cni"
	}
	if _, err := os.Stat(filepath.Join(dir, "ptp")); err != nil {
		t.Skip("the CNI plug-ins are not built: scripts/cni-deps does it")
	}
	for _, path := range []string{"/opt/cni", "/etc/cni/net.d"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, "/opt/cni/bin"); err != nil {
		t.Fatal(err)
	}
	const list = "/etc/cni/net.d/00-e2e.conflist"
	t.Cleanup(func() {
		os.Remove("/opt/cni/bin")
		os.Remove(list)
	})
	if err := os.WriteFile(list, fmt.Appendf(nil, `{"cniVersion": "0.4.0", "name": "e2e", "plugins": [%s]}`, plugin), 0o644); err != nil {
		t.Fatal(err)
	}
}

// storm starts and stops 64 containers, eight at once.
func storm(t *testing.T, container func(i int) error) {
	var wait sync.WaitGroup
	errs := make([]error, 64)
	turns := make(chan struct{}, 8)
	for i := range errs {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			errs[i] = container(i)
		})
	}
	wait.Wait()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		t.Errorf("%d of %d failed, the first of them: %v", len(failed), cap(failed), failed[0])
	}
}
