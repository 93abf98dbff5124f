package hostcgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// PIDs are the processes in the cgroup, and with all also those in cgroups
// below it, in order. There are none in a cgroup that is gone, or that others
// use.
func (c *Cgroup) PIDs(all bool) ([]int, error) {
	return members(c.marked(), all)
}

// members are the processes in the cgroups at dirs, those in PID namespaces
// that the caller can't see left out.
func members(dirs []string, all bool) ([]int, error) {
	var pids []int
	for _, dir := range dirs {
		list := cgroups.GetPids
		if all && hasBelow(dir) {
			list = cgroups.GetAllPids
		}
		some, err := list(dir)
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("listing the processes of cgroup %s: %w", dir, err)
		}
		pids = append(pids, some...)
	}
	slices.Sort(pids)
	pids = slices.Compact(pids)
	// Linux shows 0 for those of other PID namespaces.
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == 0 }), nil
}

// hasBelow reports whether there are cgroups below the one at dir. Its links are two
// and one for each of them; to look through its files for them takes Linux far longer.
func hasBelow(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Nlink != 2
}

// freezerDir is the directory that freezes the container; empty if there is
// none.
func (c *Cgroup) freezerDir() string { return c.Path("freezer") }

// Freeze stops all processes and returns when they stand still.
func (c *Cgroup) Freeze() error { return c.freeze(cgroups.Frozen, "freezing") }

// Thaw lets them go on.
func (c *Cgroup) Thaw() error { return c.freeze(cgroups.Thawed, "thawing") }

func (c *Cgroup) freeze(to cgroups.FreezerState, what string) error {
	if c.None() {
		return ErrNone
	}
	if c.freezerDir() == "" {
		return fmt.Errorf("%s the container: the host has no freezer controller", what)
	}
	if err := c.manager.Freeze(to); err != nil {
		return fmt.Errorf("%s the container's cgroup %s: %w", what, c.freezerDir(), explain(err))
	}
	return nil
}

// Frozen reports whether the cgroup is frozen; one that is gone is not.
func (c *Cgroup) Frozen() (bool, error) {
	if c.None() {
		return false, nil
	}
	state, err := c.manager.GetFreezerState()
	if err != nil && !gone(err) {
		return false, fmt.Errorf("seeing whether the container's cgroup %s is frozen: %w", c.freezerDir(), explain(err))
	}
	return state == cgroups.Frozen, nil
}

// Kill sends a signal to all processes, those in cgroups below included; none
// that they start meanwhile escapes. The caller itself is spared, and whoever
// uses a cgroup that is not the container's.
func (c *Cgroup) Kill(sig unix.Signal) error {
	dirs := c.marked()
	if len(dirs) == 0 {
		return nil
	}
	if sig == unix.SIGKILL && c.unified() {
		// Since Linux 5.14.
		err := os.WriteFile(filepath.Join(c.paths[""], "cgroup.kill"), []byte("1"), 0)
		if err == nil || errors.Is(err, unix.ENODEV) {
			return nil
		}
	}
	return c.signal(dirs, sig)
}

// signal sends sig to all processes of the cgroups at dirs. They are frozen
// meanwhile, so that no child that is just being made is missed.
func (c *Cgroup) signal(dirs []string, sig unix.Signal) error {
	frozen, err := c.Frozen()
	if err != nil {
		return err
	}
	// Where there is no freezer, a second and third look finds the children.
	looks := 3
	if frozen || c.Freeze() == nil {
		looks = 1
	}
	// Who stays frozen takes the signal when thawed; but on v1 SIGKILL, too,
	// has to wait for that.
	if !frozen || sig == unix.SIGKILL {
		defer c.Thaw()
	}
	signalled := map[int]bool{os.Getpid(): true}
	for range looks {
		pids, err := members(dirs, true)
		if err != nil {
			return err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return signalled[pid] })
		if err := signalMembers(dirs, pids, sig); err != nil {
			return err
		}
		for _, pid := range pids {
			signalled[pid] = true
		}
	}
	return nil
}

// EndMembers ends the processes in the cgroup at a directory, and below it.
func EndMembers(dir string) error {
	dirs := []string{dir}
	pids, err := members(dirs, true)
	if err != nil {
		return err
	}
	return signalMembers(dirs, pids, unix.SIGKILL)
}

// signalMembers sends sig to those of pids that are still in the cgroups when
// a descriptor holds each of them: a PID that was used again in between is not
// hit.
func signalMembers(dirs []string, pids []int, sig unix.Signal) error {
	const batch = 256 // bounds the open descriptors
	for chunk := range slices.Chunk(pids, batch) {
		held := map[int]int{}
		for _, pid := range chunk {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				held[pid] = fd
			}
		}
		still, err := members(dirs, true)
		for _, pid := range still {
			fd, ok := held[pid]
			if !ok {
				continue
			}
			if e := unix.PidfdSendSignal(fd, sig, nil, 0); e != nil && e != unix.ESRCH {
				err = errors.Join(err, fmt.Errorf("sending %s to process %d of the container's cgroup: %w", unix.SignalName(sig), pid, e))
			}
		}
		for _, fd := range held {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
