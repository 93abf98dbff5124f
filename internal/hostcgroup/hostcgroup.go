// Package hostcgroup is a container's cgroup on the host, v1 or v2, through
// cgroupfs or systemd, for every wall alike.
//
// Where a cgroup lies is known before it is made (Plan), so that the caller
// can put it on record first (State): whoever finds the record after a crash
// gets the cgroup back (Load) and can remove it (Destroy), however far its
// creation had come.
//
// A cgroup that this package made, or found empty and took, carries a mark
// that only the record knows. Who is in a cgroup without it is not the
// container's, and neither listed nor killed: a cgroup that Create refused
// because others use it is safe from the record.
//
// It knows nothing of walls, bundles or the command line. A Cgroup is not
// safe for use by several goroutines, but for WatchOOM.
package hostcgroup

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // without it device rules are refused
	"github.com/opencontainers/cgroups/manager"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNone is returned by what needs a cgroup where a container has none: its
// caller is rootless and may make none.
var ErrNone = errors.New("the container has no cgroup, since its caller may not make one: run coffer as root, or have a cgroup delegated to you (see cgroups(7)), and make it again")

// Options say how cgroups are managed.
type Options struct {
	// Systemd has systemd make the cgroup, as a scope or slice.
	Systemd bool
	// Rootless excuses the lack of a permission, as long as the spec asks
	// for no limit and no cgroupsPath.
	Rootless bool
}

// State is what is kept of a cgroup between commands.
type State struct {
	// Paths are the directories, by controller on v1; under "" on v2.
	Paths map[string]string `json:"paths"`
	// Config is the limits and the names that they were made with.
	Config *cgroups.Cgroup `json:"config"`
	// Mark is what the directories are marked with; empty after Create if this
	// host's can't be marked.
	Mark string `json:"mark"`
}

// Cgroup is one container's cgroup. A nil Cgroup, and one that has no
// directory (a rootless caller's), stands for none: Destroy, Kill and PIDs
// find nothing to do, everything else returns ErrNone.
type Cgroup struct {
	config  *cgroups.Cgroup
	manager cgroups.Manager
	// paths are the directories by controller, as in State.
	paths map[string]string
	mark  string
	// asked is what the spec asks for; nil if c was loaded.
	asked *specs.LinuxResources
}

// Plan says where the cgroup of container id is to be and what limits it will
// have, and touches nothing. The error names the spec's field.
//
// linux.cgroupsPath is read as runc reads it: absolute paths lie below the
// root of each hierarchy, relative ones below the caller's own cgroup, and
// without one the container's is named by id below the caller's own. With
// Options.Systemd it is slice:prefix:name, and system.slice:coffer:id without
// one.
func Plan(spec *specs.Spec, id string, opt Options) (*Cgroup, error) {
	config, err := plan(spec, id, opt)
	if err != nil {
		return nil, err
	}
	c, err := open(config, nil, newMark())
	if err != nil {
		return nil, err
	}
	if spec.Linux != nil {
		c.asked = spec.Linux.Resources
	}
	return c, c.offers(c.asked)
}

// Load returns the cgroup of which s is the record; nil for a nil record.
func Load(s *State) (*Cgroup, error) {
	if s == nil {
		return nil, nil
	}
	if s.Config == nil {
		return nil, errors.New("the record of the container's cgroup has no config")
	}
	for controller, path := range s.Paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return nil, fmt.Errorf("the record of the container's cgroup names %q for controller %q, which is not a clean absolute path", path, controller)
		}
	}
	config := *s.Config
	resources := cgroups.Resources{}
	if config.Resources != nil {
		resources = *config.Resources
	}
	config.Resources = &resources
	return open(&config, maps.Clone(s.Paths), s.Mark)
}

// open makes the Cgroup of a configuration; paths are computed if nil.
func open(config *cgroups.Cgroup, paths map[string]string, mark string) (*Cgroup, error) {
	routeLog()
	if paths != nil && len(paths) == 0 {
		return &Cgroup{config: config, mark: mark}, nil
	}
	m, err := manager.NewWithPaths(config, paths)
	if err != nil {
		switch {
		case config.Systemd && !systemdRuns():
			return nil, errors.New("systemd is to manage cgroups, but does not run on this host (there is no /run/systemd/system); leave --systemd-cgroup out")
		case config.Systemd && config.Rootless && !cgroups.IsCgroup2UnifiedMode():
			return nil, errors.New("systemd manages no cgroups v1 for rootless containers; leave --systemd-cgroup out, or boot the host with cgroup v2 only")
		case cgroups.IsNotFound(err), !mounted():
			return nil, fmt.Errorf("finding the host's cgroups: %w; mount them at /sys/fs/cgroup (of those of v1 the devices controller must be among them)", err)
		}
		return nil, fmt.Errorf("finding where the container's cgroup is to be (linux.cgroupsPath): %w", err)
	}
	return &Cgroup{config: config, manager: m, paths: maps.Clone(m.GetPaths()), mark: mark}, nil
}

