package kernel

import (
	"testing"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// placed makes a process in namespaces and a control group.
func placed(t *testing.T, k *Kernel, n *Namespaces, c *Cgroup) *Task {
	t.Helper()
	task, err := createIn(k, n, c)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func createIn(k *Kernel, n *Namespaces, c *Cgroup) (*Task, error) {
	return k.CreateProcess(ProcessConfig{
		Credentials: auth.New(0, 0, nil), FDs: vfs.NewFDTable(), Namespaces: n, Cgroup: c,
		FS: NewFSContext(nil, vfs.Path{}, vfs.Path{}, 0o22),
	})
}

func namespaces(t *testing.T, k *Kernel, c NamespaceConfig) *Namespaces {
	t.Helper()
	n, err := k.NewNamespaces(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestContainers has two processes with namespaces of their own beside the first
// one, and one that joins the second.
func TestContainers(t *testing.T) {
	first := newFakeTask(t, Config{})
	k := first.k
	own := k.NewCgroup()
	b := placed(t, k, namespaces(t, k, NamespaceConfig{Owner: auth.Initial, Hostname: "b"}), own)
	if b.PID() != InitPID || b.FirstPID() == InitPID || b.UTS().Hostname() != "b" || b.IPC() == first.IPC() || b.UnixSockets() == first.UnixSockets() {
		t.Errorf("PID %d, %d in the sandbox, host name %q", b.PID(), b.FirstPID(), b.UTS().Hostname())
	}
	joined, err := b.JoinNamespaces()
	if err != nil {
		t.Fatal(err)
	}
	c := placed(t, k, joined, own)
	if c.PIDs() != b.PIDs() || c.PID() != InitPID+1 || c.ThreadGroup().PPIDIn(c.PIDs()) != 0 || c.UTS() != b.UTS() || c.IPC() != b.IPC() {
		t.Errorf("one that joins has PID %d and parent %d", c.PID(), c.ThreadGroup().PPIDIn(c.PIDs()))
	}
	firsts, err := first.JoinNamespaces()
	if err != nil {
		t.Fatal(err)
	}
	d := placed(t, k, namespaces(t, k, NamespaceConfig{Owner: auth.Initial, UTS: firsts, IPC: firsts, Net: firsts, PID: firsts}), nil)
	firsts.Release()
	if d.PIDs() != first.PIDs() || d.UTS() != first.UTS() || d.IPC() != first.IPC() || d.UnixSockets() != first.UnixSockets() {
		t.Error("one that shares all has others")
	}
	if list := own.ThreadGroups(); len(list) != 2 || list[0] != b.ThreadGroup() || list[1] != c.ThreadGroup() {
		t.Errorf("the control group has %d processes", len(list))
	}
	if own.Kill(); !b.ThreadGroup().Ending() || !c.ThreadGroup().Ending() || d.ThreadGroup().Ending() {
		t.Error("not those in the control group are ending")
	}
	c.Discard()
	b.Discard()
	if list := own.ThreadGroups(); len(list) != 0 {
		t.Errorf("%d processes are left", len(list))
	}
	if _, err := b.JoinNamespaces(); err != unix.ESRCH {
		t.Errorf("joining one that has ended: %v", err)
	}
}

// TestRefusedProcess checks that what a process would have had is given back.
func TestRefusedProcess(t *testing.T) {
	first := newFakeTask(t, Config{MaxTasks: 1})
	k := first.k
	n := namespaces(t, k, NamespaceConfig{Owner: auth.Initial})
	if _, err := createIn(k, n, nil); err != unix.EAGAIN {
		t.Errorf("one too many: %v", err)
	}
	if refs := n.refs.Load(); refs != 0 {
		t.Errorf("%d references are left", refs)
	}
	if n := k.TaskCount(); n != 1 {
		t.Errorf("%d tasks are counted", n)
	}
	first.Discard()
	n = namespaces(t, k, NamespaceConfig{Owner: auth.Initial})
	if _, err := createIn(k, n, nil); err != unix.ESRCH {
		t.Errorf("after the first has ended: %v", err)
	}
	if refs := n.refs.Load(); refs != 0 {
		t.Errorf("%d references are left", refs)
	}
	if n := k.TaskCount(); n != 0 {
		t.Errorf("%d tasks are counted", n)
	}
}

// TestBehindGate ends a process that was not let run.
func TestBehindGate(t *testing.T) {
	task := newFakeTask(t, Config{ProtectInit: true})
	task.StartBehind(make(chan struct{}))
	task.ThreadGroup().Terminate(int32(unix.SIGTERM))
	if status := task.k.Wait(); status.Signal() != int32(unix.SIGTERM) {
		t.Errorf("status %#x", uint32(status))
	}
}

// TestCPULimitBehindGate: a process that waits to be let run is not ended by a limit that
// lets it run for no time.
func TestCPULimitBehindGate(t *testing.T) {
	task := newFakeTask(t, Config{ProtectInit: true})
	if _, err := task.group.limits.Set(unix.RLIMIT_CPU, RLimit{0, 0}, false); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	task.StartBehind(gate)
	time.Sleep(50 * time.Millisecond)
	if task.group.Ending() {
		t.Error("it ended before it was let run")
	}
	close(gate)
	if status := task.k.Wait(); status.Signal() != int32(unix.SIGKILL) {
		t.Errorf("status %#x", uint32(status))
	}
}

func TestTerminates(t *testing.T) {
	for sig, want := range map[unix.Signal]bool{
		unix.SIGTERM: true, unix.SIGKILL: true, unix.SIGSEGV: true, 64: true,
		0: false, unix.SIGCHLD: false, unix.SIGSTOP: false, unix.SIGTSTP: false, unix.SIGCONT: false, 65: false,
	} {
		if Terminates(int32(sig)) != want {
			t.Errorf("%v: %v", sig, !want)
		}
	}
}

// TestGroupTimes checks that the times of processes that are gone are kept.
func TestGroupTimes(t *testing.T) {
	first := newFakeTask(t, Config{})
	c := first.k.NewCgroup()
	task := placed(t, first.k, nil, c)
	task.group.mu.Lock()
	task.group.deadTimes = cpuTimes{user: 5e9, system: 7e9}
	task.group.mu.Unlock()
	before, _ := c.CPUTime()
	task.Discard()
	if user, system := c.CPUTime(); user != before || user < 5e9 || system < 7e9 {
		t.Errorf("%v and %v, %v before", user, system, before)
	}
}
