package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/internal/isolation"
	"coffer/internal/scm"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// refuse is a profile that lets everything through but mkdir.
func refuse(action specs.LinuxSeccompAction) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: action}},
	}
}

// TestSeccomp: the profile is in force for the program and for exec, with
// no_new_privs and without.
func TestSeccomp(t *testing.T) {
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("noNewPrivileges=%v", private), func(t *testing.T) {
			const script = "mkdir /dev/new 2>&1; cat"
			spec := shell(bundle(t), script)
			errno := uint(unix.EXDEV)
			spec.Linux.Seccomp = refuse(specs.ActErrno)
			spec.Linux.Seccomp.Syscalls[0].ErrnoRet = &errno
			spec.Process.NoNewPrivileges = private
			c := create(t, spec)
			c.start()
			out := newOutput(t)
			pid, err := New().Exec(c.Container, &isolation.Exec{Process: spec.Process, Streams: isolation.Streams{Stdio: [3]*os.File{nil, out.write, out.write}}})
			if err != nil {
				t.Fatal(err)
			}
			const want = "mkdir: can't create directory '/dev/new': Invalid cross-device link\n"
			if got := out.all(); got != want {
				t.Errorf("exec says %q", got)
			}
			waitFor(pid.PID)
			c.in.Close()
			if got := c.out.all(); got != want {
				t.Errorf("the program says %q", got)
			}
		})
	}
}

// TestSeccompListener: the agent gets the filter's listener with the state of
// each process.
func TestSeccompListener(t *testing.T) {
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("noNewPrivileges=%v", private), func(t *testing.T) {
			spec := shell(bundle(t), "cat")
			path := filepath.Join(t.TempDir(), "agent.sock")
			spec.Linux.Seccomp = refuse(specs.ActNotify)
			spec.Linux.Seccomp.ListenerPath, spec.Linux.Seccomp.ListenerMetadata = path, "meta"
			spec.Process.NoNewPrivileges = private
			agent, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Bind(agent, &unix.SockaddrUnix{Name: path})
			}
			if err == nil {
				err = unix.Listen(agent, 8)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(agent)
			c := create(t, spec)
			c.start()
			e, err := New().Exec(c.Container, &isolation.Exec{Process: spec.Process, Streams: isolation.Streams{Stdio: c.request.Stdio}})
			if err != nil {
				t.Fatal(err)
			}
			status := specs.StateCreating // when the filter is installed
			if private {
				status = specs.StateCreated
			}
			for _, want := range []struct {
				pid    int
				status specs.ContainerState
			}{{c.Init.PID, status}, {e.PID, specs.StateRunning}} {
				state := receiveListener(t, agent)
				if state.Pid != want.pid || state.State.Status != want.status || state.Metadata != "meta" {
					t.Errorf("the agent was told %+v, want %+v", state, want)
				}
			}
			// The PID namespace ends when all in it are reaped, and this one is
			// this process's child.
			c.in.Close()
			waitFor(e.PID)
		})
	}
}

