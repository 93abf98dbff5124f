package container

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Pause freezes all processes of a container.
func (s *Store) Pause(id string) error {
	c, status, err := s.acquireState(id, lockChange)
	if err != nil {
		return err
	}
	defer c.release()
	if status != specs.StateRunning && status != specs.StateCreated {
		return fmt.Errorf("%w: %s is %s, and only what runs can be paused", ErrNotRunning, id, status)
	}
	wall, it, err := c.behind()
	if err != nil {
		return err
	}
	if err := wall.CheckPause(it); err != nil {
		return fmt.Errorf("container %s cannot be paused: %w", id, err)
	}
	if err := it.Cgroup.Freeze(); err != nil {
		return fmt.Errorf("pausing container %s: %w", id, err)
	}
	return nil
}

// Resume lets the processes of a paused container go on.
func (s *Store) Resume(id string) error {
	c, status, err := s.acquireState(id, lockChange)
	if err != nil {
		return err
	}
	defer c.release()
	if status != Paused {
		return fmt.Errorf("%w: %s is %s", ErrNotPaused, id, status)
	}
	group, err := c.cgroup()
	if err != nil {
		return err
	}
	if err := group.Thaw(); err != nil {
		return fmt.Errorf("resuming container %s: %w", id, err)
	}
	return nil
}
