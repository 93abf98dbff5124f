package cli

import (
	"io"
	"os"
	"sync"
	"time"

	"coffer/internal/isolation/kernel"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the user's terminal to a sandbox's own: coffer is the
// terminal emulator, the sandbox's kernel has the line discipline. So the
// guest never holds the user's terminal.
type terminal struct {
	state        *term.State
	ours, theirs *os.File
	output       chan struct{}
	once         sync.Once
}

func newTerminal() (*terminal, error) {
	ours, theirs, err := kernel.SocketPair("console")
	if err != nil {
		return nil, err
	}
	return &terminal{ours: ours, theirs: theirs, output: make(chan struct{})}, nil
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

// relay puts the user's terminal into raw mode and passes bytes both ways.
func (t *terminal) relay() {
	t.theirs.Close()
	t.state, _ = term.MakeRaw(0)
	go io.Copy(t.ours, os.Stdin)
	go func() {
		io.Copy(os.Stdout, t.ours)
		close(t.output)
	}()
}

// drain waits until all that the program wrote is on the screen.
func (t *terminal) drain() {
	select {
	case <-t.output:
	case <-time.After(2 * time.Second): // the user's terminal does not read
	}
}

func (t *terminal) size() (rows, cols uint16) {
	w, h, err := term.GetSize(0)
	if err != nil {
		return 24, 80
	}
	return uint16(h), uint16(w)
}

func (t *terminal) restore() {
	t.once.Do(func() {
		if t.state != nil {
			term.Restore(0, t.state)
		}
		t.ours.Close()
		t.theirs.Close()
	})
}
