package container

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/namedfile"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CreateRequest is a container to be made.
type CreateRequest struct {
	ID string
	// Bundle is the bundle's absolute path.
	Bundle string
	// Config is the bundle's configuration as it was read, and Spec what was
	// decoded from it and passed oci.Check; it may have more variables.
	Config    []byte
	Spec      *specs.Spec
	Isolation isolation.Level
	Intercept string
	Cgroup    hostcgroup.Options
	isolation.Streams
	NoPivot      bool
	NoNewKeyring bool
	// Reap is that of isolation.Request.
	Reap bool
	// UserCwd is that of isolation.Request.
	UserCwd bool
	// PIDFile is where the first process's number is written, if not empty.
	PIDFile string
	// Network, if not nil, furnishes the container's network namespace, in which its
	// first process is, before any hook runs.
	Network func(isolation.PID) error
}

// Create makes a container up to its program, which waits for Start. If it
// fails, nothing of the container is left, or the error says what.
func (s *Store) Create(r *CreateRequest) (isolation.PID, error) {
	wall, err := s.walls(r.Isolation)
	if err != nil {
		return isolation.PID{}, err
	}
	dir, err := s.directory(r.ID)
	if err != nil {
		return isolation.PID{}, err
	}
	c := &Container{dir: dir, store: s, spec: r.Spec, record: record{
		ID: r.ID, Bundle: r.Bundle, Isolation: r.Isolation, Intercept: r.Intercept, Created: time.Now().UTC(),
	}}
	request := &isolation.Request{
		ID: r.ID, Bundle: r.Bundle, Spec: r.Spec, StateDir: dir, Streams: r.Streams,
		NoPivot: r.NoPivot, NoNewKeyring: r.NoNewKeyring, Reap: r.Reap, UserCwd: r.UserCwd, Intercept: r.Intercept, State: c.ociState,
	}
	if err := wall.Check(request); err != nil {
		return isolation.PID{}, fmt.Errorf("isolation %s: %w", r.Isolation, err)
	}
	group, err := hostcgroup.Plan(hostSpec(r.Spec, wall), r.ID, r.Cgroup)
	if err != nil {
		return isolation.PID{}, err
	}
	c.Cgroup = group.State()
	if c.Creator, err = isolation.FindPID(os.Getpid()); err != nil {
		return isolation.PID{}, err
	}
	if err := c.claim(r.Config); err != nil {
		return isolation.PID{}, err
	}
	defer c.release()
	// From here on there is a record of all that is made.
	making := &creation{c: c, wall: wall, request: request, network: r.Network}
	if err := making.run(group, r.PIDFile); err != nil {
		return isolation.PID{}, making.undo(err)
	}
	return c.Init, nil
}

// hostSpec is a spec with those limits that the host's cgroup is to enforce.
func hostSpec(spec *specs.Spec, wall isolation.Wall) *specs.Spec {
	if spec.Linux == nil {
		return spec
	}
	changed, linux := *spec, *spec.Linux
	linux.Resources = wall.HostResources(linux.Resources)
	changed.Linux = &linux
	return &changed
}

// claim makes the container's directory, locks it, and puts the container on
// record. If it fails, the directory is gone.
func (c *Container) claim(config []byte) (err error) {
	if err := os.MkdirAll(c.store.root, 0o700); err != nil {
		return fmt.Errorf("the directory of containers: %w (--root names another one)", err)
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %s is in %s: choose another ID, or remove that one with 'coffer delete %s'", ErrExist, c.ID, c.store.root, c.ID)
		}
		return fmt.Errorf("the container's directory: %w (--root names another one)", err)
	}
	// The root may be somebody's who was faster to make it.
	if err := c.store.checkOwner(c.dir); err != nil {
		return errors.Join(err, os.Remove(c.dir))
	}
	if c.lock, err = lockDirectory(c.dir, lockChange); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("container %s was removed by another command before it was made", c.ID)
		}
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	if err = writeFile(filepath.Join(c.dir, oci.ConfigFile), config, 0o600); err == nil {
		err = c.save()
	}
	if err != nil {
		err = fmt.Errorf("putting container %s on record: %w", c.ID, err)
		if rerr := os.RemoveAll(c.dir); rerr != nil {
			err = fmt.Errorf("%w; and what is there of it cannot be removed: %w", err, rerr)
		}
		c.release()
	}
	return err
}

// creation is a container being made.
type creation struct {
	c       *Container
	wall    isolation.Wall
	request *isolation.Request
	network func(isolation.PID) error
	// hooks is set once the first hooks are due: from then on those of poststop
	// are owed.
	hooks bool
}

func (m *creation) run(group *hostcgroup.Cgroup, pidFile string) error {
	c := m.c
	if err := group.Create(); err != nil {
		c.Cgroup = nil // there is none of this container's to be removed
		return err
	}
	c.Cgroup, m.request.Cgroup = group.State(), group
	if err := c.save(); err != nil {
		return err
	}
	m.request.Created = m.created
	init, err := m.wall.Create(m.request)
	if err != nil {
		return err
	}
	// systemd's units get their place only with their first process.
	c.Init, c.Cgroup = init, group.State()
	if pidFile != "" {
		if err := writePIDFile(pidFile, init.PID); err != nil {
			return err
		}
	}
	c.Complete = true
	return c.save()
}

// created is called by the wall when the container's namespaces are there.
func (m *creation) created(init isolation.PID) error {
	c := m.c
	c.Init = init
	if err := c.save(); err != nil {
		return err
	}
	if m.network != nil {
		if err := m.network(init); err != nil {
			return err
		}
	}
	m.hooks = true
	for _, stage := range []string{oci.Prestart, oci.CreateRuntime} {
		hooks := oci.StageHooks(m.request.Spec.Hooks, stage)
		if err := oci.RunHooks(hooks, c.ociState(specs.StateCreating, init.PID), stage); err != nil {
			return err
		}
	}
	return nil
}

// undo removes what there is of a container that could not be made, and returns
// why that was, with what could not be removed.
func (m *creation) undo(cause error) error {
	if err := m.c.destroy(m.hooks); err != nil {
		return fmt.Errorf("%w; and what was made of the container is not all gone: %w; 'coffer delete --force %s' tries again", cause, err, m.c.ID)
	}
	return cause
}

// writePIDFile writes a process's number to a file, which is there as a whole
// or not at all.
func writePIDFile(path string, pid int) error {
	abs, err := filepath.Abs(path)
	if err == nil {
		// A file in its place goes; a device that everybody needs is not to, nor a link such
		// as /dev/stdout. What a link leads to may be anybody's choice.
		if st, serr := os.Lstat(abs); serr == nil && !st.Mode().IsRegular() {
			return fmt.Errorf("--pid-file %s: that is a %s: name a file that is not there yet", path, kindOf(st.Mode()))
		}
		// Nobody has a file of this name beside it.
		temp := filepath.Join(filepath.Dir(abs), "."+rand.Text())
		err = replaceFile(abs, temp, fmt.Appendf(nil, "%d", pid), 0o644)
	}
	if err == nil {
		return nil
	}
	// Its own path is that of a file beside it, which nobody has asked for.
	return fmt.Errorf("--pid-file %s: %w", path, namedfile.Explain(err, true))
}

// kindOf names a kind of files that are none of data.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// warn logs failures that end nothing.
func warn(errs []error) {
	for _, err := range errs {
		slog.Warn(err.Error())
	}
}
