package container

import (
	"fmt"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecRequest is another program to be run in a container.
type ExecRequest struct {
	isolation.Exec
	// IgnorePaused lets it be started in a paused container, where it will run
	// when that is resumed.
	IgnorePaused bool
	// PIDFile is where the process's number is written, if not empty.
	PIDFile string
}

// Exec starts another program in a container. The process is the caller's
// child.
func (s *Store) Exec(id string, r *ExecRequest) (isolation.PID, error) {
	c, status, err := s.acquireState(id, lockUse)
	if err != nil {
		return isolation.PID{}, err
	}
	defer c.release()
	switch {
	case status == specs.StateRunning, status == specs.StateCreated, status == Paused && r.IgnorePaused:
	case status == Paused:
		return isolation.PID{}, fmt.Errorf("cannot exec in a paused container (use --ignore-paused to override, or 'coffer resume %s')", id)
	default:
		return isolation.PID{}, fmt.Errorf("cannot exec in a %s container: %s must be created or running", status, id)
	}
	wall, it, err := c.behind()
	if err != nil {
		return isolation.PID{}, err
	}
	if status == Paused {
		// It gets no further before the container is resumed, which takes the lock.
		c.release()
	}
	pid, err := wall.Exec(it, &r.Exec)
	if err != nil {
		return isolation.PID{}, err
	}
	if r.PIDFile != "" {
		if err := writePIDFile(r.PIDFile, pid.PID); err != nil {
			pid.Signal(unix.SIGKILL)
			return isolation.PID{}, err
		}
	}
	return pid, nil
}
