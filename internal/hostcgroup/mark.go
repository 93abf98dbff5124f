package hostcgroup

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// markNames are the extended attributes that can hold a mark: cgroupfs keeps
// both kinds (cgroups(7)); the first is for those privileged on the host, the
// second for the owner of a delegated directory (since Linux 5.7).
var markNames = []string{"trusted.coffer", "user.coffer"}

// newMark makes a mark that no other container has.
func newMark() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// setMarks says that the directories are the container's, those included that were
// missing before, and forgets the ones that are missing still: the library only tries
// to make those of hierarchies without a controller. A host whose kernel keeps no such
// attributes (before Linux 5.7, without privileges) does without: then the record says
// so, and all of the directories count as marked.
func (c *Cgroup) setMarks(missing []string) {
	for _, dir := range c.dirs() {
		var err error
		if c.mark != "" {
			err = c.setMark(dir)
		}
		there := !errors.Is(err, unix.ENOENT)
		if err != nil && there {
			slog.Debug(err.Error())
			c.mark = ""
		}
		if c.mark == "" {
			there = cgroups.PathExists(dir)
		}
		switch {
		case !there:
			maps.DeleteFunc(c.paths, func(_, d string) bool { return d == dir })
		case !slices.Contains(missing, dir):
			// One that was left by another container of the name is in use again (RemoveAbandoned).
			unix.Utimes(dir, nil)
		}
	}
}

func (c *Cgroup) setMark(dir string) error {
	var errs []error
	for _, name := range markNames {
		err := unix.Setxattr(dir, name, []byte(c.mark), 0)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return fmt.Errorf("marking cgroup %s as the container's by an extended attribute: %w", dir, errors.Join(errs...))
}

// marked are the directories that are there and the container's.
func (c *Cgroup) marked() []string {
	if c.None() {
		return nil
	}
	return slices.DeleteFunc(c.dirs(), func(dir string) bool { return !c.isMarked(dir) })
}

func (c *Cgroup) isMarked(dir string) bool {
	if c.mark == "" {
		return cgroups.PathExists(dir)
	}
	buf := make([]byte, len(c.mark)+1)
	for _, name := range markNames {
		if n, err := unix.Getxattr(dir, name, buf); err == nil && string(buf[:n]) == c.mark {
			return true
		}
	}
	return false
}

// hasMark reports whether a cgroup carries any container's mark.
func hasMark(dir string) bool {
	return slices.ContainsFunc(markNames, func(name string) bool {
		n, err := unix.Getxattr(dir, name, nil)
		return err == nil && n > 0
	})
}
