package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/test/screen"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// patience is how long a busy host may take for what a user waits for.
const patience = screen.Patience

// TestTerminal sits at an interactive bash.
func TestTerminal(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	shell := []string{"bash", "--norc", "--noprofile", "-i"}
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			needsRoot(t, w.name)
			var argv []string
			if w.args != nil {
				argv = append(append([]string{coffer(t)}, w.args...), "--env", "PS1=ready> ", "--cwd", "/", "--")
				argv = append(argv, shell...)
			} else {
				argv = append([]string{"env", "PS1=ready> "}, shell...)
			}
			m, cmd := screen.Open(t, argv...)
			m.Expect("ready> ")
			m.Type("stty size\n")
			m.Expect("30 100")
			m.Expect("ready> ")
			atShell(m)
			leaveShell(t, m, cmd)
		})
	}
}

// TestContainerTerminal sits at a shell in a container, and at another one that
// exec started there.
func TestContainerTerminal(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		id := r.id("terminal-" + r.isolation)
		bundle := r.bundle("a", withTerminal, "sh")
		m, cmd := screen.Open(t, r.command("run", "--bundle", bundle, id)...)
		m.Expect("ready> ")
		m.Type("stty size\n")
		m.Expect("30 100")
		m.Expect("ready> ")
		atShell(m)

		second, execed := screen.Open(t, r.command("exec", "--tty", id, "sh")...)
		second.Expect("ready> ")
		second.Type("stty size\n")
		second.Expect("30 100")
		second.Expect("ready> ")
		atShell(second)
		leaveShell(t, second, execed)
		r.expect(id, "running")

		leaveShell(t, m, cmd)
		if list := r.list(); len(list) != 0 {
			t.Errorf("left: %q", list)
		}
	})
}

// TestConsoleSocket lets somebody else hold the terminals of a container, as
// engines do.
func TestConsoleSocket(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		id := r.id("console-" + r.isolation)
		bundle := r.bundle("a", withTerminal, "sh")
		m := r.onConsoleSocket("create", "--bundle", bundle, id)
		r.must("start", id)
		m.Expect("ready> ")
		atShell(m)

		second := r.onConsoleSocket("exec", "--detach", "--tty", id, "sh")
		second.Expect("ready> ")
		atShell(second)
		second.Type("exit\n")
		r.expect(id, "running")
		m.Type("exit\n")
		r.await(id, "stopped")
		r.must("delete", id)

		id = r.id("console-run-" + r.isolation)
		m = r.onConsoleSocket("run", "--detach", "--bundle", bundle, id)
		m.Expect("ready> ")
		m.Type("exit\n")
		r.await(id, "stopped")
		r.must("delete", id)
	})
}

// TestTypedByAPipe: a program on a terminal whose input comes from elsewhere
// gets all of it, and its end; and ^C still reaches it.
func TestTypedByAPipe(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		const cat = "echo started; cat; echo ended; exit 5"
		for i, c := range []struct{ name, program, input, typed, want string }{
			{"lines", cat, "printf 'one\\ntwo\\n' |", "", "two\r\nended"},
			{"without an end", cat, "printf 'one' |", "", "oneended"},
			{"none", cat, "</dev/null", "", "ended"},
			{"^C", "trap 'echo interrupted; exit 5' INT; echo started; sleep 1000 & wait", "sleep 1000 |", "\x03", "interrupted"},
		} {
			t.Run(c.name, func(t *testing.T) {
				bundle := r.bundle(strconv.Itoa(i), withTerminal, "sh", "-c", c.program)
				run := strings.Join(r.command("run", "--bundle", bundle, r.id("typed-"+r.isolation)), " ")
				if strings.HasPrefix(c.input, "<") {
					run += " " + c.input
				} else {
					run = c.input + " " + run
				}
				// ^C is for this shell and sleep, too.
				m, cmd := screen.Open(t, "sh", "-c", "trap : INT; "+run+"; echo status $?")
				m.Expect("started")
				m.Type(c.typed)
				m.Expect(c.want)
				m.Expect("status 5")
				if !m.Cooked() {
					t.Error("the terminal was left in another mode than it was in")
				}
				cmd.Wait()
			})
		}
	})
}

