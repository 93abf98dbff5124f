package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Processes lists what runs in the container: the processes in its cgroup, or,
// where it has none, in its PID namespace.
func (wall) Processes(c *isolation.Container) (list []isolation.Process, err error) {
	var pids []int
	if !c.Cgroup.None() {
		if pids, err = c.Cgroup.PIDs(true); err != nil {
			return nil, err
		}
	} else {
		members, err := namespaceMembers(c.Init)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			pids = append(pids, m.PID)
		}
	}
	for _, pid := range pids {
		p, err := describe(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// namespaceMembers lists the processes in the PID namespace of a container's
// first process, and in those below it.
func namespaceMembers(init isolation.PID) ([]isolation.PID, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	theirs, err := os.Readlink(procPath(init.PID, "ns/pid"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if own == theirs {
		return nil, fmt.Errorf("which processes are the container's can't be told: it has neither a cgroup nor a %s namespace of its own", specs.PIDNamespace)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var members []isolation.PID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := isolation.FindPID(pid)
		if err != nil || !inNamespace(pid, theirs) {
			continue
		}
		members = append(members, p)
	}
	return members, nil
}

// inNamespace reports whether a process is in the PID namespace that a link in
// /proc/PID/ns shows as name, or in one below it.
func inNamespace(pid int, name string) bool {
	f, err := os.Open(procPath(pid, "ns/pid"))
	if err != nil {
		return false
	}
	defer func() { f.Close() }()
	link, err := os.Readlink(procPath(pid, "ns/pid"))
	for err == nil {
		if link == name {
			return true
		}
		fd, e := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT)
		if e != nil { // EPERM above the caller's own
			return false
		}
		f.Close()
		f = os.NewFile(uintptr(fd), "pid namespace")
		link, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	}
	return false
}

// clockTick is how many nanoseconds a tick of proc_pid_stat(5) has: USER_HZ is
// 100 on all machines that Go runs on.
const clockTick = 1e9 / 100

// describe reads what is to be said of a process.
func describe(pid int) (isolation.Process, error) {
	stat, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return isolation.Process{}, err
	}
	p, err := parseStat(string(stat))
	if err != nil {
		return p, fmt.Errorf("%s: %w", procPath(pid, "stat"), err)
	}
	p.PID = pid
	var st unix.Stat_t
	if err := unix.Stat(procPath(pid, "task"), &st); err != nil {
		return p, err
	}
	p.UID = st.Uid
	if line, err := os.ReadFile(procPath(pid, "cmdline")); err == nil && len(line) > 0 {
		p.Command = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	}
	return p, nil
}

// parseStat takes what is needed from a line in the form of proc_pid_stat(5).
func parseStat(line string) (p isolation.Process, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndex(line, ") ")
	if open < 0 || end < open {
		return p, fmt.Errorf("not in the form of proc_pid_stat(5): %q", line)
	}
	p.Command = "[" + line[open+1:end] + "]"
	// Field 3 of the manual page is the first of these.
	f := strings.Fields(line[end+2:])
	field := func(n int) (v uint64) {
		if err == nil {
			if n-3 >= len(f) {
				err = fmt.Errorf("field %d is missing: %q", n, line)
			} else {
				v, err = strconv.ParseUint(f[n-3], 10, 64)
			}
		}
		return v
	}
	p.PPID, p.Threads = int(field(4)), int(field(20))
	p.CPU = (field(14) + field(15)) * clockTick
	return p, err
}

// HostResources implements isolation.Wall: the cgroup enforces all limits.
func (wall) HostResources(r *specs.LinuxResources) *specs.LinuxResources { return r }

// CheckPause implements isolation.Wall: all processes are in the cgroup.
func (wall) CheckPause(*isolation.Container) error { return nil }

// Usage implements isolation.Wall: the cgroup tells all.
func (wall) Usage(*isolation.Container) (*isolation.Usage, error) { return nil, nil }

// Update implements isolation.Wall: there is nobody else to tell.
func (wall) Update(*isolation.Container, *specs.LinuxResources) error { return nil }
