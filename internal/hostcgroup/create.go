package hostcgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// Create makes the directories and sets the limits. A cgroup that holds
// processes or is frozen is refused. If it fails, what it made is gone.
//
// systemd makes no scope without processes: with Options.Systemd the cgroup
// comes to be, limits included, when the first process is added.
func (c *Cgroup) Create() error {
	if c.None() {
		return nil
	}
	missing := c.missing()
	if err := c.unused(missing); err != nil {
		return err
	}
	if c.config.Systemd {
		return nil
	}
	return c.make(-1, missing)
}

// missing are the directories that are not there yet. Each look at a path costs as
// much as ten other calls, and waits for all who make and remove cgroups.
func (c *Cgroup) missing() []string {
	return slices.DeleteFunc(c.dirs(), func(dir string) bool { return cgroups.PathExists(dir) })
}

// make creates the cgroup, of which some directories are missing, with process pid
// in it if that is not -1.
func (c *Cgroup) make(pid int, missing []string) error {
	err := c.apply(pid, missing)
	if err != nil {
		for _, dir := range missing {
			// What others put into it meanwhile stays.
			unix.Rmdir(dir)
		}
	}
	return err
}

func (c *Cgroup) apply(pid int, missing []string) error {
	err := c.manager.Apply(pid)
	c.paths = maps.Clone(c.manager.GetPaths())
	denied := c.config.Rootless && c.config.Path == "" && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS))
	if errors.Is(err, cgroups.ErrRootless) || denied {
		if c.unified() {
			c.paths = nil
		}
		if err := c.offers(c.asked); err != nil {
			return err
		}
		slog.Debug("the caller may not make cgroups; the container goes without")
	} else if err != nil {
		return fmt.Errorf("making the container's cgroup: %w", explain(err))
	}
	c.setMarks(missing)
	if c.None() {
		return nil
	}
	if limit := c.config.Resources.PidsLimit; limit != nil && *limit < 0 {
		// Engines say so for no limit, also where nothing could keep one.
		if have, err := c.available(); err != nil {
			return err
		} else if !have["pids"] {
			c.config.Resources.PidsLimit = nil
		}
	}
	if err := c.manager.Set(c.config.Resources); err != nil {
		return fmt.Errorf("setting the limits of the container's cgroup: %w", explain(err))
	}
	return nil
}

// unused refuses a cgroup that exists and is in use.
func (c *Cgroup) unused(missing []string) error {
	for _, dir := range c.dirs() {
		if slices.Contains(missing, dir) {
			continue
		}
		pids, err := cgroups.GetAllPids(dir)
		if err != nil && !gone(err) {
			return fmt.Errorf("seeing whether the container's cgroup is in use: %w", explain(err))
		}
		if len(pids) > 0 {
			return fmt.Errorf("the container's cgroup %s is not empty, it holds %d process(es); name another one in linux.cgroupsPath, or end them", dir, len(pids))
		}
	}
	frozen, err := c.Frozen()
	if err != nil {
		return err
	}
	if frozen {
		return fmt.Errorf("the container's cgroup %s is frozen; name another one in linux.cgroupsPath, or thaw it", c.freezerDir())
	}
	return nil
}

// gone reports whether an error is that of a cgroup that was removed.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Add moves process pid into the cgroup, or into the one at sub below it,
// which must exist already. On v1 sub may begin with the controllers that it
// is for, as with runc: cpu,memory:path.
func (c *Cgroup) Add(pid int, sub string) error {
	if c.None() {
		if sub != "" {
			return fmt.Errorf("joining cgroup %q below the container's: %w", sub, ErrNone)
		}
		return nil
	}
	if c.config.Systemd && !c.Exists() {
		return c.make(pid, c.missing())
	}
	paths, err := c.below(sub)
	if err != nil {
		return err
	}
	if c.config.Systemd && c.unified() {
		if err := c.manager.AddPid(strings.TrimPrefix(sub, "/"), pid); err != nil {
			return fmt.Errorf("adding process %d to the container's systemd unit: %w", pid, err)
		}
		return nil
	}
	for _, dir := range paths {
		err := cgroups.WriteCgroupProc(dir, pid)
		switch {
		case err == nil:
		case sub != "" && errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("adding process %d to cgroup %s: there is no such one; make it first, or name another one", pid, dir)
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("adding process %d to cgroup %s: it gives controllers to cgroups below it, and so can't have processes itself; name one of those", pid, dir)
		default:
			return fmt.Errorf("adding process %d to cgroup %s: %w", pid, dir, explain(err))
		}
	}
	return nil
}

// below are the directories at sub below the container's, the order fixed.
func (c *Cgroup) below(sub string) ([]string, error) {
	paths := c.paths
	if names, rest, ok := strings.Cut(sub, ":"); ok && !c.unified() {
		paths = map[string]string{}
		for _, name := range strings.Split(names, ",") {
			dir, ok := c.paths[name]
			if !ok {
				return nil, fmt.Errorf("cgroup %q names controller %q, which the container's cgroup has not", sub, name)
			}
			paths[name] = dir
		}
		sub = rest
	}
	if slices.Contains(strings.Split(sub, "/"), "..") {
		return nil, fmt.Errorf("cgroup %q leads out of the container's by ..; name one below it", sub)
	}
	var dirs []string
	for _, dir := range paths {
		dirs = append(dirs, filepath.Join(dir, sub))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}