// withTerminal gives a container's shell a terminal, and a prompt to wait for.
func withTerminal(s *specs.Spec) {
	s.Process.Terminal = true
	s.Process.Env = append(s.Process.Env, "PS1=ready> ", "TERM=dumb")
}

// onConsoleSocket runs a command with a console socket, and sits at the terminal
// that comes out of it.
func (r *kernelRuntime) onConsoleSocket(verb string, args ...string) *screen.Screen {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	r.must(append([]string{verb, "--console-socket", path}, args...)...)
	conn, err := l.AcceptUnix()
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		r.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		r.t.Fatalf("the console socket got %d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		r.t.Fatalf("the console socket got %d descriptors, %v", len(fds), err)
	}
	master := os.NewFile(uintptr(fds[0]), "master")
	r.t.Cleanup(func() { master.Close() })
	return screen.At(r.t, master)
}

// atShell does at an interactive shell what people do: ^C, ^Z, fg, line editing,
// changes of the window's size. The shell's prompt is "ready> ".
func atShell(m *screen.Screen) {
	m.Type("echo on $(tty)\n")
	m.Expect("on /dev/pts/[0-9]+\r")
	m.Expect("ready> ")

	// What is typed before the shell has given its terminal to the command would
	// be the shell's. So commands say when they are there; the quotes keep their
	// word from what the terminal echoes.
	const job = `sh -c 'echo st""arted; while read -r word; do echo "$word"-pong; done'` + "\n"
	m.Type(job)
	m.Expect("started")
	m.Type("\x03") // ^C
	m.Expect("ready> ")
	m.Type("echo status $?\n")
	m.Expect("status 130")
	m.Expect("ready> ")

	m.Type(job)
	m.Expect("started")
	m.Type("\x1a") // ^Z
	m.Expect("Stopped")
	m.Expect("ready> ")
	m.Type("jobs\n")
	m.Expect("Stopped.* +sh -c .*pong")
	m.Expect("ready> ")
	m.Type("fg\n")
	m.Expect("sh -c .*pong")
	m.Type("ping\n") // for which it must be in the foreground
	m.Expect("ping-pong")
	m.Type("\x03")
	m.Expect("ready> ")

	m.Type(`sh -c 'echo st""arted; exec cat'` + "\n")
	m.Expect("started")
	m.Type("typo\x7f\x7fed line\n")
	m.Expect("\r\ntyed line")
	m.Type("\x04") // ^D ends cat
	m.Expect("ready> ")

	m.Resize(40, 120)
	for size := ""; size != "40 120"; { // the sandbox hears of it a little later
		m.Type("stty size\n")
		size = m.Expect(`\d+ \d+`)
		m.Expect("ready> ")
	}
}

// leaveShell ends the shell that cmd has brought, and so cmd, which must give
// the user's terminal back as it was.
func leaveShell(t *testing.T, m *screen.Screen, cmd *exec.Cmd) {
	t.Helper()
	// SIGTERM would be lost on a child that has not yet stopped to ignore it, as
	// busybox's shell does.
	m.Type("sleep 1000 & kill -KILL %1; wait; exit 7\n")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatal("the shell did not end")
	}
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit status %d, not 7; the screen last showed:\n%s", code, m.Shown())
	}
	if !m.Cooked() {
		t.Error("the terminal was left in another mode than it was in")
	}
}

// TestBackgroundJob runs coffer as a background job of a shell, which the
// shell's terminal would stop if coffer set its modes.
func TestBackgroundJob(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	for _, w := range walls[1:] {
		t.Run(w.name, func(t *testing.T) {
			needsRoot(t, w.name)
			job := coffer(t) + " " + strings.Join(w.args, " ") + " --cwd / -- sh -c 'sleep 0.3; echo from the job' & wait $!; echo status $?"
			m, cmd := screen.Open(t, "bash", "--norc", "--noprofile", "-ic", job)
			m.Expect("from the job")
			m.Expect("status 0")
			cmd.Wait()
		})
	}
}
