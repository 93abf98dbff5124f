package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"coffer/internal/isolation"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Status is the state that a container is in.
type Status = specs.ContainerState

// Paused is the state of a container whose processes are frozen, which the
// specification leaves to runtimes.
const Paused Status = "paused"

// State is what `coffer state` and `coffer list` show. The fields but the last
// are those of other runtimes.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      Status            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Owner is the name of the user who made the container.
	Owner     string          `json:"owner"`
	Isolation isolation.Level `json:"isolation"`
}

// State tells how a container is.
func (s *Store) State(id string) (*State, error) {
	c, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	return c.State()
}

// State tells how the container is now.
func (c *Container) State() (*State, error) {
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	brief, err := c.summarize()
	if errors.Is(err, fs.ErrNotExist) && status == specs.StateStopped {
		brief, err = new(summary), nil // its removal was broken off
	}
	if err != nil {
		return nil, err
	}
	state := &State{
		Version: specs.Version, ID: c.ID, Status: status, Bundle: c.Bundle, Created: c.Created,
		Annotations: brief.Annotations, Owner: c.owner(), Isolation: c.Isolation,
	}
	if brief.Root != nil {
		state.Rootfs = oci.InBundle(c.Bundle, brief.Root.Path)
	}
	if status != specs.StateStopped {
		state.PID = c.Init.PID
	}
	return state, nil
}

// owner names the user to whom the container's directory belongs.
func (c *Container) owner() string {
	st, err := os.Lstat(c.dir)
	if err != nil {
		return ""
	}
	uid := strconv.Itoa(int(st.Sys().(*syscall.Stat_t).Uid))
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "#" + uid
}

// Status finds out in which state the container is.
func (c *Container) Status() (Status, error) {
	alive, err := c.Init.Alive()
	if err != nil {
		return "", fmt.Errorf("container %s: %w", c.ID, err)
	}
	if !alive {
		return c.withoutInit()
	}
	if !c.Complete {
		return specs.StateCreating, nil
	}
	wall, it, err := c.behind()
	if err != nil {
		return "", err
	}
	frozen, err := it.Cgroup.Frozen()
	if err != nil {
		return "", fmt.Errorf("container %s: %w", c.ID, err)
	}
	if frozen {
		return Paused, nil
	}
	started, err := wall.Started(it)
	if err != nil {
		// It may have ended in between, and what was asked with it.
		if alive, aliveErr := c.Init.Alive(); aliveErr == nil && !alive {
			return specs.StateStopped, nil
		}
		return "", fmt.Errorf("container %s: finding out whether it was started: %w", c.ID, err)
	}
	if started {
		return specs.StateRunning, nil
	}
	return specs.StateCreated, nil
}

// withoutInit is the state of a container whose first process is not there:
// not yet, if who makes it is still at it.
func (c *Container) withoutInit() (Status, error) {
	if c.Complete {
		return specs.StateStopped, nil
	}
	making, err := c.Creator.Alive()
	switch {
	case err != nil:
		return "", fmt.Errorf("container %s: %w", c.ID, err)
	case making:
		return specs.StateCreating, nil
	}
	return specs.StateStopped, nil
}
