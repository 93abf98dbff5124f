package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"coffer/internal/console"
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/scm"
	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// Exec implements isolation.Wall.
func (wall) Exec(c *isolation.Container, e *isolation.Exec) (isolation.PID, error) {
	if err := closeOnExec(); err != nil {
		return isolation.PID{}, err
	}
	conn, err := dial(c)
	if err != nil {
		return isolation.PID{}, err
	}
	defer conn.Close()
	var d donation
	defer d.close()
	spec, err := c.Spec()
	if err != nil {
		return isolation.PID{}, err
	}
	p, err := translateProcess(e.Process, spec.Linux)
	if err != nil {
		return isolation.PID{}, err
	}
	terminal, err := d.streams(p, e.Process.ConsoleSize, &e.Streams)
	if err != nil {
		return isolation.PID{}, err
	}
	defer terminal.close()
	a, err := newAttendant(conn, terminal, c.Cgroup, e.Cgroup)
	if err != nil {
		return isolation.PID{}, err
	}
	defer a.end()
	pid, err := isolation.FindPID(a.cmd.Process.Pid)
	if err != nil {
		return isolation.PID{}, err
	}
	patience := answerPatience
	if frozen, err := c.Cgroup.Frozen(); err == nil && frozen {
		patience = 0 // the caller knows of it, and wants the program to run when that ends
	}
	if _, err := askOn(conn, &boot.Request{Op: boot.OpExec, Container: c.ID, Process: p}, d.fds(), patience); err != nil {
		return isolation.PID{}, err
	}
	if terminal != nil {
		if err := console.Send(e.ConsoleSocket, terminal.master); err != nil {
			return isolation.PID{}, err
		}
	}
	return pid, a.attend()
}

// join adds the container to a sandbox that is there.
func (m *making) join() error {
	if err := closeOnExec(); err != nil {
		return err
	}
	conn, err := dialSandbox(m.record.sandboxDir(m.r.StateDir))
	if errors.Is(err, errGone) {
		err = fmt.Errorf("the sandbox %s, which the annotations name, is not there: %w", m.record.Sandbox, err)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := newAttendant(conn, m.terminal, m.r.Cgroup, "")
	if err != nil {
		return err
	}
	defer a.end()
	if err := m.settle(a.cmd.Process.Pid); err != nil {
		return err
	}
	if _, err := askOn(conn, &boot.Request{Op: boot.OpAdd, New: m.described}, m.fds(), answerPatience); err != nil {
		return err
	}
	return a.attend()
}

// attendant is a process of the host's that stands for one of a sandbox's which
// is not its sentry's first: it can be waited for and signalled.
type attendant struct {
	cmd  *exec.Cmd
	life *os.File // the other end of its fdLife
	kept bool
}

// An attendant's descriptors.
const (
	fdAttended = 3 // the connection to the sentry
	// fdLife is a socket to who starts the attendant. It sends a byte when it is
	// ready, gets one when it is to attend, and ends if it gets none.
	fdLife     = 4
	fdTerminal = 5 // the terminal whose size it passes on, its controlling one
)

// newAttendant starts an attendant, in a cgroup or at sub below it. Whatever happens to the caller, the sandbox's
// process ends with it.
func newAttendant(conn *boot.Conn, terminal *pty, group *hostcgroup.Cgroup, sub string) (*attendant, error) {
	ours, theirs, err := scm.Pair("attendant's")
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	a := &attendant{life: ours}
	a.cmd = &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"coffer", AttendantRole},
		Env:         []string{"GOGC=off", "GOMAXPROCS=1"},
		Dir:         "/",
		ExtraFiles:  []*os.File{conn.File(), theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if terminal != nil {
		a.cmd.Args = append(a.cmd.Args, withTerminal)
		a.cmd.ExtraFiles = append(a.cmd.ExtraFiles, terminal.slave)
		a.cmd.SysProcAttr.Setctty, a.cmd.SysProcAttr.Ctty = true, fdTerminal
	}
	if err := startIn(a.cmd, group, sub); err != nil {
		ours.Close()
		return nil, fmt.Errorf("starting the process's attendant: %w", err)
	}
	return a, nil
}

// attend lets the attendant attend to the process that was made, once it is
// ready to pass signals on.
func (a *attendant) attend() error {
	var ready [1]byte
	if n, err := a.life.Read(ready[:]); n != 1 {
		return fmt.Errorf("the process's attendant has ended before the process began: %w", err)
	}
	if _, err := a.life.Write(ready[:]); err != nil {
		return fmt.Errorf("the process's attendant has ended before the process began: %w", err)
	}
	a.kept = true
	return a.cmd.Process.Release()
}

// end ends an attendant that is not kept.
func (a *attendant) end() {
	a.life.Close()
	if !a.kept {
		a.cmd.Process.Kill()
		a.cmd.Wait()
	}
}

// sizeOf is the size of a terminal.
func sizeOf(f *os.File) (rows, cols uint16, err error) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, err
	}
	return w.Row, w.Col, nil
}
