package hostcgroup

import (
	"fmt"
	"os"
	"path/filepath"
)

// Entrances opens the files by which a process of one thread moves itself into
// the cgroup on v1, or into the one at sub below it: it writes "0" to each.
// There are none where a process is started in its cgroup (FD) or must be added
// (Add), which are the ways on v2 and for what systemd has not made yet.
//
// For a process to move itself is much cheaper than to be moved: Linux then
// need not hold up the births and ends of all processes, which takes it a grace
// period of RCU, some 10 ms (cgroup_procs_write_start in kernel/cgroup/cgroup.c).
func (c *Cgroup) Entrances(sub string) (files []*os.File, err error) {
	if c.None() || c.unified() || !c.Exists() {
		return nil, nil
	}
	paths, err := c.below(sub)
	if err != nil {
		return nil, err
	}
	opened := map[string]bool{}
	for _, dir := range paths {
		if opened[dir] {
			continue // controllers that are mounted together
		}
		opened[dir] = true
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("entering cgroup %s: %w", dir, err)
		}
		files = append(files, f)
	}
	return files, nil
}
