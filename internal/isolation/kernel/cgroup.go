package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coffer/internal/hostcgroup"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/cgroups"
)

// cgroup is the host's memory limit on one sandbox. A nil cgroup is none.
type cgroup struct {
	dir string
	v2  bool
	// keeper removes the directory should this process be killed: it waits
	// for the other end of the pipe to close.
	keeper *exec.Cmd
	pipe   *os.File
	oom    bool
}

// cgroupPrefix begins the names of sandboxes' cgroups, before the number of coffer's process and the time.
const cgroupPrefix = "coffer-"

// newCgroup makes a cgroup with a memory limit beside or below the caller's.
func newCgroup(limit int64) (*cgroup, error) {
	parent, v2, err := memoryCgroup()
	if err != nil {
		return nil, err
	}
	g := &cgroup{dir: filepath.Join(parent, fmt.Sprintf(cgroupPrefix+"%d-%d", os.Getpid(), time.Now().UnixNano())), v2: v2}
	cure := "run as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes), or without --memory"
	// The keeper comes first: whoever kills coffer from here on leaves nothing.
	if err := g.keep(); err != nil {
		g.remove()
		return nil, err
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		g.remove()
		return nil, fmt.Errorf("creating a cgroup for --memory: %w: %s", err, cure)
	}
	files := map[string]int64{"memory.limit_in_bytes": limit}
	optional := map[string]int64{"memory.memsw.limit_in_bytes": limit}
	if v2 {
		files = map[string]int64{"memory.max": limit}
		optional = map[string]int64{"memory.swap.max": 0}
	}
	for name, v := range files {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(strconv.FormatInt(v, 10)), 0); err != nil {
			g.remove()
			return nil, fmt.Errorf("setting the cgroup's memory limit: %w: %s", err, cure)
		}
	}
	for name, v := range optional { // hosts without swap accounting lack these
		os.WriteFile(filepath.Join(g.dir, name), []byte(strconv.FormatInt(v, 10)), 0)
	}
	return g, nil
}

// keep starts the keeper.
func (g *cgroup) keep() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	g.pipe = w
	g.keeper = &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"coffer", "cgroup-keeper", g.dir},
		Env:         []string{},
		Dir:         "/",
		Stdin:       r,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := g.keeper.Start(); err != nil {
		return fmt.Errorf("starting the cgroup's keeper: %w", err)
	}
	return nil
}

// isOurs reports whether a cgroup is named as newCgroup does.
func isOurs(dir string) bool {
	name, ok := strings.CutPrefix(filepath.Base(dir), cgroupPrefix)
	pid, began, _ := strings.Cut(name, "-")
	_, err := strconv.ParseUint(pid, 10, 31)
	_, err2 := strconv.ParseInt(began, 10, 64)
	return ok && err == nil && err2 == nil
}

// KeepCgroup is the keeper's main: it removes what was left when other keepers were killed with
// their coffers, waits for the end of standard input, ends what is left in the cgroup and removes it.
func KeepCgroup(dir string) error {
	hostcgroup.RemoveAbandoned(filepath.Dir(dir), isOurs)
	var b [1]byte
	for {
		n, err := os.Stdin.Read(b[:])
		if n == 0 && err != nil {
			break
		}
	}
	// On a busy host many processes take seconds to end.
	var err error
	for range 20 {
		if err = removeCgroup(dir); !isBusy(err) {
			break
		}
	}
	return err
}

// isBusy reports whether a cgroup was not removed since it has members, or since another removes it just now.
func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENODEV) }

// removeCgroup ends what is left in a cgroup and removes it, for up to a second.
func removeCgroup(dir string) error {
	var err error
	for range 200 {
		err = os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !isBusy(err) {
			return err
		}
		if kerr := hostcgroup.EndMembers(dir); kerr != nil {
			err = errors.Join(err, kerr)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

func (g *cgroup) add(pid int) error {
	if g == nil {
		return nil
	}
	err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if err != nil {
		return fmt.Errorf("moving the sentry into its cgroup: %w", err)
	}
	return nil
}

func (g *cgroup) remove() {
	if g == nil {
		return
	}
	g.oom = g.readOOM()
	removeCgroup(g.dir)
	if g.pipe != nil {
		g.pipe.Close()
		g.pipe = nil
	}
	if g.keeper != nil && g.keeper.Process != nil {
		g.keeper.Wait()
		g.keeper = nil
	}
}

func (g *cgroup) oomKilled() bool { return g != nil && g.oom }

// readOOM tells whether the host's OOM killer struck inside the cgroup.
func (g *cgroup) readOOM() bool {
	name := "memory.oom_control"
	if g.v2 {
		name = "memory.events"
	}
	data, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		return g.oom
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok && v != "0" {
			return true
		}
	}
	return false
}

// memoryCgroup finds the cgroup directory in which to make the sandbox's.
func memoryCgroup() (dir string, v2 bool, err error) {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup") // by controller, "" for version 2
	if err != nil {
		return "", false, fmt.Errorf("--memory needs cgroups: %w", err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return "", false, fmt.Errorf("looking for mounts of cgroups: %w", err)
	}
	for _, m := range mounts {
		within := func(p string) string {
			rel, ok := strings.CutPrefix(p, m.Root)
			if !ok {
				rel = ""
			}
			return filepath.Join(m.Mountpoint, rel)
		}
		if m.FSType == "cgroup" {
			if p, ok := own["memory"]; ok && slices.Contains(strings.Split(m.VFSOptions, ","), "memory") {
				return within(p), false, nil
			}
			continue
		}
		for d := within(own[""]); strings.HasPrefix(d, m.Mountpoint); d = filepath.Dir(d) {
			if c, _ := os.ReadFile(filepath.Join(d, "cgroup.subtree_control")); slices.Contains(strings.Fields(string(c)), "memory") {
				return d, true, nil
			}
		}
	}
	return "", false, errors.New("--memory needs the memory controller of cgroups, which this host has not mounted: mount it, or run without --memory")
}
