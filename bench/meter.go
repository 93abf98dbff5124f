package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A meter tells what processors' time this process's descendants have taken.
//
// A cgroup counts all of them. Where none can be made, what was waited for
// counts (getrusage(2)): that lacks what a PID namespace's end kills.
type meter struct {
	// file holds the cgroup's time, in units, on the line that begins with key.
	file string
	key  string
	unit time.Duration
	// group is the cgroup's path in its hierarchy, and dir its directory.
	group, dir string
	// home is the directory that this process came from.
	home string
}

const cgroupRoot = "/sys/fs/cgroup"

// newMeter makes a cgroup and moves this process into it.
func newMeter() *meter {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return &meter{}
	}
	for _, m := range []meter{
		{home: filepath.Join(cgroupRoot, "cpuacct", cgroupPath(string(own), "cpuacct")), file: "cpuacct.usage", unit: time.Nanosecond},
		{home: filepath.Join(cgroupRoot, cgroupPath(string(own), "")), file: "cpu.stat", key: "usage_usec ", unit: time.Microsecond},
	} {
		if !exists(filepath.Join(m.home, m.file)) {
			continue
		}
		m.dir = filepath.Join(m.home, fmt.Sprintf("%s%d", tempPrefix, os.Getpid()))
		if os.Mkdir(m.dir, 0o755) != nil {
			continue
		}
		m.file = filepath.Join(m.dir, m.file)
		if enter(m.dir) != nil {
			os.Remove(m.dir)
			continue
		}
		root := cgroupRoot
		if m.key == "" {
			root = filepath.Join(cgroupRoot, "cpuacct")
		}
		m.group, _ = filepath.Rel(root, m.dir)
		return &m
	}
	return &meter{}
}

// enter moves this process into the cgroup at dir.
func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// cgroupPath finds the path of a controller's hierarchy, or of version 2's if
// it is empty, in /proc/PID/cgroup (cgroups(7)).
func cgroupPath(text, controller string) string {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				if c == controller {
					return f[2]
				}
			}
		}
	}
	return "/"
}

// read is the descendants' time so far.
func (m *meter) read() time.Duration {
	var self unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &self)
	if m.dir != "" {
		return m.cgroupTime() - cpuOf(&self)
	}
	var children unix.Rusage
	unix.Getrusage(unix.RUSAGE_CHILDREN, &children)
	return cpuOf(&children)
}

func (m *meter) cgroupTime() time.Duration {
	b, err := os.ReadFile(m.file)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(m.key)); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64)
			return time.Duration(n) * m.unit
		}
	}
	return 0
}

func cpuOf(r *unix.Rusage) time.Duration {
	return time.Duration(unix.TimevalToNsec(r.Utime) + unix.TimevalToNsec(r.Stime))
}

// groups are where the cgroup is, and where runtimes make those of its name in other hierarchies.
func (m *meter) groups() []string {
	if m.dir == "" {
		return nil
	}
	hierarchies, _ := filepath.Glob(filepath.Join(cgroupRoot, "*"))
	groups := []string{m.dir}
	for _, h := range hierarchies {
		groups = append(groups, filepath.Join(h, m.group))
	}
	return groups
}

// close leaves the cgroup and removes it everywhere. All descendants must have ended.
func (m *meter) close() error {
	if m.dir == "" {
		return nil
	}
	if err := enter(m.home); err != nil {
		return err
	}
	for _, dir := range m.groups() {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	return nil
}
