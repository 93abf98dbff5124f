package hostcgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// How long Destroy waits for killed processes to be gone, and how long it
// sleeps between two looks at first and at most. cgroup v1 tells nobody when a
// cgroup becomes empty.
const (
	dyingTime  = 10 * time.Second
	firstSleep = 500 * time.Microsecond
	lastSleep  = 50 * time.Millisecond
)

// Destroy kills what is still in the cgroup, thaws it, and removes it with all
// cgroups below. It may be called again, and whatever others removed
// meanwhile counts as done. What does not carry c's mark is removed only if
// it is empty.
func (c *Cgroup) Destroy() error {
	if c.None() {
		return nil
	}
	// An empty cgroup is the rule, and needs no look inside.
	left := slices.DeleteFunc(c.dirs(), removed)
	if len(left) > 0 {
		if err := c.empty(left); err != nil {
			return err
		}
	}
	if c.config.Systemd && systemdRuns() {
		// The unit goes by itself once it is empty; systemd is told so that
		// one that failed is not kept.
		if err := c.manager.Destroy(); err != nil && c.Exists() {
			return fmt.Errorf("having systemd remove the container's unit: %w", err)
		}
	}
	var errs []error
	for _, dir := range left {
		if err := cgroups.RemovePath(dir); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the container's cgroup: %w", err)
	}
	return nil
}

// removed removes a directory that has no processes and none below it.
func removed(dir string) bool {
	err := unix.Rmdir(dir)
	return err == nil || err == unix.ENOENT
}

// empty kills the members of the cgroups at dirs that are the container's, and
// waits until they are gone. Others must be empty.
func (c *Cgroup) empty(dirs []string) error {
	ours, others := []string{}, []string{}
	for _, dir := range dirs {
		if c.marked(dir) {
			ours = append(ours, dir)
		} else {
			others = append(others, dir)
		}
	}
	foreign, err := members(others, true)
	if err != nil {
		return err
	}
	if len(foreign) > 0 {
		// Not ours, so neither theirs to be ended nor in our way: a cgroup
		// that Create refused.
		inOurs, err := members(ours, true)
		if err != nil {
			return err
		}
		if len(inOurs) == 0 {
			return fmt.Errorf("cgroup %s is not the container's (it lacks its mark) and holds %d process(es); it is left alone", others[0], len(foreign))
		}
	}
	deadline := time.Now().Add(dyingTime)
	for sleep := firstSleep; ; sleep = min(2*sleep, lastSleep) {
		pids, err := members(ours, true)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if slices.Contains(pids, os.Getpid()) {
			return errors.New("removing the container's cgroup: this very process is in it; call from outside of the container's cgroup")
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("removing the container's cgroup: processes %v have been sent SIGKILL and do not end within %s; they wait in the kernel, perhaps for a device or a network file system", pids, dyingTime)
		}
		if err := c.signal(ours, unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(sleep)
	}
}
