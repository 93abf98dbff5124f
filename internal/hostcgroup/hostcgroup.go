// Package hostcgroup is a container's cgroup on the host, v1 or v2, through
// cgroupfs or systemd, for every wall alike.
//
// Where a cgroup lies is known before it is made (Plan), so that the caller
// can put it on record first (State): whoever finds the record after a crash
// gets the cgroup back (Load) and can remove it (Destroy), however far its
// creation had come.
//
// A cgroup that this package made, or found empty and took, carries a mark
// that only the record knows. Destroy kills members of marked cgroups only: a
// cgroup that Create refused because others use it is safe from the record.
//
// It knows nothing of walls, bundles or the command line. A Cgroup is not
// safe for use by several goroutines, but for WatchOOM and OOMKills.
package hostcgroup

import (
	"context"
	"errors"
	"os"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNone is returned by what needs a cgroup where a container has none: its
// caller is rootless and may make none.
var ErrNone = errors.New("the container has no cgroup, since its caller may not make one")

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
	// Mark is what the directories are marked with.
	Mark string `json:"mark"`
}

// Cgroup is one container's cgroup. A nil Cgroup, and one that has no
// directory (a rootless caller's), stands for none: Destroy, Kill and PIDs
// find nothing to do, everything else returns ErrNone.
type Cgroup struct{}

// Plan says where the cgroup of container id is to be and what limits it will
// have, and touches nothing. The error names the spec's field.
//
// linux.cgroupsPath is read as runc reads it: absolute paths lie below the
// root of each hierarchy, relative ones below the caller's own cgroup, and
// without one the container's is named by id below the caller's own. With
// Options.Systemd it is slice:prefix:name, and system.slice:coffer:id without
// one.
func Plan(spec *specs.Spec, id string, opt Options) (*Cgroup, error) {
	return nil, errors.ErrUnsupported
}

// Create makes the directories and sets the limits. A cgroup that holds
// processes or is frozen is refused. If it fails, what it made is gone.
//
// systemd makes no scope without processes: with Options.Systemd the cgroup
// comes to be, limits included, when the first process is added.
func (c *Cgroup) Create() error { return errors.ErrUnsupported }

// New is Plan and Create.
func New(spec *specs.Spec, id string, opt Options) (*Cgroup, error) {
	return nil, errors.ErrUnsupported
}

// Load returns the cgroup of which s is the record.
func Load(s *State) (*Cgroup, error) { return nil, errors.ErrUnsupported }

// State returns the record of c: to be written after Plan, and again after
// Create and Update. It is nil for a nil Cgroup.
func (c *Cgroup) State() *State { return nil }

// None reports whether c stands for no cgroup.
func (c *Cgroup) None() bool { return c == nil }

// Exists reports whether the directory is there.
func (c *Cgroup) Exists() bool { return false }

// Path returns the directory for a controller on v1 ("memory"), or the only
// one on v2; empty if there is none.
func (c *Cgroup) Path(controller string) string { return "" }

// Add moves process pid into the cgroup, or into the one at sub below it,
// which must exist already.
func (c *Cgroup) Add(pid int, sub string) error { return errors.ErrUnsupported }

// FD opens the directory for CLONE_INTO_CGROUP of clone3(2). It is nil, without
// an error, where a process can't be started in its cgroup and must be added:
// on v1, and before systemd has made the scope.
func (c *Cgroup) FD() (*os.File, error) { return nil, nil }

// Freeze stops all processes and returns when they stand still.
func (c *Cgroup) Freeze() error { return errors.ErrUnsupported }

// Thaw lets them go on.
func (c *Cgroup) Thaw() error { return errors.ErrUnsupported }

// Frozen reports whether the cgroup is frozen; one that is gone is not.
func (c *Cgroup) Frozen() (bool, error) { return false, errors.ErrUnsupported }

// PIDs are the processes in the cgroup, and with all also those in cgroups
// below it. There are none in a cgroup that is gone.
func (c *Cgroup) PIDs(all bool) ([]int, error) { return nil, errors.ErrUnsupported }

// Kill sends a signal to all processes, those in cgroups below included; none
// that they start meanwhile escapes.
func (c *Cgroup) Kill(sig unix.Signal) error { return errors.ErrUnsupported }

// Update changes the limits that r names and leaves the others. Device rules
// can't be changed. If the host refuses one, those before stay changed.
func (c *Cgroup) Update(r *specs.LinuxResources) error { return errors.ErrUnsupported }

// Stats measures what the container uses.
func (c *Cgroup) Stats() (*cgroups.Stats, error) { return nil, errors.ErrUnsupported }

// OOMKills counts the processes that the host has killed because the cgroup
// was out of memory.
func (c *Cgroup) OOMKills() (uint64, error) { return 0, errors.ErrUnsupported }

// WatchOOM calls f each time that the cgroup ran out of memory, until ctx is
// done or the cgroup is gone (nil in both cases).
func (c *Cgroup) WatchOOM(ctx context.Context, f func()) error { return errors.ErrUnsupported }

// Destroy kills what is still in the cgroup, thaws it, and removes it with all
// cgroups below. It may be called again, and whatever others removed
// meanwhile counts as done. What does not carry c's mark is removed only if
// it is empty.
func (c *Cgroup) Destroy() error { return errors.ErrUnsupported }
