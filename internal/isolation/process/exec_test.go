package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"coffer/internal/console"
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestExec: a program that is run in a container is in all its namespaces and
// in its root.
func TestExec(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"plain":          func(*specs.Spec) {},
		"user namespace": func(s *specs.Spec) { withUserNamespace(s) },
		"time namespace": func(s *specs.Spec) { setNamespace(s, specs.TimeNamespace, "") },
		"all namespaces": func(s *specs.Spec) {
			withUserNamespace(s)
			setNamespace(s, specs.TimeNamespace, "")
			setNamespace(s, specs.CgroupNamespace, "")
		},
		"the host's processes": func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := shell(bundle(t), "cat")
			change(spec)
			c := create(t, spec)
			c.start()
			const script = "for n in user ipc uts net pid cgroup time mnt; do ls -l /proc/self/ns/$n; done; ls /"
			out, ws, err := c.exec("/bin/sh", "-c", script+"; exit 3")
			if err != nil || ws.ExitStatus() != 3 {
				t.Fatalf("exec ended with %#x, %v: %s", ws, err, out)
			}
			for _, k := range namespaceKinds {
				if want := namespaceOf(t, c.Init.PID, k.name); !strings.Contains(out, want) {
					t.Errorf("exec is not in the %s namespace %s: %s", k.kind, want, out)
				}
			}
			if !strings.Contains(out, "bin\n") || strings.Contains(out, "usr/share") {
				t.Errorf("exec's root is not the container's: %s", out)
			}
		})
	}
}

// TestExecEnds: an exec in a container that has ended fails, and so does one
// whose number another process has now.
func TestExecEnds(t *testing.T) {
	c := create(t, bundle(t))
	c.run()
	_, _, err := c.exec("/bin/true")
	mustFail(t, err, "the container's first process has ended")
	c.Init, err = isolation.FindPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	c.Init.Started--
	_, _, err = c.exec("/bin/true")
	mustFail(t, err, "the container's first process has ended")
}

// terminal receives a terminal as engines do.
func terminal(t *testing.T) (socket *os.File, receive func() (*os.File, string)) {
	t.Helper()
	ours, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	receiver := os.NewFile(uintptr(ours.fd), "console")
	socket = os.NewFile(uintptr(theirs.fd), "console")
	t.Cleanup(func() { receiver.Close(); socket.Close() })
	return socket, func() (*os.File, string) {
		master, err := console.Receive(receiver)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close() })
		return master, master.Name()
	}
}

// readTerminal reads a terminal until nobody has it open any more.
func readTerminal(master *os.File) string {
	var b bytes.Buffer
	io.Copy(&b, master) // EIO at the end
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

// TestTerminal: the program of a container, and one that is run in it, have
// terminals of the container's own.
func TestTerminal(t *testing.T) {
	spec := shell(bundle(t), "tty; stty size; ls -l /dev/console | { read a b c d e f g; echo $e $f; }; echo $(id -u) > /dev/tty; cat")
	spec.Process.Terminal = true
	spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 111}
	spec.Process.User.UID = 1000
	c := prepare(t, spec)
	mustFail(t, c.create(), "--console-socket")
	c = prepare(t, spec)
	socket, receive := terminal(t)
	c.request.ConsoleSocket = socket
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	master, name := receive()
	if name != "/dev/pts/0" {
		t.Errorf("the terminal's name is %q", name)
	}
	c.start()

	second, receive := terminal(t)
	pid, err := New().Exec(c.Container, &isolation.Exec{
		Process: &specs.Process{Args: []string{"/bin/tty"}, Cwd: "/", Terminal: true},
		Streams: isolation.Streams{ConsoleSocket: second},
	})
	if err != nil {
		t.Fatal(err)
	}
	execMaster, name := receive()
	if name != "/dev/pts/1" {
		t.Errorf("the terminal's name for exec is %q", name)
	}
	if out := readTerminal(execMaster); out != "/dev/pts/1\n" {
		t.Errorf("exec's terminal shows %q", out)
	}
	waitFor(pid.PID)

	if _, err := master.Write([]byte("typed\n\x04")); err != nil {
		t.Fatal(err)
	}
	if out := readTerminal(master); !strings.HasPrefix(out, "/dev/pts/0\n33 111\n136, 0\n1000\n") || !strings.HasSuffix(out, "typed\n") {
		// What is typed is echoed too, at any time.
		if !strings.Contains(strings.ReplaceAll(out, "typed\n", ""), "/dev/pts/0\n33 111\n136, 0\n1000\n") {
			t.Errorf("the terminal shows %q", out)
		}
	}
	if ws := waitFor(c.Init.PID); ws.ExitStatus() != 0 {
		t.Errorf("the program ended with %#x", ws)
	}
}

// TestIdentity: limits, user, groups and no_new_privs are the spec's, with and
// without a user namespace, for the container and for exec.
func TestIdentity(t *testing.T) {
	for _, withUser := range []bool{false, true} {
		t.Run(fmt.Sprintf("user=%v", withUser), func(t *testing.T) {
			spec := bundle(t)
			if withUser {
				withUserNamespace(spec)
			}
			const script = "ulimit -Sn; ulimit -Hn; id -u; id -g; id -G; cat /proc/self/status | while read a b; do case $a in NoNewPrivs:) echo $b;; esac; done; echo $HOME; cat"
			process := specs.Process{
				Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"},
				User:            specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 6}},
				Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 99, Hard: 200}},
				NoNewPrivileges: true,
			}
			spec.Process = &process
			const want = "99\n200\n1000\n1001\n1001 5 6\n1\n/home/user\n"
			c := create(t, spec)
			c.start()
			out := newOutput(t)
			pid, err := New().Exec(c.Container, &isolation.Exec{Process: &process, Streams: isolation.Streams{Stdio: [3]*os.File{nil, out.write, out.write}}})
			if err != nil {
				t.Fatal(err)
			}
			if got := out.all(); got != want {
				t.Errorf("exec says %q, want %q", got, want)
			}
			waitFor(pid.PID)
			c.in.Close()
			if got := c.out.all(); got != want {
				t.Errorf("the program says %q, want %q", got, want)
			}
		})
	}
}