// mounted reports whether anything of cgroups is where Linux distributions have it.
func mounted() bool {
	var fs unix.Statfs_t
	err := unix.Statfs("/sys/fs/cgroup", &fs)
	return err == nil && (fs.Type == unix.CGROUP2_SUPER_MAGIC || fs.Type == unix.TMPFS_MAGIC)
}

// State returns the record of c: to be written after Plan, and again after
// Create and Update. It is nil for a nil Cgroup.
func (c *Cgroup) State() *State {
	if c == nil {
		return nil
	}
	config := *c.config
	resources := *c.config.Resources
	resources.Freezer = cgroups.Undefined // a state of the moment, no limit
	config.Resources = &resources
	paths := maps.Clone(c.paths)
	if paths == nil {
		paths = map[string]string{}
	}
	return &State{Paths: paths, Config: &config, Mark: c.mark}
}

// None reports whether c stands for no cgroup.
func (c *Cgroup) None() bool { return c == nil || len(c.paths) == 0 }

// Exists reports whether one of the directories is there.
func (c *Cgroup) Exists() bool {
	if c == nil {
		return false
	}
	for _, dir := range c.paths {
		if cgroups.PathExists(dir) {
			return true
		}
	}
	return false
}

// Path returns the directory for a controller on v1 ("memory"), or the only
// one on v2; empty if there is none.
func (c *Cgroup) Path(controller string) string {
	if c == nil {
		return ""
	}
	if c.unified() {
		controller = ""
	}
	return c.paths[controller]
}

// unified reports whether the host has cgroup v2 only.
func (c *Cgroup) unified() bool { return cgroups.IsCgroup2UnifiedMode() }

// dirs are the directories, each once, in an order that does not change.
func (c *Cgroup) dirs() []string {
	dirs := slices.Collect(maps.Values(c.paths))
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Stats measures what the container uses.
func (c *Cgroup) Stats() (*cgroups.Stats, error) {
	if c.None() {
		return nil, ErrNone
	}
	stats, err := c.manager.GetStats()
	if err != nil {
		return nil, fmt.Errorf("measuring what the container's cgroup uses: %w", err)
	}
	return stats, nil
}

// Update changes the limits that r names and leaves the others. Device rules
// can't be changed. If the host refuses one, the limits from before are set
// again.
func (c *Cgroup) Update(r *specs.LinuxResources) error {
	if c.None() {
		return ErrNone
	}
	if len(r.Devices) > 0 {
		return errors.New("linux.resources.devices: device rules can't be changed once the container is made; leave them out")
	}
	old := c.config.Resources
	next := *old
	next.Unified = maps.Clone(old.Unified)
	if err := limit(&next, r, c.unified()); err != nil {
		return err
	}
	if err := c.offers(r); err != nil {
		return err
	}
	if err := c.set(&next); err != nil {
		before := *old
		if before.CPUIdle == nil && next.CPUIdle != nil {
			before.CPUIdle = new(int64)
		}
		if restore := c.set(&before); restore != nil {
			err = fmt.Errorf("%w (and the limits from before could not be set again: %v)", err, restore)
		}
		return fmt.Errorf("changing the limits of the container's cgroup: %w", explain(err))
	}
	c.config.Resources = &next
	return nil
}

// set sets limits of a cgroup that has some.
func (c *Cgroup) set(r *cgroups.Resources) error {
	now := *r
	now.Freezer, now.SkipDevices = cgroups.Undefined, true
	// Linux lets nobody change the share of an idle cgroup (cpu.idle).
	switch {
	case now.CPUIdle == nil:
	case *now.CPUIdle == 1:
		now.CpuShares, now.CpuWeight = 0, 0
	default:
		if err := c.manager.Set(&cgroups.Resources{CPUIdle: now.CPUIdle, Freezer: cgroups.Undefined, SkipDevices: true}); err != nil {
			return err
		}
	}
	return c.manager.Set(&now)
}

// controllerOf is the controller of a cgroup's file: memory of memory.max.
func controllerOf(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}
