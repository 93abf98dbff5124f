package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/test/screen"
)

// docker is a running dockerd with an image, and the runtime that its
// containers are to have.
type docker struct {
	client, socket string
	runtime        runtime
}

// startDocker starts dockerd, which is stopped with the test.
func startDocker(t *testing.T, r runtime) *docker {
	t.Helper()
	leavesNothing(t, "file /run/docker", "file /run/docker/*", "file /run/docker/*/moby", "file /run/docker/*/moby.*",
		"file /run/containerd", "file /run/containerd/s", "file /run/containerd/s/*", "file /run/xtables.lock",
		"cgroup /sys/fs/cgroup/*/docker", "cgroup /sys/fs/cgroup/docker", "mount on /run/docker/netns/default", "file /run/docker/netns/default",
		"file /run/docker/containerd/*", "file /run/docker/containerd/daemon/*", "file /run/docker/containerd/daemon/*/moby")
	dir, err := os.MkdirTemp(tmp, "docker")
	if err != nil {
		t.Fatal(err)
	}
	// Debian's client goes with Debian's server.
	d := &docker{client: "/usr/bin/docker", socket: filepath.Join(dir, "socket"), runtime: r}
	if _, err := os.Stat(d.client); err != nil {
		d.client = "docker"
	}
	serve(t, d.socket, "dockerd", "--host", "unix://"+d.socket, "--data-root", filepath.Join(dir, "data"),
		"--pidfile", filepath.Join(dir, "pid"), "--add-runtime", "tested="+r.path, "--default-runtime", "tested")
	root := filepath.Join(dir, "root.tar")
	if err := os.WriteFile(root, rootTar(t), 0o644); err != nil {
		t.Fatal(err)
	}
	d.must(t, "import", "--change", "ENV PATH=/bin", "--change", `CMD ["sh"]`, root, "e2e")
	return d
}

// argv is a command of Docker's client.
func (d *docker) argv(args ...string) []string {
	return append([]string{d.client, "--host", "unix://" + d.socket}, args...)
}

func (d *docker) must(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, d.argv(args...)...)
}

func (d *docker) try(t *testing.T, args ...string) outcome {
	t.Helper()
	return try(t, d.argv(args...)...)
}

// inspect is a value of a container's, by a template.
func (d *docker) inspect(t *testing.T, id, format string) string {
	t.Helper()
	return d.must(t, "inspect", "--format", format, id)
}

