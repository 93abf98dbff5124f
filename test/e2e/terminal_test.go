package e2e

import (
	"os/exec"
	"testing"

	"coffer/test/screen"
)

// sitAt works at the terminal of a container's shell, which is ready: ^C, the
// terminal's size, and the shell's exit status, which the engine's command has.
func sitAt(t *testing.T, m *screen.Screen, cmd *exec.Cmd) {
	t.Helper()
	m.Type("sh -c 'echo st\"\"arted; exec cat'\n")
	m.Expect("started")
	m.Type("\x03")
	m.Expect("ready> ")
	m.Resize(40, 120)
	for size := ""; size != "40 120"; { // the container hears of it a little later
		m.Type("stty size\n")
		size = m.Expect(`\d+ \d+`)
		m.Expect("ready> ")
	}
	m.Type("exit 7\n")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v; the screen last showed:\n%s", cmd.ProcessState, m.Shown())
	}
}
