package hostcgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Entrance is how a new process comes into a cgroup by itself.
//
// For a process to move itself, or to be born there, is much cheaper than to
// be moved: Linux then need not hold up the births and ends of all processes,
// which takes it a grace period of RCU, some 10 ms (cgroup_procs_write_start
// in kernel/cgroup/cgroup.c).
type Entrance struct {
	// V2 is the directory for CLONE_INTO_CGROUP of clone3(2), where there is a
	// hierarchy of v2: the only one, or one beside those of v1.
	V2 *os.File
	// V1 are files to which a process of one thread writes "0", one of each
	// hierarchy of v1.
	V1 []*os.File
}

// Close closes the files.
func (e *Entrance) Close() {
	if e == nil {
		return
	}
	e.V2.Close()
	for _, f := range e.V1 {
		f.Close()
	}
}

// Entrance opens the way into the cgroup, or into the one at sub below it as
// with Add. It is nil, without an error, if there is no cgroup yet and a process
// must be added for systemd to make it.
func (c *Cgroup) Entrance(sub string) (*Entrance, error) {
	if c.None() || !c.Exists() {
		return nil, nil
	}
	dirs, err := c.below(sub)
	if err != nil {
		return nil, err
	}
	e := new(Entrance)
	for _, path := range dirs {
		if err := e.open(path); err != nil {
			e.Close()
			return nil, fmt.Errorf("entering cgroup %s: %w", path, err)
		}
	}
	return e, nil
}

func (e *Entrance) open(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return err
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		dir, err := os.Open(path)
		if err == nil {
			e.V2 = dir
		}
		return err
	}
	tasks, err := os.OpenFile(filepath.Join(path, "tasks"), os.O_WRONLY, 0)
	if err == nil {
		e.V1 = append(e.V1, tasks)
	}
	return err
}
