package container

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes limits of a container: those that r has.
func (s *Store) Update(id string, r *specs.LinuxResources) error {
	c, err := s.acquire(id, lockChange)
	if err != nil {
		return err
	}
	defer c.release()
	status, err := c.Status()
	if err != nil {
		return err
	}
	if status == specs.StateStopped {
		return fmt.Errorf("%w: %s has stopped, and its limits bind nothing any more", ErrNotRunning, id)
	}
	group, err := c.cgroup()
	if err != nil {
		return err
	}
	if err := group.Update(r); err != nil {
		return fmt.Errorf("updating container %s: %w", id, err)
	}
	c.Cgroup = group.State()
	return c.save()
}
