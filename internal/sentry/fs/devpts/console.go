package devpts

import (
	"io"
	"strconv"

	"coffer/internal/sentry/fs/tty"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Console is a pseudoterminal whose master end is in the sentry's own hands:
// what Read returns is for the user's screen, what is written is what the
// user typed. It is an io.ReadWriteCloser. Read and Write may be used at the
// same time, each by one goroutine.
type Console struct {
	terminal    *Terminal
	read, write waiter.Entry
	readable    waiter.Channel
	writable    waiter.Channel
	closed      chan struct{}
}

// NewConsole makes a console, which is also what /dev/console leads to from
// now on. ENOSPC if there are too many terminals.
func (fs *FS) NewConsole(rows, cols uint16) (*Console, error) {
	t, err := fs.newTerminal(0, false)
	if err != nil {
		return nil, err
	}
	fs.mu.Lock()
	fs.console = t
	fs.mu.Unlock()
	t.line.SetSize(tty.Winsize{Rows: rows, Cols: cols})
	c := &Console{terminal: t, readable: waiter.NewChannel(), writable: waiter.NewChannel(), closed: make(chan struct{})}
	c.read = waiter.Entry{Mask: waiter.Readable | waiter.Always, Listener: c.readable}
	c.write = waiter.Entry{Mask: waiter.Writable | waiter.Always, Listener: c.writable}
	t.line.Master.Register(&c.read)
	t.line.Master.Register(&c.write)
	return c, nil
}

// Open returns a new description of the slave end for reading and writing,
// with one reference, for the first process's standard descriptors.
func (c *Console) Open() *vfs.FileDescription {
	return vfs.NewDescription(c.terminal.newSlave(), c.terminal, vfs.Path{}, unix.O_RDWR)
}

// Attach makes the console the controlling terminal of t's session, which t's
// process must lead, with t's process group in the foreground.
func (c *Console) Attach(t *kernel.Task) error { return t.SetTTY(c.terminal, true) }

// SetOwner makes uid the owner of the terminal's node, as login(1) does.
func (c *Console) SetOwner(uid uint32) {
	c.terminal.SetAttr(vfs.SetAttr{Which: vfs.SetUID, UID: uid})
}

// SetSize tells programs of the window's new size.
func (c *Console) SetSize(rows, cols uint16) {
	c.terminal.setSize(tty.Winsize{Rows: rows, Cols: cols})
}

// Read waits for output and returns what there is of it. io.EOF when no
// program has the terminal open any more and all output was read, or after
// Close.
func (c *Console) Read(p []byte) (int, error) {
	for {
		n, err := c.terminal.line.ReadMaster(p)
		switch err {
		case nil:
			return n, nil
		case unix.EIO:
			return 0, io.EOF
		}
		select {
		case <-c.readable:
		case <-c.closed:
			return 0, io.EOF
		}
	}
}

// Write types p, waiting for room as long as programs don't read.
// io.ErrClosedPipe after Close.
func (c *Console) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := c.terminal.input(p[done:])
		done += n
		if n > 0 {
			continue
		}
		select {
		case <-c.writable:
		case <-c.closed:
			return done, io.ErrClosedPipe
		}
	}
	return done, nil
}

// Close hangs the terminal up, as when a terminal emulator goes away: the
// session's leader and foreground group get SIGHUP.
func (c *Console) Close() error {
	select {
	case <-c.closed:
		return nil
	default:
	}
	close(c.closed)
	c.terminal.line.Master.Unregister(&c.read)
	c.terminal.line.Master.Unregister(&c.write)
	c.terminal.masterClosed()
	return nil
}

// TTY is the console as sessions know it, for kernel.ProcessConfig.
func (c *Console) TTY() kernel.TTY { return c.terminal }

// Name is the name of the console's slave end in /dev/pts.
func (c *Console) Name() string { return strconv.FormatUint(uint64(c.terminal.index), 10) }
