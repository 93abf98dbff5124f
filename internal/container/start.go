package container

import (
	"fmt"

	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Start lets the program of a created container run. Hooks of poststart that
// fail are logged.
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
	warn(oci.RunEveryHook(hooks, c.ociState(specs.StateRunning, c.Init.PID), oci.Poststart))
	return nil
}