// prepareInCgroup is prepare with a cgroup of a name, which is destroyed when the
// test is over.
func prepareInCgroup(t *testing.T, spec *specs.Spec, name string) *container {
	t.Helper()
	group, err := hostcgroup.Plan(spec, name, hostcgroup.Options{})
	if err == nil {
		err = group.Create()
	}
	if err != nil {
		t.Skip("no cgroup to test with: ", err)
	}
	t.Cleanup(func() {
		if err := group.Destroy(); err != nil {
			t.Error(err)
		}
	})
	c := prepare(t, spec)
	c.request.Cgroup, c.Cgroup = group, group
	return c
}

// TestCgroup: the first process and those of exec are in the container's
// cgroup, and Processes and Signal find all that are.
func TestCgroup(t *testing.T) {
	spec := shell(bundle(t), "sleep 1000 & cat")
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	id := fmt.Sprintf("coffer-process-test-%d", os.Getpid())
	c := prepareInCgroup(t, spec, id)
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	c.start()
	e, err := New().Exec(c.Container, &isolation.Exec{
		Process: &specs.Process{Args: []string{"/bin/cat", "/proc/self/cgroup", "-"}, Cwd: "/"},
		Streams: isolation.Streams{Stdio: c.request.Stdio},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := New().Processes(c.Container)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]isolation.Process{}
	for _, p := range list {
		found[p.PID] = p
	}
	if found[e.PID].PID == 0 || found[c.Init.PID].PID == 0 || found[c.Init.PID].Threads != 1 {
		t.Errorf("init %d and exec %d are not among the processes: %+v", c.Init.PID, e.PID, list)
	}
	if p := found[e.PID]; p.PPID != os.Getpid() || p.Command != "/bin/cat /proc/self/cgroup -" {
		t.Errorf("exec is described as %+v", p)
	}
	// Wherever the program was moved, it sees its cgroup as the root.
	own, err := os.ReadFile(procPath(e.PID, "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "/"+id) {
			t.Errorf("exec is in cgroup %s", line)
		}
	}
	// It writes all of its file at once.
	text := make([]byte, 1<<16)
	n, err := c.out.read.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	inside := string(text[:n])
	if n := strings.Count(inside, ":/\n"); n == 0 || n != strings.Count(inside, "\n") {
		t.Errorf("inside, the cgroups are %s", inside)
	}
	if err := New().Signal(c.Container, unix.SIGTERM, true); err != nil {
		t.Error(err)
	}
	if ws := waitFor(e.PID); ws.Signal() != unix.SIGTERM {
		t.Errorf("exec ended with %#x", ws)
	}
	if err := New().Destroy(c.Container); err != nil {
		t.Error(err)
	}
	if pids, err := c.Cgroup.PIDs(true); len(pids) > 0 || err != nil {
		t.Errorf("left in the cgroup are %v, %v", pids, err)
	}
}

// TestMembersWithoutCgroup finds the processes by the PID namespace.
func TestMembersWithoutCgroup(t *testing.T) {
	c := create(t, shell(bundle(t), "sleep 1000 & echo; cat"))
	c.start()
	c.out.read.Read(make([]byte, 1))
	list, err := New().Processes(c.Container)
	if err != nil || len(list) < 2 {
		t.Errorf("the processes are %+v, %v", list, err)
	}
	if err := New().Signal(c.Container, unix.SIGKILL, true); err != nil {
		t.Error(err)
	}
	if ws := waitFor(c.Init.PID); ws.Signal() != unix.SIGKILL {
		t.Errorf("the program ended with %#x", ws)
	}
	spec := shell(bundle(t), "cat")
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	c = create(t, spec)
	mustFail(t, New().Signal(c.Container, unix.SIGTERM, true), "neither a cgroup nor a pid namespace")
}

// TestExecAffinity: an exec is bound to the processors that the spec names.
func TestExecAffinity(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	last := 0
	for cpu := range 8 * len(all) * 8 {
		if all.IsSet(cpu) {
			last = cpu
		}
	}
	c := create(t, shell(bundle(t), "cat"))
	c.start()
	out := newOutput(t)
	pid, err := New().Exec(c.Container, &isolation.Exec{
		Process: &specs.Process{
			Args: []string{"/bin/cat", "/proc/self/status"}, Cwd: "/",
			ExecCPUAffinity: &specs.CPUAffinity{Initial: fmt.Sprint(last), Final: fmt.Sprint(last)},
		},
		Streams: isolation.Streams{Stdio: [3]*os.File{nil, out.write, out.write}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out.all(), fmt.Sprintf("Cpus_allowed_list:\t%d\n", last); !strings.Contains(got, want) {
		t.Errorf("there is no %q in %s", want, got)
	}
	waitFor(pid.PID)
}

// TestTightPids: a program can be the only process that its container may have.
func TestTightPids(t *testing.T) {
	spec := shell(bundle(t), "(true) 2>&1; echo; cat")
	one := int64(1)
	spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &one}}
	c := prepareInCgroup(t, spec, fmt.Sprintf("coffer-pids-test-%d", os.Getpid()))
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	out, _ := c.run()
	if !strings.Contains(out, "can't fork") {
		t.Errorf("the program could have another process: %q", out)
	}
	if err := New().Destroy(c.Container); err != nil {
		t.Error(err)
	}
}
