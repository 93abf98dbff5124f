package container

import (
	"errors"
	"fmt"

	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets the program of a created container run. A hook of poststart that
// fails ends the container, or is logged, as its version of the specification has
// it.
func (s *Store) Start(id string) error {
	c, status, err := s.acquireState(id, lockChange)
	if err != nil {
		return err
	}
	defer c.release()
	switch status {
	case specs.StateCreated:
	case specs.StateStopped:
		return fmt.Errorf("cannot start a container that has stopped: %s has run, or its first process was killed; 'coffer delete %s' removes it", id, id)
	case specs.StateRunning:
		return fmt.Errorf("cannot start an already running container: %s", id)
	case Paused:
		return fmt.Errorf("cannot start a paused container: 'coffer resume %s' comes first", id)
	default:
		return fmt.Errorf("cannot start a container in the %s state: the command that was to make %s was ended; 'coffer delete --force %s' removes it", status, id, id)
	}
	wall, it, err := c.behind()
	if err != nil {
		return err
	}
	if err := wall.Start(it); err != nil {
		return err
	}
	c.release()
	hooks := oci.StageHooks(it.Hooks, oci.Poststart)
	state := c.ociState(specs.StateRunning, c.Init.PID)
	if brief, err := c.summarize(); err == nil && !oci.PoststartEnds(brief.Version) {
		warn(oci.RunEveryHook(hooks, state, oci.Poststart))
		return nil
	}
	if err := oci.RunHooks(hooks, state, oci.Poststart); err != nil {
		kerr := s.Kill(id, unix.SIGKILL, false)
		if kerr != nil && !errors.Is(kerr, ErrNotRunning) && !errors.Is(kerr, ErrNotExist) {
			err = fmt.Errorf("%w; and the container could not be stopped: %w", err, kerr)
		}
		return err
	}
	return nil
}
