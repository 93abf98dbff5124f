package identity

import (
	"errors"
	"fmt"

	"coffer/internal/oci/linuxname"

	"golang.org/x/sys/unix"
)

func (s *Settings) checkAffinity() error {
	a := s.Process.ExecCPUAffinity
	if a == nil {
		return nil
	}
	for _, l := range []struct{ name, list string }{{"initial", a.Initial}, {"final", a.Final}} {
		if l.list == "" {
			continue
		}
		if _, err := linuxname.CPUSet(l.list); err != nil {
			return fmt.Errorf("process.execCPUAffinity.%s: %w", l.name, err)
		}
	}
	return nil
}

// Affinity binds process pid to the processors of execCPUAffinity: the initial
// ones before it joins the container's cgroup, the final ones afterwards. They
// are for an exec only, and where there are none, the process may use
// afterwards all that its cgroup allows, whatever its caller is bound to.
func (s *Settings) Affinity(pid int, final bool) error {
	name, list := "initial", ""
	if a := s.Process.ExecCPUAffinity; a != nil && s.Exec {
		list = a.Initial
		if final {
			name, list = "final", a.Final
		}
		if list == "" {
			// With an initial one only that stays.
			return nil
		}
	}
	if list == "" {
		if !final {
			return nil
		}
		// Linux takes those away that the cgroup does not allow.
		all := unix.NewCPUSet(maxProcessors)
		all.Fill()
		if err := unix.SchedSetaffinityDynamic(pid, all); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("letting the container's process use all processors of its cgroup: %w", err)
		}
		return nil
	}
	words, err := linuxname.CPUSet(list)
	if err != nil {
		return fmt.Errorf("process.execCPUAffinity.%s: %w", name, err)
	}
	err = unix.SchedSetaffinityDynamic(pid, mask(words))
	if errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: none of these processors is there, online and allowed by the container's cgroup (linux.resources.cpu.cpus)", err)
	}
	if err != nil {
		return fmt.Errorf("binding the process to processors %s (process.execCPUAffinity.%s): %w", list, name, err)
	}
	return nil
}

// maxProcessors is the most that Linux can be built for (NR_CPUS on x86-64).
const maxProcessors = 8192

// mask makes a mask of its words.
func mask(words []uint64) unix.CPUSetDynamic {
	set := unix.NewCPUSet(64 * len(words))
	for i, w := range words {
		for bit := range 64 {
			if w&(1<<bit) != 0 {
				set.Set(64*i + bit)
			}
		}
	}
	return set
}
