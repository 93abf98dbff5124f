package boot

import (
	"fmt"
	"io"
	"os"
	"sync"

	"coffer/internal/sentry/fs/devpts"

	"golang.org/x/sys/unix"
)

// terminal is a terminal of the sandbox's own, whose bytes are relayed to and
// from a stream that was donated for it. A nil terminal is none.
type terminal struct {
	*devpts.Console
	stream  *os.File
	relayed chan struct{}
	all     *terminals
	once    sync.Once
}

// terminals are those that are relayed now.
type terminals struct {
	mu   sync.Mutex
	open map[*terminal]struct{}
}

// newTerminal makes the terminal of a process.
func (s *sandbox) newTerminal(p *Process) (*terminal, error) {
	c, err := s.pts.NewConsole(p.Rows, p.Cols)
	if err != nil {
		return nil, fmt.Errorf("making the console: %w", err)
	}
	c.SetOwner(p.UID)
	if !s.served() { // who asks a server has done it
		if err := unix.SetNonblock(p.Console, true); err != nil {
			c.Close()
			return nil, fmt.Errorf("preparing the console's stream: %w", err)
		}
	}
	t := &terminal{
		Console: c, stream: os.NewFile(uintptr(take(&p.Console)), "console"),
		relayed: make(chan struct{}), all: &s.terminals,
	}
	t.all.add(t)
	go func() {
		io.Copy(c, t.stream)
		if s.served() {
			// The user's terminal is gone: as on Linux this hangs up.
			t.close()
		}
	}()
	go func() {
		io.Copy(t.stream, c)
		close(t.relayed)
		if s.served() {
			// No program has it open: whoever reads the user's end is to know.
			t.close()
		}
	}()
	return t, nil
}

func (a *terminals) add(t *terminal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = make(map[*terminal]struct{})
	}
	a.open[t] = struct{}{}
}

// finish passes on what programs wrote last and ends the streams. The caller
// knows that no program is left.
func (a *terminals) finish() {
	a.mu.Lock()
	var list []*terminal
	for t := range a.open {
		list = append(list, t)
	}
	a.mu.Unlock()
	for _, t := range list {
		<-t.relayed
		t.close()
	}
}

// resize tells programs of the window's new size.
func (t *terminal) resize(rows, cols uint16) {
	if t != nil {
		t.SetSize(rows, cols)
	}
}

// follow makes the window as large as the user's terminal, if that has a size.
func (t *terminal) follow() {
	if t == nil {
		return
	}
	if rows, cols, err := t.outerSize(); err == nil && rows|cols != 0 {
		t.SetSize(rows, cols)
	}
}

// outerSize is the size of the user's terminal, if the stream is one.
func (t *terminal) outerSize() (rows, cols uint16, err error) {
	raw, err := t.stream.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var size *unix.Winsize
	if cerr := raw.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) }); cerr != nil {
		return 0, 0, cerr
	}
	if err != nil {
		return 0, 0, err
	}
	return size.Row, size.Col, nil
}

// close hangs the terminal up and ends the stream.
func (t *terminal) close() {
	if t == nil {
		return
	}
	t.once.Do(func() {
		t.all.mu.Lock()
		delete(t.all.open, t)
		t.all.mu.Unlock()
		t.Console.Close()
		t.stream.Close()
	})
}
