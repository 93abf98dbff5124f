package test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"coffer/test/screen"
)

// patience is how long a busy host may take for what a user waits for.
const patience = screen.Patience

// TestTerminal sits at an interactive bash: line editing, ^C, ^Z, fg, window
// size, exit status.
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
			m.Type("stty size; tty | sed 's/[0-9]*$/N/'\n")
			m.Expect("30 100")
			m.Expect("/dev/pts/N")
			m.Expect("ready> ")

			// What is typed before the shell has given its terminal to the
			// command would be the shell's. So commands say when they are there;
			// the quotes keep their word from what the terminal echoes.
			const job = `sh -c 'echo st""arted; exec sed -u s/ping/pong/'` + "\n"
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
			m.Expect("Stopped +sh -c .*pong/'")
			m.Expect("ready> ")
			m.Type("fg\n")
			m.Expect("sh -c .*pong/'")
			m.Type("ping\n") // for which it must be in the foreground
			m.Expect("pong")
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
			m.Type("sleep 1000 & kill %1; wait; exit 7\n")
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
			needsRoot(t, w.name)
			job := coffer(t) + " " + strings.Join(w.args, " ") + " --cwd / -- sh -c 'sleep 0.3; echo from the job' & wait $!; echo status $?"
			m, cmd := screen.Open(t, "bash", "--norc", "--noprofile", "-ic", job)
			m.Expect("from the job")
			m.Expect("status 0")
			cmd.Wait()
		})
	}
}
