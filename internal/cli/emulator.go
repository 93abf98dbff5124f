package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

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
	go io.Copy(program, os.Stdin)
	go func() {
		// It ends with EIO when the last process has closed a pseudoterminal.
		io.Copy(os.Stdout, program)
		close(e.output)
	}()
	return nil
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
