package kernel

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sandboxSpec is that of a sandbox's first container, as implementations of CRI
// make it, and memberSpec that of another one in it.
func sandboxSpec(args ...string) *specs.Spec {
	s := spec(args...)
	s.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "pod"}
	return s
}

func memberSpec(sandbox isolation.PID, sharePID bool, args ...string) *specs.Spec {
	s := spec(args...)
	s.Annotations = map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "pod"}
	s.Hostname = ""
	path := func(kind string) string { return fmt.Sprintf("/proc/%d/ns/%s", sandbox.PID, kind) }
	s.Linux.Namespaces = []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace, Path: path("ipc")}, {Type: specs.UTSNamespace, Path: path("uts")},
		{Type: specs.NetworkNamespace, Path: path("net")},
	}
	if sharePID {
		s.Linux.Namespaces[1].Path = path("pid")
	}
	return s
}

func TestTwoContainers(t *testing.T) {
	p := newPod(t)
	first := p.mustCreate("pod", sandboxSpec("sleep", "1000"))
	first.start()
	b := p.mustCreate("b", memberSpec(first.Init, false, "sh", "-c", "echo $$ $(hostname); echo secret >/tmp/b; exec sleep 1000"))
	if on, err := New().Started(b.Container); on || err != nil {
		t.Errorf("started before start: %v, %v", on, err)
	}
	b.start()
	if on, err := New().Started(b.Container); !on || err != nil {
		t.Errorf("started: %v, %v", on, err)
	}
	// A PID namespace and mounts of its own, the sandbox's host name.
	if got, w := b.exec("sh", "-c", "until [ -e /tmp/b ]; do :; done; echo $$ $(hostname); echo /proc/[0-9]*"); !strings.Contains(got, " box\n/proc/1 ") || w != 0 {
		t.Errorf("%q, %#x", got, w)
	}
	list, err := New().Processes(b.Container)
	if err != nil || len(list) != 1 || list[0].PID != 1 {
		t.Errorf("its processes: %+v, %v", list, err)
	}
	list, err = New().Processes(first.Container)
	if err != nil || len(list) != 1 || list[0].Command != "sleep 1000" {
		t.Errorf("the sandbox's processes: %+v, %v", list, err)
	}

	if u, err := New().Usage(b.Container); err != nil || u.Tasks != 1 || !u.Shares || u.Memory == 0 || u.CPUUser+u.CPUSystem == 0 {
		t.Errorf("it uses %+v, %v", u, err)
	}
	if u, err := New().Usage(first.Container); err != nil || u.Tasks != 1 || u.Shares {
		t.Errorf("the sandbox's uses %+v, %v", u, err)
	}
	if err := New().CheckPause(b.Container); err == nil || !strings.Contains(err.Error(), "container pod") {
		t.Errorf("pausing one container of two: %v", err)
	}
	if err := New().CheckPause(first.Container); err != nil {
		t.Errorf("pausing the sandbox: %v", err)
	}

	// Its end is its own affair.
	if err := New().Signal(b.Container, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if w := p.wait(b.Init); w.ExitStatus() != 128+9 {
		t.Errorf("a container that is killed ends with %#x", w)
	}
	if err := New().Destroy(b.Container); err != nil {
		t.Error(err)
	}
	if alive, err := first.Init.Alive(); !alive || err != nil {
		t.Errorf("the sandbox has ended with its container: %v", err)
	}

	// The sandbox's end is that of all.
	c := p.mustCreate("c", memberSpec(first.Init, false, "sleep", "1000"))
	if err := New().Signal(first.Container, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if w := p.wait(c.Init); w.ExitStatus() != 128+9 {
		t.Errorf("a container whose sandbox is killed ends with %#x", w)
	}
	if w := p.wait(first.Init); w.Signal() != unix.SIGKILL {
		t.Errorf("a sandbox that is killed ends with %#x", w)
	}
}

// TestSharedPIDs has containers see each other, and one end that is not the
// first process that it sees.
func TestSharedPIDs(t *testing.T) {
	p := newPod(t)
	first := p.mustCreate("pod", sandboxSpec("sleep", "1000"))
	first.start()
	b := p.mustCreate("b", memberSpec(first.Init, true, "sh", "-c", "sleep 2000 & exec sleep 1000"))
	b.start()
	running := func(c *box) (commands []string) {
		list, err := New().Processes(c.Container)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			commands = append(commands, p.Command)
		}
		slices.Sort(commands)
		return commands
	}
	for !slices.Equal(running(b), []string{"sleep 1000", "sleep 2000"}) { // the shell may have to get there
	}
	if got, _ := first.exec("sh", "-c", "cat /proc/*/cmdline"); !strings.Contains(got, "2000") {
		t.Errorf("the sandbox does not see %q", got)
	}
	if err := New().Signal(b.Container, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	p.wait(b.Init)
	// What its first process has left behind ends with all, or with Destroy.
	if err := New().Signal(b.Container, unix.SIGTERM, true); err != nil {
		t.Error(err)
	}
	for len(running(b)) > 0 {
	}
	if err := New().Destroy(b.Container); err != nil {
		t.Error(err)
	}
	if got := running(first); !slices.Equal(got, []string{"sleep 1000"}) {
		t.Errorf("left in the sandbox: %q", got)
	}
}

func TestNoSandbox(t *testing.T) {
	p := newPod(t)
	first := p.mustCreate("pod", sandboxSpec("true"))
	first.start()
	p.wait(first.Init)
	s := memberSpec(first.Init, false, "true")
	if _, err := p.create("b", s); err == nil || !strings.Contains(err.Error(), "sandbox") {
		t.Errorf("a container in a sandbox that has ended: %v", err)
	}
	s.Annotations["io.kubernetes.cri.sandbox-id"] = "../x"
	if _, err := p.create("c", s); err == nil || !strings.Contains(err.Error(), "sandbox-id") {
		t.Errorf("a sandbox with a path: %v", err)
	}
}

// TestNothingStays has many containers and programs come and go in one sandbox: the
// sentry holds no more descriptors than before.
func TestNothingStays(t *testing.T) {
	p := newPod(t)
	first := p.mustCreate("pod", sandboxSpec("sleep", "1000"))
	first.start()
	descriptors := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", first.Init.PID))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	come := func(id string) {
		b := p.mustCreate(id, memberSpec(first.Init, false, "sleep", "1000"))
		b.start()
		if _, w := b.exec("true"); w != 0 {
			t.Errorf("exec ended with %#x", w)
		}
		if err := New().Destroy(b.Container); err != nil {
			t.Error(err)
		}
		c := newConsole(t)
		pid, err := New().Exec(first.Container, &isolation.Exec{Process: terminalSpec("true").Process, Streams: c.streams})
		if err != nil {
			t.Fatal(err)
		}
		c.receive()
		p.wait(pid)
		c.master.Close()
	}
	come("warm")
	const rounds, slack = 15, 5
	before := descriptors()
	for i := range rounds {
		come(strconv.Itoa(i))
	}
	// What has ended is given back soon, and not at once.
	after := descriptors()
	for until := time.Now().Add(time.Minute); after > before+slack && time.Now().Before(until); after = descriptors() {
		time.Sleep(time.Millisecond)
	}
	if after > before+slack {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
