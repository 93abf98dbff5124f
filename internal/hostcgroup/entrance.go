package hostcgroup

import (
	"errors"
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
			if errors.Is(err, unix.ENOENT) {
				return nil, fmt.Errorf("entering cgroup %s: there is no such one; make it first, or name another one", path)
			}
			return nil, fmt.Errorf("entering cgroup %s: %w", path, explain(err))
		}
	}
	return e, nil
}

func (e *Entrance) open(path string) error {
	// Not by package os, which would have Go's runtime watch the file.
	tasks := filepath.Join(path, "tasks")
	fd, err := unix.Open(tasks, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		e.V1 = append(e.V1, os.NewFile(uintptr(fd), tasks))
		return nil
	}
	missing := &os.PathError{Op: "open", Path: tasks, Err: err}
	if err != unix.ENOENT {
		return missing
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	// Only hierarchies of v2 have no such file.
	var fs unix.Statfs_t
	if err = unix.Fstatfs(int(dir.Fd()), &fs); err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC {
		err = missing
	}
	if err != nil {
		dir.Close()
		return err
	}
	e.V2 = dir
	return nil
}
