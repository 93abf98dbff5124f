package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"coffer/internal/console"
	"coffer/internal/isolation/kernel"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pty joins the user's terminal to a container's pseudoterminal: coffer holds
// its master, and is the terminal emulator.
type pty struct {
	// user is the user's terminal.
	user  *os.File
	state *term.State
	// receive is where the wall's master comes in, and send what the wall is given.
	receive, send *os.File
	master        *os.File
	output        chan struct{}
	once          sync.Once
}

// drainTime is for how long the end of the output is waited for when the
// program has ended: a terminal that nobody reads would hold it up forever.
const drainTime = 2 * time.Second

// newPty finds the user's terminal.
func newPty() (*pty, error) {
	user, err := userTerminal()
	if err != nil {
		return nil, err
	}
	receive, send, err := kernel.SocketPair("console")
	if err != nil {
		return nil, err
	}
	return &pty{user: user, receive: receive, send: send, output: make(chan struct{})}, nil
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
		return nil, fmt.Errorf("the program is to have a terminal, and coffer has none to join it to (%w): set process.terminal to false, or detach and name a --console-socket", err)
	}
	return tty, nil
}

// connect takes the master that the wall has sent, and passes bytes both ways.
func (p *pty) connect() error {
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
	// A background job of a shell would be stopped by this; and so it should be.
	if p.state, err = term.MakeRaw(int(p.user.Fd())); err != nil {
		return fmt.Errorf("the user's terminal: %w", err)
	}
	go io.Copy(p.master, os.Stdin)
	go func() {
		// It ends with EIO when the last process has closed the terminal.
		io.Copy(os.Stdout, p.master)
		close(p.output)
	}()
	return nil
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

// drain waits until all that the program wrote is on the screen.
func (p *pty) drain() {
	if p.master == nil {
		return
	}
	select {
	case <-p.output:
	case <-time.After(drainTime):
	}
}

// restore gives the user's terminal back as it was.
func (p *pty) restore() {
	p.once.Do(func() {
		if p.state != nil {
			term.Restore(int(p.user.Fd()), p.state)
		}
		p.receive.Close()
		p.send.Close()
	})
}
