package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a busy host may take for what a user waits for.
const patience = 2 * time.Minute

// terminal is a user at a pseudoterminal.
type terminal struct {
	t      *testing.T
	master *os.File
	mu     sync.Mutex
	seen   bytes.Buffer
	grew   chan struct{}
}

// openTerminal starts a command on a terminal of its own.
func openTerminal(t *testing.T, argv ...string) (*terminal, *exec.Cmd) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	term := &terminal{t: t, master: master, grew: make(chan struct{}, 1)}
	go func() {
		var b [4096]byte
		for {
			n, err := master.Read(b[:])
			term.mu.Lock()
			term.seen.Write(b[:n])
			term.mu.Unlock()
			select {
			case term.grew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return term, cmd
}

func (m *terminal) typed(s string) {
	if _, err := m.master.WriteString(s); err != nil {
		m.t.Fatalf("typing %q: %v", s, err)
	}
}

// expect waits until the screen shows what the expression matches, and
// forgets what came before its end.
func (m *terminal) expect(expr string) string {
	m.t.Helper()
	re := regexp.MustCompile(expr)
	limit := time.After(patience)
	for {
		m.mu.Lock()
		text := m.seen.String()
		if at := re.FindStringIndex(text); at != nil {
			found := text[at[0]:at[1]]
			m.seen.Next(at[1])
			m.mu.Unlock()
			return found
		}
		m.mu.Unlock()
		select {
		case <-m.grew:
		case <-limit:
			m.t.Fatalf("the terminal did not show %q but:\n%s", expr, text)
		}
	}
}

// TestTerminal sits at an interactive bash: line editing, ^C, ^Z, fg, window
// size, exit status.
func TestTerminal(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	shell := []string{"bash", "--norc", "--noprofile", "-i"}
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			var argv []string
			if w.args != nil {
				argv = append(append([]string{coffer(t)}, w.args...), "--env", "PS1=ready> ", "--cwd", "/", "--")
				argv = append(argv, shell...)
			} else {
				argv = append([]string{"env", "PS1=ready> "}, shell...)
			}
			m, cmd := openTerminal(t, argv...)
			m.expect("ready> ")
			m.typed("stty size; tty | sed 's/[0-9]*$/N/'\n")
			m.expect("30 100")
			m.expect("/dev/pts/N")
			m.expect("ready> ")

			// What is typed before the shell has given its terminal to the
			// command would be the shell's. So commands say when they are there;
			// the quotes keep their word from what the terminal echoes.
			const job = `sh -c 'echo st""arted; exec sed -u s/ping/pong/'` + "\n"
			m.typed(job)
			m.expect("started")
			m.typed("\x03") // ^C
			m.expect("ready> ")
			m.typed("echo status $?\n")
			m.expect("status 130")
			m.expect("ready> ")

			m.typed(job)
			m.expect("started")
			m.typed("\x1a") // ^Z
			m.expect("Stopped")
			m.expect("ready> ")
			m.typed("jobs\n")
			m.expect("Stopped +sh -c .*pong/'")
			m.expect("ready> ")
			m.typed("fg\n")
			m.expect("sh -c .*pong/'")
			m.typed("ping\n") // for which it must be in the foreground
			m.expect("pong")
			m.typed("\x03")
			m.expect("ready> ")

			m.typed(`sh -c 'echo st""arted; exec cat'` + "\n")
			m.expect("started")
			m.typed("typo\x7f\x7fed line\n")
			m.expect("\r\ntyed line")
			m.typed("\x04") // ^D ends cat
			m.expect("ready> ")

			if err := unix.IoctlSetWinsize(int(m.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
				t.Fatal(err)
			}
			for size := ""; size != "40 120"; { // the sandbox hears of it a little later
				m.typed("stty size\n")
				size = m.expect(`\d+ \d+`)
				m.expect("ready> ")
			}
			m.typed("sleep 1000 & kill %1; wait; exit 7\n")
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case <-done:
			case <-time.After(patience):
				cmd.Process.Kill()
				t.Fatal("the shell did not end")
			}
			if code := cmd.ProcessState.ExitCode(); code != 7 {
				m.mu.Lock()
				defer m.mu.Unlock()
				t.Errorf("exit status %d, not 7; the screen last showed:\n%s", code, strings.TrimSpace(m.seen.String()))
			}
		})
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
			job := coffer(t) + " " + strings.Join(w.args, " ") + " --cwd / -- sh -c 'sleep 0.3; echo from the job' & wait $!; echo status $?"
			m, cmd := openTerminal(t, "bash", "--norc", "--noprofile", "-ic", job)
			m.expect("from the job")
			m.expect("status 0")
			cmd.Wait()
		})
	}
}
