package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// wall is isolation.Wall by a sentry for each sandbox, and containers in it. A
// sentry is the first process of its own container; further containers of the
// sandbox, and processes started by exec, have an attendant each.
type wall struct{}

// New returns the wall.
func New() isolation.Wall { return wall{} }

// Start implements isolation.Wall.
func (wall) Start(c *isolation.Container) error {
	r, err := readRecord(c)
	if err != nil {
		return err
	}
	ns, err := r.refurnish(c)
	if err != nil {
		return err
	}
	patience := answerPatience
	if c.Hooks != nil && len(c.Hooks.StartContainer) > 0 {
		patience = 0 // they have time limits of their own
	}
	_, err = ask(c, &boot.Request{Op: boot.OpStart}, patience)
	if ns == nil {
		return err
	}
	defer ns.Close()
	if err != nil {
		return err
	}
	if err := follow(c, ns); err != nil {
		slog.Warn(fmt.Sprintf("container %s: what changes in its network namespace will not be seen: %v", c.ID, err))
	}
	return nil
}

// Started implements isolation.Wall. It asks no sentry, which may be frozen: the
// sentry has let go of the gate.
func (wall) Started(c *isolation.Container) (bool, error) {
	f, err := os.Open(filepath.Join(c.StateDir, gateName))
	if err != nil {
		return false, fmt.Errorf("looking at the container's gate: %w", err)
	}
	defer f.Close()
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK:
		return false, nil
	default:
		return false, fmt.Errorf("looking at the container's gate: %w", err)
	}
}

// Signal implements isolation.Wall.
func (wall) Signal(c *isolation.Container, sig unix.Signal, all bool) error {
	r, err := readRecord(c)
	if err != nil {
		return err
	}
	alive, err := c.Init.Alive()
	if err != nil {
		return err
	}
	switch {
	case !alive && (!all || r.first()):
		return unix.ESRCH
	case sig == 0:
		return nil
	case sig == unix.SIGKILL && r.first():
		// All that is in the sandbox ends with the sentry, whatever that is at.
		return c.Init.Signal(sig)
	}
	err = tell(c, &boot.Request{Op: boot.OpSignal, Signal: int(sig), All: all})
	if err == nil {
		return nil
	}
	if alive, aerr := c.Init.Alive(); aerr == nil && !alive && !all {
		if errors.Is(err, errBrokenOff) {
			return nil // the signal was the end of it
		}
		return unix.ESRCH
	}
	if sig == unix.SIGKILL {
		// Without its attendant a process ends.
		return c.Init.Signal(sig)
	}
	return err
}

// Processes implements isolation.Wall.
func (wall) Processes(c *isolation.Container) ([]isolation.Process, error) {
	if frozen(c) {
		return nil, fmt.Errorf("it is paused, and so is its kernel, which knows its processes: 'coffer resume %s' comes first", c.ID)
	}
	reply, err := ask(c, &boot.Request{Op: boot.OpProcesses}, answerPatience)
	if err != nil {
		return nil, err
	}
	list := make([]isolation.Process, 0, len(reply.Processes))
	for _, p := range reply.Processes {
		list = append(list, isolation.Process{
			PID: int(p.PID), PPID: int(p.PPID), UID: p.UID, Threads: p.Threads, CPU: p.CPU, Command: printable(p.Command),
		})
	}
	return list, nil
}

// CheckPause implements isolation.Wall.
func (wall) CheckPause(c *isolation.Container) error {
	r, err := readRecord(c)
	if err != nil {
		return err
	}
	if !r.first() {
		return fmt.Errorf("its processes run in the sandbox of container %s, whose kernel they share: pause that one, with all that is in it", r.Sandbox)
	}
	return nil
}

// Usage implements isolation.Wall. The cgroup counts the sentry's threads rather
// than the guest's, and of a container in another's sandbox nothing but an
// attendant.
func (wall) Usage(c *isolation.Container) (*isolation.Usage, error) {
	r, err := readRecord(c)
	if err != nil {
		return nil, err
	}
	if frozen(c) {
		return nil, nil
	}
	reply, err := ask(c, &boot.Request{Op: boot.OpUsage}, answerPatience)
	if err != nil {
		return nil, err
	}
	u := reply.Usage
	if u == nil {
		return nil, errors.New("the sandbox was asked what its container uses, and told nothing")
	}
	told := &isolation.Usage{Tasks: u.Tasks, Shares: !r.first(), CPUUser: u.User, CPUSystem: u.System, Memory: u.Memory}
	for _, i := range u.Interfaces {
		told.Interfaces = append(told.Interfaces, isolation.Interface{
			Name: i.Name, RxBytes: i.RxBytes, RxPackets: i.RxPackets, RxDropped: i.RxDropped,
			TxBytes: i.TxBytes, TxPackets: i.TxPackets, TxDropped: i.TxDropped,
		})
	}
	return told, nil
}

// Destroy implements isolation.Wall.
func (wall) Destroy(c *isolation.Container) error {
	r, err := readRecord(c)
	if errors.Is(err, os.ErrNotExist) {
		return forget(c) // no process was made, or all are gone
	}
	if err != nil {
		// A record that others have damaged must not keep what is left from its end.
		r = &record{Init: c.Init}
	}
	// On cgroup v1 a frozen process does not even die.
	if frozen, err := c.Cgroup.Frozen(); err == nil && frozen {
		if err := c.Cgroup.Thaw(); err != nil {
			return err
		}
	}
	if !r.first() {
		// Should the sandbox not answer, its processes end with it, and the
		// container's first one with its attendant.
		if _, err := ask(c, &boot.Request{Op: boot.OpDestroy}, answerPatience); err != nil && !errors.Is(err, errGone) {
			var answer refusal
			if !errors.As(err, &answer) {
				return fmt.Errorf("ending the container's processes: %w", err)
			}
		}
	}
	if err := end(r.Init); err != nil {
		return err
	}
	if err := r.giveBack(c); err != nil {
		return err
	}
	return forget(c)
}

// forget removes the wall's files, the record last.
func forget(c *isolation.Container) error {
	for _, name := range []string{socketName, gateName, recordName} {
		if err := os.Remove(filepath.Join(c.StateDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// end kills a process and waits until it has ended.
func end(p isolation.PID) error {
	f, err := p.Open()
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ending process %d: %w", p.PID, err)
	}
	defer f.Close()
	if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("ending process %d: %w", p.PID, err)
	}
	err = isolation.AwaitEnd(f, endPatience)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("process %d has not ended within %v of SIGKILL: is it frozen by a cgroup that others made, or the host out of order?", p.PID, endPatience)
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	return nil
}

// printable replaces what would be more than text on a terminal: a guest
// chooses its processes' names.
func printable(s string) string {
	runes := []rune(s)
	for i, r := range runes {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			runes[i] = '?'
		}
	}
	return string(runes)
}
