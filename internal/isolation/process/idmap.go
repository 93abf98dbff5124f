package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// writeIDMaps gives the new user namespace of process pid its ID maps. A caller
// without the right to map other IDs than its own asks newuidmap(1) and
// newgidmap(1), which know what /etc/subuid and /etc/subgid allow.
func writeIDMaps(pid int, l *specs.Linux) error {
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	// Linux takes a group map from the unprivileged only if setgroups(2) is
	// forbidden: groups can also be what denies access.
	if onlyOwn(l.GIDMappings, os.Getegid()) && os.Geteuid() != 0 {
		if err := os.WriteFile(proc+"setgroups", []byte("deny"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forbidding setgroups(2) in the container's user namespace: %w", err)
		}
	}
	if err := writeIDMap(proc+"gid_map", "linux.gidMappings", "newgidmap", pid, l.GIDMappings, os.Getegid()); err != nil {
		return err
	}
	return writeIDMap(proc+"uid_map", "linux.uidMappings", "newuidmap", pid, l.UIDMappings, os.Geteuid())
}

func writeIDMap(path, field, helper string, pid int, maps []specs.LinuxIDMapping, own int) error {
	var text strings.Builder
	args := []string{strconv.Itoa(pid)}
	for _, m := range maps {
		container, host, size := utoa(m.ContainerID), utoa(m.HostID), utoa(m.Size)
		fmt.Fprintf(&text, "%s %s %s\n", container, host, size)
		args = append(args, container, host, size)
	}
	err := os.WriteFile(path, []byte(text.String()), 0)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EPERM) || onlyOwn(maps, own) {
		return fmt.Errorf("%s: writing %q to the container's user namespace: %w", field, text.String(), err)
	}
	program, lookErr := exec.LookPath(helper)
	if lookErr != nil {
		return fmt.Errorf("%s: only root may map other IDs than its own (%w), and the program %s, which could do so, is not installed: install it (Debian's package uidmap), or map one ID only", field, err, helper)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: '%s %s' failed (%w): %s", field, helper, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func onlyOwn(maps []specs.LinuxIDMapping, own int) bool {
	return len(maps) == 1 && maps[0].Size == 1 && maps[0].HostID == uint32(own)
}

// mapsRoot reports whether ID 0 of the container is mapped.
func mapsRoot(maps []specs.LinuxIDMapping) bool {
	return slices.ContainsFunc(maps, func(m specs.LinuxIDMapping) bool { return m.ContainerID == 0 && m.Size > 0 })
}

// writeTimeOffsets sets the clocks of the time namespace in which the children
// of process pid will be (time_namespaces(7)).
func writeTimeOffsets(pid int, offsets map[string]specs.LinuxTimeOffset) error {
	if len(offsets) == 0 {
		return nil
	}
	var text strings.Builder
	for clock, o := range offsets {
		fmt.Fprintf(&text, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
	}
	path := "/proc/" + strconv.Itoa(pid) + "/timens_offsets"
	if err := os.WriteFile(path, []byte(text.String()), 0); err != nil {
		return fmt.Errorf("linux.timeOffsets: writing %q to the container's time namespace: %w (the clocks are monotonic and boottime; none may run below zero)", text.String(), err)
	}
	return nil
}
