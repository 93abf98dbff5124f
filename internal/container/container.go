// Package container is the lifecycle of containers, one for all walls: what a
// container is asked to do, in which state it may be asked that, and what is
// kept of it between the commands. It knows the walls only as isolation.Wall,
// and nothing of the command line.
//
// A container is a directory in the store, with:
//
//	state.json         the record: what there is to destroy, written before it is made
//	state.json.before  the record that it replaced
//	config.json        the bundle's configuration as it was when the container was made
//
// and what its wall keeps there. The directory itself is locked (flock(2)) by
// whoever changes the container: exclusively, or shared by those that start
// further programs in it. The kernel gives the lock back if its holder is
// killed. Who only looks, or sends a signal, takes no lock: a record is
// replaced as a whole, and a signal must reach a container whose start hangs.
// No lock is held while poststart hooks run, since they may call coffer.
//
// What state a container is in is never taken from the record: its first
// process, its cgroup and its wall are asked.
package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What can be wrong with the state that a container is in. The words are those
// of other runtimes, since engines look for them.
var (
	ErrNotExist   = errors.New("container does not exist")
	ErrExist      = errors.New("container with given ID already exists")
	ErrNotRunning = errors.New("container not running")
	ErrNotPaused  = errors.New("container not paused")
)

// Store is a directory of containers.
type Store struct {
	root  string
	walls Walls
}

// Walls finds the wall of a level.
type Walls func(isolation.Level) (isolation.Wall, error)

// NewStore returns the store in a directory, an absolute path, which need not
// be there yet.
func NewStore(root string, walls Walls) *Store {
	return &Store{root: root, walls: walls}
}

// Container is what is known of a container at one time.
type Container struct {
	record
	dir   string
	store *Store
	spec  *specs.Spec
	brief *summary
	// lock is the container's directory while it is locked.
	lock *os.File
	// saved is the record as this process has written it.
	saved []byte
}

// Find returns a container as it is on record, without locking it.
func (s *Store) Find(id string) (*Container, error) {
	dir, err := s.directory(id)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(dir)
	if err != nil {
		if _, gone := os.Lstat(dir); errors.Is(gone, fs.ErrNotExist) {
			return nil, s.notExist(id)
		}
		return nil, fmt.Errorf("container %s: %w; 'coffer delete --force %s' removes it", id, err, id)
	}
	if r.ID != id {
		return nil, fmt.Errorf("container %s: its record is that of %q; 'coffer delete --force %s' removes it", id, r.ID, id)
	}
	return &Container{record: *r, dir: dir, store: s}, nil
}

// acquire locks a container and returns it. release gives it back.
func (s *Store) acquire(id string, how lockKind) (*Container, error) {
	dir, err := s.directory(id)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir, how)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, s.notExist(id)
		}
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	c, err := s.Find(id)
	if err != nil {
		lock.Close()
		return nil, err
	}
	c.lock = lock
	return c, nil
}

// acquireState is acquire, and tells the state that the container is in.
func (s *Store) acquireState(id string, how lockKind) (*Container, Status, error) {
	c, err := s.acquire(id, how)
	if err != nil {
		return nil, "", err
	}
	status, err := c.Status()
	if err != nil {
		c.release()
		return nil, "", err
	}
	return c, status, nil
}

func (c *Container) release() {
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

// directory is where a container's files are, if they can be trusted. The ID may
// be anything that a user wrote.
func (s *Store) directory(id string) (string, error) {
	if err := CheckID(id); err != nil {
		return "", err
	}
	dir := filepath.Join(s.root, id)
	return dir, s.checkOwner(dir)
}

func (s *Store) notExist(id string) error {
	return fmt.Errorf("%w: there is no %s in %s ('coffer list' shows those that are there; --root names another directory)", ErrNotExist, id, s.root)
}

// Spec returns the configuration with which the container was made.
func (c *Container) Spec() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	data, err := os.ReadFile(filepath.Join(c.dir, oci.ConfigFile))
	var spec *specs.Spec
	if err == nil {
		spec, err = oci.Decode(data, c.Bundle)
	}
	if err != nil {
		return nil, c.damaged(err)
	}
	c.spec = spec
	return spec, nil
}

// summary is what most commands need of a configuration. To decode all of it is
// half of the work of a command that does little else.
type summary struct {
	Version     string            `json:"ociVersion"`
	Root        *specs.Root       `json:"root"`
	Hooks       *specs.Hooks      `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
}

// summarize returns the summary of the configuration with which the container was
// made. The root's path is as it was given.
func (c *Container) summarize() (*summary, error) {
	if c.brief != nil {
		return c.brief, nil
	}
	if c.spec != nil {
		return &summary{c.spec.Version, c.spec.Root, c.spec.Hooks, c.spec.Annotations}, nil
	}
	data, err := os.ReadFile(filepath.Join(c.dir, oci.ConfigFile))
	s := new(summary)
	if err == nil {
		err = oci.DecodeJSON(data, s, oci.ConfigFile)
	}
	if err != nil {
		return nil, c.damaged(err)
	}
	c.brief = s
	return s, nil
}

// damaged says that the configuration cannot be read.
func (c *Container) damaged(err error) error {
	return fmt.Errorf("container %s: the configuration that it was made with: %w; 'coffer delete --force %s' removes the container", c.ID, err, c.ID)
}

// cgroup returns the container's cgroup as it is on record.
func (c *Container) cgroup() (*hostcgroup.Cgroup, error) {
	g, err := hostcgroup.Load(c.Cgroup)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.ID, err)
	}
	return g, nil
}

// behind returns the container as its wall knows it, and the wall.
func (c *Container) behind() (isolation.Wall, *isolation.Container, error) {
	wall, err := c.store.walls(c.Isolation)
	if err != nil {
		return nil, nil, fmt.Errorf("container %s: %w", c.ID, err)
	}
	brief, err := c.summarize()
	if err != nil {
		return nil, nil, err
	}
	g, err := c.cgroup()
	if err != nil {
		return nil, nil, err
	}
	return wall, &isolation.Container{
		ID: c.ID, Bundle: c.Bundle, Spec: c.Spec, Hooks: brief.Hooks, StateDir: c.dir, Init: c.Init, Cgroup: g, State: c.ociState,
	}, nil
}

// ociState is the state that hooks are given.
func (c *Container) ociState(status specs.ContainerState, pid int) *specs.State {
	state := &specs.State{Version: specs.Version, ID: c.ID, Status: status, Pid: pid, Bundle: c.Bundle}
	if brief, err := c.summarize(); err == nil {
		state.Annotations = brief.Annotations
	}
	return state
}
