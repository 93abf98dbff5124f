package hostcgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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

// ErrForeign is returned by Destroy for a cgroup that is another's.
var ErrForeign = errors.New("the cgroup is not the container's")

// Destroy kills what is still in the cgroup, thaws it, and removes it with all
// cgroups below. It may be called again, and whatever others removed
// meanwhile counts as done. What does not carry c's mark is removed only if
// it is empty, and else left alone.
func (c *Cgroup) Destroy() error {
	if c.None() {
		return nil
	}
	unit := c.config.Systemd && systemdRuns() && (len(c.marked()) > 0 || !c.Exists())
	// An empty cgroup is the rule, and needs no look inside.
	var ours []string
	for _, dir := range c.dirs() {
		switch {
		case removed(dir):
		case c.isMarked(dir):
			ours = append(ours, dir)
		default:
			slog.Debug(fmt.Sprintf("cgroup %s is not the container's, since it lacks its mark, and is in use: it is left alone", dir))
		}
	}
	if err := c.empty(ours); err != nil {
		return err
	}
	if unit {
		// The unit goes by itself once it is empty; systemd is told so that
		// one that failed is not kept.
		if err := c.manager.Destroy(); err != nil && len(c.marked()) > 0 {
			return fmt.Errorf("having systemd remove the container's unit: %w", err)
		}
	}
	var errs []error
	for _, dir := range ours {
		errs = append(errs, cgroups.RemovePath(dir))
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

// abandonedAfter is how old a cgroup is that certainly has its first process, and then
// some as long as it is in use.
const abandonedAfter = time.Minute

// RemoveAbandoned removes cgroups beside c, and not c, that are named as those of which nobody but
// the caller's kind makes any, that carry a mark and have no processes: those of containers that
// were killed at the same instant as all who would have removed them.
func (c *Cgroup) RemoveAbandoned(named func(base string) bool) {
	for _, dir := range c.dirs() {
		RemoveAbandoned(filepath.Dir(dir), func(other string) bool {
			return other != dir && named(filepath.Base(other)) && hasMark(other)
		})
	}
}

// RemoveAbandoned removes such cgroups below a directory of which ours reports that they are the
// caller's. Other PID namespaces may have made them: the number of a process in the name tells nothing.
func RemoveAbandoned(dir string, ours func(dir string) bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // nobody waits for it
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.IsDir() || !ours(path) {
			continue
		}
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > abandonedAfter && removed(path) {
			slog.Debug(fmt.Sprintf("cgroup %s was left by a coffer that was killed, and has been removed", path))
		}
	}
}

// empty kills the members of the cgroups at dirs, which are the container's, and
// waits until they are gone.
func (c *Cgroup) empty(dirs []string) error {
	deadline := time.Now().Add(dyingTime)
	for sleep := firstSleep; ; sleep = min(2*sleep, lastSleep) {
		pids, err := members(dirs, true)
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
		if err := c.signal(dirs, unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(sleep)
	}
}
