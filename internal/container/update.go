package container

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes limits of a container: those that r has.
func (s *Store) Update(id string, r *specs.LinuxResources) error {
	c, status, err := s.acquireState(id, lockChange)
	if err != nil {
		return err
	}
	defer c.release()
	if status == specs.StateStopped {
		return fmt.Errorf("%w: %s has stopped, and its limits bind nothing any more", ErrNotRunning, id)
	}
	wall, inside, err := c.behind()
	if err != nil {
		return err
	}
	group := inside.Cgroup
	if err := group.Update(wall.HostResources(r)); err != nil {
		return fmt.Errorf("updating container %s: %w", id, err)
	}
	c.Cgroup = group.State()
	if err := c.save(); err != nil {
		return err
	}
	if err := wall.Update(inside, r); err != nil {
		return fmt.Errorf("the host has the new limits of container %s, but it cannot be told of them: %w", id, err)
	}
	return nil
}
