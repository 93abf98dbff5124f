package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// endPatience is how long processes that were killed may take to end. It takes
// them longest to give up much memory, or to come back from a file system that
// does not answer.
const endPatience = time.Minute

// Destroy ends what still runs. The container's mounts go with its mount
// namespace, its network devices with its network namespace.
func (w wall) Destroy(c *isolation.Container) error {
	init := c.Init
	if init.PID == 0 {
		// Its maker was ended before it could put it on record.
		var err error
		if init, err = waitingInit(c.StateDir); err != nil {
			return err
		}
	}
	process, err := init.Open()
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("finding the container's first process: %w", err)
	}
	if process != nil {
		defer process.Close()
		if err := unix.PidfdSendSignal(int(process.Fd()), unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
			return fmt.Errorf("ending the container's first process: %w", err)
		}
	}
	// Others of it live on if it has no PID namespace of its own; and a frozen
	// process does not end before it is thawed, which this sees to.
	// There are none where it stopped by itself, and then freezing would be a
	// waste of time.
	members, err := c.Cgroup.PIDs(true)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		if err := c.Cgroup.Kill(unix.SIGKILL); err != nil {
			return err
		}
	}
	if process != nil {
		err := isolation.AwaitEnd(process, endPatience)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("process %d does not end, though it was killed: it may wait for a device or a network's file system (state D in ps); or a process that was started in the container by exec has ended, and its parent has not taken note; try again", init.PID)
		}
		if err != nil {
			return fmt.Errorf("process %d: %w", init.PID, err)
		}
	}
	return releaseMounts(c.StateDir)
}
