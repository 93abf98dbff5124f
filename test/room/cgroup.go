package room

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupMount is where a hierarchy is mounted.
type cgroupMount struct{ dir, kind, options string }

// cgroupMounts lists the hierarchies that are mounted, by
// /proc/self/mountinfo (proc_pid_mountinfo(5)).
func cgroupMounts() ([]cgroupMount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []cgroupMount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !found || len(head) < 5 || len(tail) < 3 || !strings.HasPrefix(tail[0], "cgroup") {
			continue
		}
		m := cgroupMount{dir: head[4], kind: tail[0]}
		// Of the file system's own options only those that say which
		// hierarchy it is can be given again.
		if m.kind == "cgroup" {
			var keep []string
			for o := range strings.SplitSeq(tail[2], ",") {
				if o != "rw" && o != "ro" && o != "xattr" && o != "clone_children" && !strings.HasPrefix(o, "release_agent=") {
					keep = append(keep, o)
				}
			}
			m.options = strings.Join(keep, ",")
		}
		list = append(list, m)
	}
	return list, lines.Err()
}

// makeCgroups makes a cgroup of this name in each hierarchy that can be written.
func makeCgroups(name string) (dirs []string, err error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		dir := filepath.Join(m.dir, name)
		if err := os.Mkdir(dir, 0o755); errors.Is(err, unix.EROFS) {
			continue
		} else if err != nil {
			return dirs, fmt.Errorf("making a cgroup for the room: %w", err)
		}
		dirs = append(dirs, dir)
		// A new cpuset of version 1 has no processors, and takes nobody.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(m.dir, file)); err == nil && m.kind == "cgroup" {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0); err != nil {
					return dirs, fmt.Errorf("giving the room's cgroup its processors: %w", err)
				}
			}
		}
	}
	return dirs, nil
}

// remountCgroups mounts the hierarchies again as they are seen from this
// process's cgroup namespace. Unless v2 is set, there is then no hierarchy of
// version 2 beside those of version 1.
func remountCgroups(v2 bool) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	hybrid := slices.ContainsFunc(mounts, func(m cgroupMount) bool { return m.kind == "cgroup" })
	for _, m := range mounts {
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", m.dir, err)
		}
		if m.kind == "cgroup2" && hybrid && !v2 {
			continue
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, m.options); err != nil {
			return fmt.Errorf("mounting the room's own %s: %w", m.dir, err)
		}
		if m.kind == "cgroup2" && !hybrid {
			// Only a cgroup without processes can hand controllers on.
			leaf := filepath.Join(m.dir, "room")
			if err := os.Mkdir(leaf, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
				return fmt.Errorf("leaving the root of the room's cgroups to what runs in it: %w", err)
			}
		}
	}
	return nil
}

// removeCgroup removes a cgroup with all below it. Processes have been killed
// with their PID namespace, but leave their cgroups only as they are reaped.
func removeCgroup(dir string) error {
	var dirs []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		var err error
		for range 200 {
			if err = os.Remove(d); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the room's cgroup: %w", err)
		}
	}
	return nil
}
