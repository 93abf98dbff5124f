package profile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The test binary is also the process that is filtered.
const role = "PROFILE_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if err := filtered(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// filtered installs the profile on standard input, hands out the listener, and
// makes a call.
func filtered() error {
	var p specs.LinuxSeccomp
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	program, err := Compile(&p)
	if err != nil {
		return err
	}
	if os.Getenv("PRIVS") == "" {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	listener, err := program.Install()
	if err != nil {
		return err
	}
	if listener != nil {
		if err := SendListener(p.ListenerPath, listener, &specs.ContainerProcessState{
			Version: specs.Version, Pid: os.Getpid(), Metadata: p.ListenerMetadata, State: specs.State{ID: "id"},
		}); err != nil {
			return err
		}
	}
	ask := func() {
		r, _, errno := unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0)
		fmt.Println(r, int(errno))
	}
	if os.Getenv("THREAD") == "" {
		ask()
		return nil
	}
	done := make(chan bool)
	go func() {
		ask()
		close(done)
	}()
	<-done
	return nil
}

// run runs a process under a profile with one rule, for getpriority(2).
func run(t *testing.T, p *specs.LinuxSeccomp, env ...string) *exec.Cmd {
	t.Helper()
	in, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), role+"=1"), env...)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func output(cmd *exec.Cmd) string {
	return strings.TrimSpace(cmd.Stdout.(*bytes.Buffer).String() + cmd.Stderr.(*bytes.Buffer).String())
}

func onePriority(action specs.LinuxSeccompAction) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getpriority"}, Action: action}}}
}

func TestInstalledFilter(t *testing.T) {
	for name, flags := range map[string][]specs.LinuxSeccompFlag{
		"no flags":     nil,
		"tsync, log":   {flagTSync, specs.LinuxSeccompFlagLog},
		"spec allow":   {specs.LinuxSeccompFlagSpecAllow},
		"for listener": {specs.LinuxSeccompFlagWaitKillableRecv},
	} {
		t.Run(name, func(t *testing.T) {
			p := onePriority(specs.ActErrno)
			e := uint(42)
			p.Syscalls[0].ErrnoRet, p.Flags = &e, flags
			cmd := run(t, p)
			if err := cmd.Wait(); err != nil || output(cmd) != fmt.Sprint(^uintptr(0), 42) {
				t.Errorf("%v: %s", err, output(cmd))
			}
		})
	}
}

// TestOtherThreads: they are Go's, and end with execve(2).
func TestOtherThreads(t *testing.T) {
	p := onePriority(specs.ActErrno)
	p.Flags = []specs.LinuxSeccompFlag{flagTSync}
	cmd := run(t, p, "THREAD=1")
	if err := cmd.Wait(); err != nil || !strings.HasSuffix(output(cmd), " 0") {
		t.Errorf("%v: %s", err, output(cmd))
	}
}

func TestInstallNeedsPrivileges(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root needs nothing else")
	}
	cmd := run(t, onePriority(specs.ActErrno), "PRIVS=1")
	if err := cmd.Wait(); err == nil || !strings.Contains(output(cmd), "process.noNewPrivileges") {
		t.Errorf("%v: %s", err, output(cmd))
	}
}

// notification and response are struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	ID         uint64
	PID, Flags uint32
	Data       [64]byte
}

type response struct {
	ID           uint64
	Value        int64
	Error, Flags uint32
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func TestAgentDecides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	listen, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	p := onePriority(specs.ActNotify)
	p.ListenerPath, p.ListenerMetadata = path, strings.Repeat("metadata ", 1000)
	p.Flags = []specs.LinuxSeccompFlag{flagTSync, specs.LinuxSeccompFlagWaitKillableRecv}
	cmd := run(t, p)
	conn, err := listen.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var data []byte
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	fd := -1
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		data = append(data, buf[:n]...)
		if oobn > 0 {
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			if err != nil {
				t.Fatal(err)
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil {
				t.Fatal(err)
			}
			fd = fds[0]
		}
		if n == 0 || err != nil {
			break
		}
	}
	defer unix.Close(fd)
	var state specs.ContainerProcessState
	if err := json.Unmarshal(data, &state); err != nil {
		t.Fatalf("%v: %q, %s", err, data, output(cmd))
	}
	if len(state.Fds) != 1 || state.Fds[0] != specs.SeccompFdName || state.Pid != cmd.Process.Pid || state.Metadata != p.ListenerMetadata || state.State.ID != "id" {
		t.Errorf("the state is %+v", state)
	}
	var n notification
	if err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
		t.Fatal(err)
	}
	if err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response{ID: n.ID, Value: 4321})); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || output(cmd) != "4321 0" {
		t.Errorf("%v: %s", err, output(cmd))
	}
}

func TestAgentThatIsNotThere(t *testing.T) {
	p := onePriority(specs.ActNotify)
	p.ListenerPath = filepath.Join(t.TempDir(), "agent")
	cmd := run(t, p)
	if err := cmd.Wait(); err == nil || !strings.Contains(output(cmd), "linux.seccomp.listenerPath") || !strings.Contains(output(cmd), p.ListenerPath) {
		t.Errorf("%v: %s", err, output(cmd))
	}
}
