package cli

import (
	"os"

	"coffer/internal/scm"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the user's terminal to a sandbox's own, whose line discipline the
// sandbox's kernel has.
type terminal struct {
	emulator
	ours, theirs *os.File
}

func newTerminal() (*terminal, error) {
	ours, theirs, err := scm.Pair("console")
	if err != nil {
		return nil, err
	}
	return &terminal{emulator: emulator{user: os.Stdin}, ours: ours, theirs: theirs}, nil
}

// onTerminal reports whether the program is to have a terminal of its own: coffer
// has one for its input and output.
func onTerminal() bool { return term.IsTerminal(0) && term.IsTerminal(1) && inForeground() }

// inForeground reports whether coffer may use its terminal: a background job of
// a shell would be stopped by setting its modes.
func inForeground() bool {
	pgrp, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// relay joins the two terminals, once the sandbox has its end.
func (t *terminal) relay() error {
	t.theirs.Close()
	return t.connect(t.ours)
}

func (t *terminal) size() (rows, cols uint16) {
	w, h, err := term.GetSize(0)
	if err != nil {
		return 24, 80
	}
	return uint16(h), uint16(w)
}

func (t *terminal) close() {
	t.restore()
	t.ours.Close()
	t.theirs.Close()
}
