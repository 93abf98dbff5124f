package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// emulator is what coffer is to a program that has a terminal of its own: it joins
// that to the user's terminal, which the program never holds.
type emulator struct {
	// user is the user's terminal, and state how its modes were.
	user  *os.File
	state *term.State
	// output is closed when there is no more; nil before connect.
	output chan struct{}
	once   sync.Once
}

// drainTime is for how long the end of the output is waited for when the
// program has ended: a terminal that nobody reads would hold it up forever.
const drainTime = 2 * time.Second

// connect puts the user's terminal into raw mode and passes bytes both ways
// between the standard streams and the program's terminal.
func (e *emulator) connect(program *os.File) (err error) {
	// A background job of a shell would be stopped by this; and so it should be.
	if e.state, err = term.MakeRaw(int(e.user.Fd())); err != nil {
		return fmt.Errorf("the user's terminal: %w", err)
	}
	e.output = make(chan struct{})
	if term.IsTerminal(int(os.Stdin.Fd())) {
		go io.Copy(program, os.Stdin)
	} else {
		// The program's terminal gets no ^C typed by the user: it is a signal to
		// coffer, as before, which passes it on.
		if err := keepSignals(int(e.user.Fd())); err != nil {
			e.restore()
			return fmt.Errorf("the user's terminal: %w", err)
		}
		go typeIn(program, os.Stdin)
	}
	go func() {
		// It ends with EIO when the last process has closed a pseudoterminal.
		io.Copy(os.Stdout, program)
		close(e.output)
	}()
	return nil
}

// keepSignals lets a terminal in raw mode make signals of ^C and its kin.
func keepSignals(fd int) error {
	modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	modes.Lflag |= unix.ISIG
	return unix.IoctlSetTermios(fd, unix.TCSETS, modes)
}

// endOfFile is what ends the input of a program at a terminal (^D), unless it has
// changed that: VEOF of termios(3).
const endOfFile = 4

// typeIn types what is in a file or comes from a pipe, and ends the input with it,
// which a terminal does not do by itself.
func typeIn(program io.Writer, input io.Reader) {
	last := lastByte{'\n'}
	io.Copy(program, io.TeeReader(input, &last))
	end := []byte{endOfFile}
	if last.b != '\n' {
		end = append(end, endOfFile) // the first one only ends the line
	}
	program.Write(end)
}

// lastByte keeps the last byte that was written.
type lastByte struct{ b byte }

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return len(p), nil
}

// drain waits until all that the program wrote is on the screen.
func (e *emulator) drain() {
	if e.output == nil {
		return
	}
	select {
	case <-e.output:
	case <-time.After(drainTime):
	}
}

// restore gives the user's terminal back as it was.
func (e *emulator) restore() {
	e.once.Do(func() {
		if e.state != nil {
			term.Restore(int(e.user.Fd()), e.state)
		}
	})
}