func TestDocker(t *testing.T) {
	need(t, true, "dockerd", "docker", "containerd", "iptables")
	eachRuntime(t, func(t *testing.T, r runtime) {
		d := startDocker(t, r)
		t.Run("hello", func(t *testing.T) {
			o := d.try(t, "run", "--rm", "e2e", "sh", "-c", "echo hello; echo there >&2; exit 7")
			if o.stdout != "hello\n" || o.stderr != "there\n" || o.code != 7 {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
		})
		t.Run("no such program", func(t *testing.T) {
			if o := d.try(t, "run", "--rm", "e2e", "/no/such/program"); o.code != 127 {
				t.Errorf("it said %q and ended with %d", o.stderr, o.code)
			}
			if o := d.try(t, "run", "--rm", "e2e", "/etc/passwd"); o.code != 126 {
				t.Errorf("it said %q and ended with %d", o.stderr, o.code)
			}
		})
		t.Run("user", func(t *testing.T) {
			if out := d.must(t, "run", "--rm", "--user", "somebody", "--workdir", "/tmp", "--hostname", "there", "e2e",
				"sh", "-c", "id -u; pwd; hostname"); out != "1000\n/tmp\nthere" {
				t.Errorf("it said %q", out)
			}
		})
		t.Run("standard input", func(t *testing.T) {
			cmd := exec.Command(d.client, d.argv("run", "--rm", "--interactive", "e2e", "wc", "-c")[1:]...)
			cmd.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
			if out, err := cmd.Output(); err != nil || string(out) != "1048576\n" {
				t.Errorf("it said %q: %v", out, err)
			}
		})
		t.Run("read-only root, volume, tmpfs", func(t *testing.T) {
			dir, err := os.MkdirTemp(tmp, "volume")
			if err != nil {
				t.Fatal(err)
			}
			out := d.must(t, "run", "--rm", "--read-only", "--volume", dir+":/v", "--tmpfs", "/t", "e2e", "sh", "-c",
				"touch /x 2>/dev/null && echo writable; touch /t/x && echo here >/v/file && echo done")
			if b, _ := os.ReadFile(filepath.Join(dir, "file")); out != "done" || string(b) != "here\n" {
				t.Errorf("it said %q, and the file has %q", out, b)
			}
		})
		t.Run("terminal", func(t *testing.T) {
			m, cmd := screen.Open(t, d.argv("run", "--rm", "--interactive", "--tty", "--env", "PS1=ready> ", "e2e")...)
			m.Expect("ready> ")
			m.Type("tty\n")
			m.Expect("/dev/(pts/0|console)")
			m.Expect("ready> ")
			sitAt(t, m, cmd)
		})
		d.must(t, "run", "--detach", "--name", "one", "e2e", "sh", "-c", "echo first; trap 'echo bye; exit 3' TERM; echo second >&2; while :; do sleep 0.1; done")
		t.Run("logs", func(t *testing.T) {
			eventually(t, "the logs have what it said", func() bool {
				o := d.try(t, "logs", "one")
				return o.stdout == "first\n" && o.stderr == "second\n"
			})
		})
		t.Run("exec", func(t *testing.T) {
			if out := d.must(t, "exec", "--env", "X=y", "--user", "1000:1000", "--workdir", "/tmp", "one", "sh", "-c", "echo $X $(id -u) $(pwd)"); out != "y 1000 /tmp" {
				t.Errorf("it said %q", out)
			}
			if o := d.try(t, "exec", "one", "sh", "-c", "exit 9"); o.code != 9 {
				t.Errorf("it ended with %d: %s", o.code, o.stderr)
			}
			if o := d.try(t, "exec", "one", "/no/such/program"); o.code != 126 && o.code != 127 {
				t.Errorf("it ended with %d: %s", o.code, o.stderr)
			}
			m, cmd := screen.Open(t, d.argv("exec", "--interactive", "--tty", "one", "sh", "-c", "tty; read x; exit $x")...)
			m.Expect("/dev/(pts/|console)")
			m.Type("5\n")
			if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
				t.Errorf("%v; the screen last showed:\n%s", cmd.ProcessState, m.Shown())
			}
		})
		t.Run("top and stats", func(t *testing.T) {
			if out := d.must(t, "top", "one"); !r.isolated() && !strings.Contains(out, "sleep") && !strings.Contains(out, "echo first") {
				t.Errorf("it runs %q", out)
			}
			out := d.must(t, "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "one")
			if strings.HasPrefix(out, "0B") || strings.HasSuffix(out, " 0") || strings.Contains(out, "--") {
				t.Errorf("memory and processes are %q", out)
			}
		})
		t.Run("pause", func(t *testing.T) {
			d.must(t, "pause", "one")
			if s := d.inspect(t, "one", "{{.State.Status}}"); s != "paused" {
				t.Errorf("it is %s", s)
			}
			d.must(t, "unpause", "one")
			if s := d.inspect(t, "one", "{{.State.Status}}"); s != "running" {
				t.Errorf("it is %s", s)
			}
		})
		t.Run("update", func(t *testing.T) {
			d.must(t, "update", "--memory", "256m", "--memory-swap", "256m", "one")
		})
		t.Run("restart", func(t *testing.T) {
			d.must(t, "restart", "one")
			if s := d.inspect(t, "one", "{{.State.Status}}"); s != "running" {
				t.Errorf("it is %s", s)
			}
			eventually(t, "it started twice", func() bool { return strings.Count(d.try(t, "logs", "one").stdout, "first\n") == 2 })
		})
		t.Run("stop", func(t *testing.T) {
			// The trap may not be set yet, and a first process without a handler
			// does not notice.
			eventually(t, "the trap is set", func() bool { return strings.Count(d.try(t, "logs", "one").stderr, "second\n") == 2 })
			d.must(t, "stop", "--time", "100", "one")
			if code := d.inspect(t, "one", "{{.State.ExitCode}}"); code != "3" {
				t.Errorf("its exit code is %s", code)
			}
			d.must(t, "start", "one")
		})
		t.Run("kill", func(t *testing.T) {
			d.must(t, "kill", "one")
			eventually(t, "it ends", func() bool { return d.inspect(t, "one", "{{.State.Running}}") == "false" })
			if code := d.inspect(t, "one", "{{.State.ExitCode}}"); code != "137" {
				t.Errorf("its exit code is %s", code)
			}
			d.must(t, "rm", "one")
		})
		t.Run("memory limit", func(t *testing.T) {
			o := d.try(t, "run", "--name", "memory", "--memory", "64m", "--memory-swap", "64m", "e2e",
				"sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
			if o.code != 137 {
				t.Errorf("it said %q and ended with %d", o.stderr, o.code)
			}
			if killed := d.inspect(t, "memory", "{{.State.OOMKilled}}"); killed != "true" {
				t.Errorf("OOMKilled is %s", killed)
			}
			d.must(t, "rm", "memory")
		})
		t.Run("pids limit", func(t *testing.T) {
			o := d.try(t, "run", "--rm", "--pids-limit", "20", "e2e", "sh", "-c",
				"n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n + 1)); done; echo all")
			if o.code == 0 || strings.Contains(o.stdout, "all") || !strings.Contains(o.stderr, "fork") {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
		})
		t.Run("init", func(t *testing.T) {
			if out := d.must(t, "run", "--rm", "--init", "e2e", "sh", "-c", "echo $$"); out == "1" {
				t.Error("the shell is process 1 beside an init")
			}
		})
		t.Run("privileged", func(t *testing.T) {
			if r.name == "runc" {
				t.Skip("runc refuses it where the host's own root lacks a capability")
			}
			o := d.try(t, "run", "--rm", "--privileged", "e2e", "echo", "hello")
			// It gets all the host's devices, which a kernel of its own has not.
			if r.isolated() && (o.code != 125 || !strings.Contains(o.stderr, "linux.devices[")) || !r.isolated() && o.stdout != "hello\n" {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
		})
		t.Run("networks", func(t *testing.T) {
			for _, network := range []string{"none", "host", "bridge"} {
				o := d.try(t, "run", "--rm", "--network", network, "e2e", "echo", "hello")
				if o.stdout != "hello\n" {
					t.Errorf("with network %s it said %q and %q", network, o.stdout, o.stderr)
				}
			}
		})
		t.Run("bridge", func(t *testing.T) { d.bridge(t) })
		t.Run("names", func(t *testing.T) { d.names(t) })
		t.Run("connect", func(t *testing.T) { d.connect(t) })
		t.Run("shared network", func(t *testing.T) { d.shared(t) })
		t.Run("storm", func(t *testing.T) {
			storm(t, func(i int) error {
				word := fmt.Sprintf("storm-%d", i)
				o := d.try(t, "run", "--rm", "--network", "none", "e2e", "echo", word)
				if o.stdout != word+"\n" || o.code != 0 {
					return fmt.Errorf("%s said %q, %q and ended with %d", word, o.stdout, o.stderr, o.code)
				}
				return nil
			})
		})
	})
}

// bridge has containers on Docker's bridge reach each other and the host, and the host
// reach them, at their addresses and at a published port.
func (d *docker) bridge(t *testing.T) {
	d.must(t, "run", "--detach", "--name", "server", "--publish", "127.0.0.1:8090:8000", "e2e",
		"sh", "-c", "while :; do echo over the bridge | nc -l -p 8000; done")
	address := d.inspect(t, "server", "{{.NetworkSettings.IPAddress}}")
	gateway := d.inspect(t, "server", "{{.NetworkSettings.Gateway}}")
	eventually(t, "another container reaches it", func() bool {
		return d.try(t, "run", "--rm", "e2e", "nc", address, "8000").stdout == "over the bridge\n"
	})
	for _, at := range []string{address + ":8000", "127.0.0.1:8090"} {
		eventually(t, "the host reaches it at "+at, func() bool {
			c, err := net.Dial("tcp", at)
			if err != nil {
				return false
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			said, _ := io.ReadAll(c)
			return string(said) == "over the bridge\n"
		})
	}
	port := tellCallers(t, gateway)
	o := d.try(t, "run", "--rm", "e2e", "sh", "-c", "nc "+gateway+" "+port+"; ip addr show eth0")
	if from, rest, _ := strings.Cut(o.stdout, "\n"); !strings.HasPrefix(from, "from ") || !strings.Contains(rest, "inet "+strings.TrimPrefix(from, "from ")+"/") {
		t.Errorf("it said %q and %q", o.stdout, o.stderr)
	}
	d.must(t, "rm", "--force", "server")
}

// names has containers on a network of the user's find each other by name, also
// after a restart, as Docker's own name server has it.
func (d *docker) names(t *testing.T) {
	d.must(t, "network", "create", "own")
	serve := []string{"run", "--detach", "--name", "server", "--network", "own", "--network-alias", "alias", "e2e",
		"sh", "-c", "while :; do echo by name | nc -l -p 8000; done"}
	d.must(t, serve...)
	d.must(t, "run", "--detach", "--name", "client", "--network", "own", "e2e", "sleep", "1000")
	address := func() string {
		return d.inspect(t, "server", "{{(index .NetworkSettings.Networks \"own\").IPAddress}}")
	}
	look := func(name string) outcome { return d.try(t, "exec", "client", "nslookup", "-type=a", name) }
	for _, name := range []string{"server", "alias"} {
		if o := look(name); !strings.Contains(o.stdout, "Address: "+address()+"\n") {
			t.Errorf("%s is not %s: %q, %q", name, address(), o.stdout, o.stderr)
		}
	}
	eventually(t, "it is reached by name", func() bool {
		return d.try(t, "exec", "client", "nc", "server", "8000").stdout == "by name\n"
	})
	// What Docker does not know it asks others, from within the container's namespace.
	other := d.must(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "own")
	answerNames(t, other, [4]byte{192, 0, 2, 9})
	eventually(t, "another name server is asked", func() bool {
		o := d.try(t, "run", "--rm", "--network", "own", "--dns", other, "e2e", "nslookup", "-type=a", "name.example")
		return strings.Contains(o.stdout, "Address: 192.0.2.9\n")
	})
	d.must(t, "restart", "--time", "0", "server")
	if o := look("server"); !strings.Contains(o.stdout, "Address: "+address()+"\n") {
		t.Errorf("after a restart it is not %s: %q, %q", address(), o.stdout, o.stderr)
	}
	d.must(t, "rm", "--force", "server")
	d.must(t, "rm", "--force", "client")
	d.must(t, "network", "rm", "own")
}

// answerNames answers all questions for names that come to an address with another one,
// as long as the test runs.
func answerNames(t *testing.T, at string, address [4]byte) {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(at, "53"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 512); ; {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			// A response to one question, with one answer: its name is that at 12 (RFC 1035).
			m := append([]byte{b[0], b[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, b[12:n]...)
			m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
			c.WriteTo(append(m, address[:]...), from)
		}
	}()
}

// connect connects containers that run to a further network, and disconnects them.
func (d *docker) connect(t *testing.T) {
	for _, name := range []string{"own", "further"} {
		d.must(t, "network", "create", name)
	}
	d.must(t, "run", "--detach", "--name", "server", "--network", "further", "e2e",
		"sh", "-c", "while :; do echo from afar | nc -l -p 8000; done")
	// Docker's name server comes with the first network of a user's.
	for _, network := range []string{"own", "bridge"} {
		d.must(t, "run", "--detach", "--name", "client", "--network", network, "e2e", "sleep", "1000")
		gateway := d.inspect(t, "client", "{{(index .NetworkSettings.Networks \""+network+"\").Gateway}}")
		for range 2 {
			d.must(t, "network", "connect", "further", "client")
			// A kernel of its own learns of it a moment later.
			eventually(t, "the interface is there", func() bool {
				return strings.Count(d.must(t, "exec", "client", "ip", "-o", "-4", "addr"), " eth") >= 2
			})
			eventually(t, "the server is reached by name", func() bool {
				return d.try(t, "exec", "client", "nc", "server", "8000").stdout == "from afar\n"
			})
			d.must(t, "network", "disconnect", "further", "client")
			eventually(t, "the interface is gone", func() bool {
				return strings.Count(d.must(t, "exec", "client", "ip", "-o", "link"), " eth") == 1
			})
			eventually(t, "the default route leads over the first network", func() bool {
				return strings.Contains(d.must(t, "exec", "client", "ip", "route"), "default via "+gateway+" dev eth0")
			})
		}
		d.must(t, "rm", "--force", "client")
	}
	d.must(t, "rm", "--force", "server")
	d.must(t, "network", "rm", "own", "further")
}

// shared has a container join the network of another one, which only works in the host's kernel.
func (d *docker) shared(t *testing.T) {
	d.must(t, "run", "--detach", "--name", "server", "e2e", "sleep", "1000")
	defer d.must(t, "rm", "--force", "server")
	o := d.try(t, "run", "--rm", "--network", "container:server", "e2e", "sh", "-c", "ip -o addr show eth0")
	address := d.inspect(t, "server", "{{.NetworkSettings.IPAddress}}")
	switch isolated := d.runtime.isolated(); {
	case isolated && (o.code == 0 || !strings.Contains(o.stderr, "is served by the sandbox of container")):
		t.Errorf("it is not refused: %+v", o)
	case !isolated && !strings.Contains(o.stdout, "inet "+address+"/"):
		t.Errorf("it has not %s: %+v", address, o)
	}
	if out := d.must(t, "exec", "server", "ip", "-o", "addr", "show", "eth0"); !strings.Contains(out, "inet "+address+"/") {
		t.Errorf("the other one has %q afterwards", out)
	}
}