func receiveListener(t *testing.T, agent int) (state specs.ContainerProcessState) {
	t.Helper()
	fd, _, err := unix.Accept4(agent, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	text, rights := make([]byte, 1<<16), make([]byte, 100)
	n, rn, _, _, err := unix.Recvmsg(fd, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := scm.Descriptors(rights[:rn])
	if err != nil || len(fds) != 1 {
		t.Fatalf("the agent received %d files: %v", len(fds), err)
	}
	defer unix.Close(fds[0])
	if err := json.Unmarshal(text[:n], &state); err != nil {
		t.Fatalf("the agent received %q: %v", text[:n], err)
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fds[0])); err != nil || !strings.Contains(link, "seccomp") {
		t.Errorf("the agent received %q, %v", link, err)
	}
	return state
}

// TestSeccompForbidsStart: a filter under which the program cannot be started is refused
// beforehand. With SCMP_ACT_KILL it would end one thread of init, and who waits for init would
// wait for ever.
func TestSeccompForbidsStart(t *testing.T) {
	for _, action := range []specs.LinuxSeccompAction{specs.ActKill, specs.ActKillProcess, specs.ActErrno, specs.ActTrap, specs.ActTrace} {
		for _, c := range []struct {
			call    string
			private bool
		}{{"execve", true}, {"execve", false}, {"futex", false}} {
			spec := shell(bundle(t), "true")
			spec.Process.NoNewPrivileges = c.private
			spec.Linux.Seccomp = refuse(action)
			spec.Linux.Seccomp.Syscalls[0].Names = []string{c.call}
			mustFail(t, prepare(t, spec).create(), "linux.seccomp refuses "+c.call+"(2)", "SCMP_ACT_ALLOW")
		}
	}
	spec := shell(bundle(t), "true")
	spec.Process.NoNewPrivileges = true
	spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActKill}
	mustFail(t, prepare(t, spec).create(), "linux.seccomp refuses execve(2)")
	// The filter comes late, but its listener is told of after it.
	spec.Linux.Seccomp = refuse(specs.ActErrno)
	spec.Linux.Seccomp.ListenerPath = "/agent"
	spec.Linux.Seccomp.Syscalls[0].Names = []string{"sendmsg"}
	spec.Linux.Seccomp.Syscalls = append(spec.Linux.Seccomp.Syscalls, specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActNotify})
	mustFail(t, prepare(t, spec).create(), "linux.seccomp refuses sendmsg(2), which it takes to start the program: give sendmsg the action SCMP_ACT_ALLOW")
}

// TestSeccompKillsThread: a filter may look at arguments before it kills the thread that is to
// become the program, or refuse what is not looked at beforehand. Nobody waits for ever then.
func TestSeccompKillsThread(t *testing.T) {
	// By the address of the path, which is never 0.
	byPath := []specs.LinuxSeccompArg{{Index: 0, Value: 0, Op: specs.OpNotEqual}}
	spec := shell(bundle(t), "echo it ran")
	spec.Process.NoNewPrivileges = true
	spec.Linux.Seccomp = refuse(specs.ActKill)
	spec.Linux.Seccomp.Syscalls[0].Names, spec.Linux.Seccomp.Syscalls[0].Args = []string{"execve"}, byPath
	c := create(t, spec)
	mustFail(t, New().Start(c.Container), "linux.seccomp", "SCMP_ACT_ALLOW")
	if ws := waitFor(c.Init.PID); !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("init ended with %#x", ws)
	}

	spec.Process.NoNewPrivileges = false
	spec.Linux.Seccomp.Syscalls[0].Names, spec.Linux.Seccomp.Syscalls[0].Args = []string{"listen"}, nil
	mustFail(t, prepare(t, spec).create(), "linux.seccomp", "SCMP_ACT_ALLOW")

	// What is executed has the container's filter, and may have no_new_privs of its own.
	spec = shell(bundle(t), "cat")
	spec.Process.NoNewPrivileges = true
	spec.Linux.Seccomp = refuse(specs.ActKill)
	spec.Linux.Seccomp.Syscalls[0].Names = []string{"setgroups"}
	c = create(t, spec)
	c.start()
	private := *spec.Process
	private.NoNewPrivileges = false
	_, err := New().Exec(c.Container, &isolation.Exec{Process: &private, Streams: isolation.Streams{Stdio: c.request.Stdio}})
	mustFail(t, err, "linux.seccomp", "SCMP_ACT_ALLOW")
	c.in.Close()
}

// TestSeccompDeadlock: an agent can't be asked before it knows that it will be.
func TestSeccompDeadlock(t *testing.T) {
	spec := bundle(t)
	spec.Linux.Seccomp = refuse(specs.ActNotify)
	spec.Linux.Seccomp.ListenerPath = "/agent"
	spec.Linux.Seccomp.Syscalls = append(spec.Linux.Seccomp.Syscalls, specs.LinuxSyscall{Names: []string{"sendmsg"}, Action: specs.ActNotify})
	mustFail(t, prepare(t, spec).create(), "linux.seccomp.syscalls[1]", "sendmsg")
}
