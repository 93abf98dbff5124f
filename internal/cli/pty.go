package cli

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/console"
	"coffer/internal/scm"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pty joins the user's terminal to a container's pseudoterminal, whose master
// coffer holds.
type pty struct {
	emulator
	// receive is where the wall's master comes in, and send what the wall is given.
	receive, send *os.File
	master        *os.File
}

// newPty finds the user's terminal.
func newPty() (*pty, error) {
	user, err := userTerminal()
	if err != nil {
		return nil, err
	}
	receive, send, err := scm.Pair("console")
	if err != nil {
		return nil, err
	}
	return &pty{emulator: emulator{user: user}, receive: receive, send: send}, nil
}

// userTerminal is the terminal among the standard streams, or else the one that
// the process belongs to.
func userTerminal() (*os.File, error) {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if term.IsTerminal(int(f.Fd())) {
			return f, nil
		}
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("the program is to have a terminal, and coffer has none to join it to (%w): do without (--tty of exec, process.terminal in config.json), or detach and name a --console-socket", err)
	}
	return tty, nil
}

// take takes the master that the wall has sent, and joins the terminals.
func (p *pty) take() error {
	p.send.Close()
	master, err := console.Receive(p.receive)
	if errors.Is(err, console.ErrNoMaster) {
		return fmt.Errorf("the container's terminal: %w: its first process ended before it made one", err)
	}
	if err != nil {
		return fmt.Errorf("the container's terminal: %w", err)
	}
	p.master = master
	p.resize()
	return p.emulator.connect(master)
}

// resize gives the container's terminal the size of the user's.
func (p *pty) resize() {
	if p.master == nil {
		return // it will have it from the start
	}
	if size, err := unix.IoctlGetWinsize(int(p.user.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

func (p *pty) close() {
	p.restore()
	p.receive.Close()
	p.send.Close()
}
