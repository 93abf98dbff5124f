package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"coffer/internal/isolation"
)

// IDs lists the containers of the store by their directories.
func (s *Store) IDs() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w (--root names another directory)", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// List tells how all containers are, and what is wrong with those of which that
// cannot be told.
func (s *Store) List() (states []*State, broken []error, err error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		state, err := s.State(id)
		switch {
		case err == nil:
			states = append(states, state)
		case !errors.Is(err, ErrNotExist): // it was deleted meanwhile
			broken = append(broken, err)
		}
	}
	return states, broken, nil
}

// Processes lists what runs in a container.
func (s *Store) Processes(id string) (isolation.Level, []isolation.Process, error) {
	c, err := s.Find(id)
	if err != nil {
		return "", nil, err
	}
	alive, err := c.Init.Alive()
	if err != nil {
		return "", nil, fmt.Errorf("container %s: %w", id, err)
	}
	if !alive {
		return c.Isolation, nil, nil
	}
	wall, it, err := c.behind()
	if err != nil {
		return "", nil, err
	}
	list, err := wall.Processes(it)
	if err != nil {
		return "", nil, fmt.Errorf("container %s: %w", id, err)
	}
	return c.Isolation, list, nil
}
