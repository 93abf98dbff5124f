package test

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// resetEnvironment makes what the tests start independent of who started the
// tests: programs speak English, take /tmp for temporary files, do not find a
// repository or a make(1) that is not theirs, and end by a hang-up or ^C, which
// nohup(1) and a shell's background jobs ignore.
func resetEnvironment() {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "GIT_"), strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "PYTHON"):
			os.Unsetenv(name)
		}
	}
	for _, name := range []string{
		"LANGUAGE", "TMPDIR", "POSIXLY_CORRECT", "BASH_ENV", "ENV", "PROMPT_COMMAND", "COLUMNS", "LINES",
		"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "TZ",
	} {
		os.Unsetenv(name)
	}
	os.Setenv("LANG", "C.UTF-8")
	os.Setenv("TERM", "dumb")
	syscall.Umask(0o022)
	// A process that this one starts ignores what this one does, but not what
	// this one handles.
	unheard := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(unheard, sig)
		}
	}
}
