package rootfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// overProc is the files of /proc that may be covered: they only inform, and
// who covers them (LXCFS for one) shows what is true in the container. With
// any other, a container could make the runtime, or itself later, take
// something else for what the kernel says, or not be confined by an LSM.
var overProc = []string{
	"/proc/cpuinfo",
	"/proc/diskstats",
	"/proc/loadavg",
	"/proc/meminfo",
	"/proc/slabinfo",
	"/proc/stat",
	"/proc/swaps",
	"/proc/sys/crypto/fips_enabled",
	"/proc/sys/kernel/ns_last_pid",
	"/proc/uptime",
}

// underProc reports whether a path is /proc or below it.
func underProc(dest string) bool { return dest == "/proc" || strings.HasPrefix(dest, "/proc/") }

// checkOverProc refuses mounts over /proc and what is in it, but for proc
// file systems and what is in overProc.
func checkOverProc(dest string, isProc bool) error {
	switch {
	case !underProc(dest) || slices.Contains(overProc, dest) || dest == "/proc" && isProc:
		return nil
	case dest == "/proc":
		return errors.New("only a proc file system may be mounted there, by its type or as a bind mount of one: anything else could forge what the kernel says of processes")
	}
	return fmt.Errorf("nothing may be mounted there, since it could forge what the kernel says, or keep the container from being confined: leave it out, or use linux.maskedPaths or linux.readonlyPaths (these may be covered: %s)", strings.Join(overProc, ", "))
}

// checkNotInProc refuses a destination that is in a proc file system though
// its path does not say so: a symbolic link leads there.
func checkNotInProc(dest string, fd int) error {
	if underProc(dest) {
		return nil
	}
	in, err := isOn(fd, unix.PROC_SUPER_MAGIC)
	if err != nil || !in {
		return err
	}
	// A second proc file system may be mounted over, as /proc may.
	if root, err := isProcRoot(fd); err != nil || root {
		return err
	}
	return errors.New("a symbolic link leads from it into a proc file system, which may not be covered: remove the link")
}
