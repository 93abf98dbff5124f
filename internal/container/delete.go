package container

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Delete removes a container that has stopped, or was never started. With force
// it ends one that runs, removes also what a broken record is all there is of,
// and is content if there is no such container.
func (s *Store) Delete(id string, force bool) error {
	c, err := s.acquire(id, lockChange)
	switch {
	case errors.Is(err, ErrNotExist) && force:
		return nil
	case err != nil && force && CheckID(id) == nil:
		return s.deleteBroken(id, err)
	case err != nil:
		return err
	}
	defer c.release()
	if _, err := c.summarize(); err != nil && force {
		c.release()
		return s.deleteBroken(id, err)
	}
	if !force {
		status, err := c.Status()
		if err != nil {
			return err
		}
		if status != specs.StateStopped && status != specs.StateCreated {
			return fmt.Errorf("cannot delete container %s that is not stopped: %s (end it with 'coffer kill %s KILL', or use --force)", id, status, id)
		}
	}
	return c.destroy(true)
}

// destroy removes all there is of a container, the record last: should it be
// ended in between, what is left is still on record.
func (c *Container) destroy(hooks bool) error {
	wall, it, err := c.behind()
	if err != nil {
		return err
	}
	if err := wall.Destroy(it); err != nil {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	err = it.Cgroup.Destroy()
	if errors.Is(err, hostcgroup.ErrForeign) && !c.Complete {
		// The one that was planned, and could not be taken.
		slog.Debug(fmt.Sprintf("container %s: %v", c.ID, err))
		err = nil
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	if hooks {
		stopped := oci.StageHooks(it.Hooks, oci.Poststop)
		warn(oci.RunEveryHook(stopped, c.ociState(specs.StateStopped, 0), oci.Poststop))
	}
	return c.remove()
}

// remove removes the container's directory, its record last.
func (c *Container) remove() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	for _, e := range entries {
		if e.Name() != recordFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, e.Name())))
		}
	}
	if err == nil {
		err = os.RemoveAll(c.dir)
	}
	if err != nil {
		return fmt.Errorf("container %s: removing its directory: %w", c.ID, err)
	}
	return nil
}

// deleteBroken removes a container whose record is missing, damaged or from a
// newer program, which broken tells. What is there to be destroyed is found as
// far as the container's configuration, its ID and its directory tell.
func (s *Store) deleteBroken(id string, broken error) error {
	dir, err := s.directory(id)
	if err != nil {
		return err
	}
	lock, err := lockDirectory(dir, lockChange)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	defer lock.Close()
	slog.Warn(fmt.Sprintf("%v: removing what can be found of it", broken))
	c := &Container{record: salvage(dir, id), dir: dir, store: s}
	if _, err := c.Spec(); err != nil {
		c.spec = &specs.Spec{Version: specs.Version, Linux: &specs.Linux{}}
	}
	if err := c.Init.Signal(unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("container %s: ending its first process: %w", id, err)
	}
	group, err := c.cgroup()
	if err != nil || group == nil {
		// Without the record's mark only an empty one will be removed.
		if group, err = hostcgroup.Plan(c.spec, id, hostcgroup.Options{}); err != nil {
			slog.Warn(fmt.Sprintf("container %s: where its cgroup is, if it has one, is not known: %v", id, err))
			group = nil
		}
	}
	it := &isolation.Container{ID: id, Bundle: c.Bundle, Spec: isolation.Known(c.spec), Hooks: c.spec.Hooks, StateDir: dir, Init: c.Init, Cgroup: group, State: c.ociState}
	for _, level := range isolation.Levels {
		if wall, err := s.walls(level); err == nil {
			if err := wall.Destroy(it); err != nil {
				slog.Warn(fmt.Sprintf("container %s: isolation %s: %v", id, level, err))
			}
		}
	}
	if err := group.Destroy(); err != nil {
		slog.Warn(fmt.Sprintf("container %s: %v", id, err))
	}
	return c.remove()
}
