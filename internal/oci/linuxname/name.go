// Package linuxname knows the numbers that Linux has for the names in an OCI spec:
// capabilities, resource limits, scheduling. It is one list for all walls.
package linuxname

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilities are those of capabilities(7), by number.
var capabilities = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Capabilities lists the names of all capabilities, by number.
func Capabilities() []string { return slices.Clone(capabilities[:]) }

// Capability is a capability's number.
func Capability(name string) (number int, ok bool) {
	number = slices.Index(capabilities[:], name)
	return number, number >= 0
}

// CapabilitySet is the set of those that are named, bit n for number n, and the
// names that are none.
func CapabilitySet(names []string) (set uint64, unknown []string) {
	for _, name := range names {
		if n, ok := Capability(name); ok {
			set |= 1 << n
		} else {
			unknown = append(unknown, name)
		}
	}
	return set, unknown
}

// rlimits are the resources of getrlimit(2); x/sys/unix lacks some.
var rlimits = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// Rlimit is a resource's number.
func Rlimit(name string) (resource int, ok bool) {
	resource, ok = rlimits[name]
	return resource, ok
}

// Rlimits lists the names of all resources, sorted.
func Rlimits() []string { return slices.Sorted(maps.Keys(rlimits)) }

var policies = map[string]int32{
	"SCHED_OTHER": unix.SCHED_NORMAL, "SCHED_FIFO": unix.SCHED_FIFO, "SCHED_RR": unix.SCHED_RR,
	"SCHED_BATCH": unix.SCHED_BATCH, "SCHED_ISO": 4, "SCHED_IDLE": unix.SCHED_IDLE, "SCHED_DEADLINE": unix.SCHED_DEADLINE,
}

// Policy is a scheduling policy's number (sched(7)). Linux has reserved that of
// SCHED_ISO and has no such policy.
func Policy(name string) (number int32, ok bool) {
	number, ok = policies[name]
	return number, ok
}

var schedulerFlags = map[string]uint64{
	"SCHED_FLAG_RESET_ON_FORK": unix.SCHED_FLAG_RESET_ON_FORK, "SCHED_FLAG_RECLAIM": unix.SCHED_FLAG_RECLAIM,
	"SCHED_FLAG_DL_OVERRUN": unix.SCHED_FLAG_DL_OVERRUN, "SCHED_FLAG_KEEP_POLICY": unix.SCHED_FLAG_KEEP_POLICY,
	"SCHED_FLAG_KEEP_PARAMS": unix.SCHED_FLAG_KEEP_PARAMS, "SCHED_FLAG_UTIL_CLAMP_MIN": unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	"SCHED_FLAG_UTIL_CLAMP_MAX": unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// SchedulerFlag is a flag of sched_setattr(2).
func SchedulerFlag(name string) (flag uint64, ok bool) {
	flag, ok = schedulerFlags[name]
	return flag, ok
}

// The highest priority number within an I/O class, which is the least urgent.
const ioPriorityMax = 7

var ioClasses = map[string]int{"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

// IOPriority is the number of ioprio_set(2) for a class and a priority in it.
func IOPriority(class string, priority int) (int, error) {
	const classShift = 13 // IOPRIO_CLASS_SHIFT
	c, ok := ioClasses[class]
	switch {
	case !ok:
		return 0, fmt.Errorf("%q is no class: they are %s", class, strings.Join(slices.Sorted(maps.Keys(ioClasses)), ", "))
	case priority < 0 || priority > ioPriorityMax:
		return 0, fmt.Errorf("%d is no priority: they are 0, the most urgent, to %d", priority, ioPriorityMax)
	}
	return c<<classShift | priority, nil
}

// personalities are the execution domains of personality(2) that the spec knows.
var personalities = map[string]uint32{"LINUX": 0, "LINUX32": 8}

// Personality is the number of personality(2) of a domain.
func Personality(domain string) (number uint32, ok bool) {
	number, ok = personalities[domain]
	return number, ok
}

// CPUSet parses a list of processors such as "0-3,7" (cpuset(7), "List format")
// into a set, 64 a word.
func CPUSet(list string) ([]uint64, error) {
	var set []uint64
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, err := span(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is no list of processors such as 0-3,7", list)
		}
		for n := from; n <= to; n++ {
			for len(set) <= n/64 {
				set = append(set, 0)
			}
			set[n/64] |= 1 << (n % 64)
		}
	}
	return set, nil
}

// cpusMax is how many processors Linux can be built for on x86-64 (NR_CPUS).
const cpusMax = 8192

// span parses "N" or "N-M".
func span(s string) (from, to int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if from, err = cpu(a); err != nil {
		return 0, 0, err
	}
	to, err = cpu(b)
	if err == nil && from > to {
		err = fmt.Errorf("%d comes after %d", from, to)
	}
	return from, to, err
}

func cpu(s string) (int, error) {
	n := 0
	if s == "" || len(s) > 4 {
		return 0, fmt.Errorf("%q is no number of a processor", s)
	}
	for _, r := range s {
		if r < '0' || r > '9' {
			return 0, fmt.Errorf("%q is no number of a processor", s)
		}
		n = 10*n + int(r-'0')
	}
	if n >= cpusMax {
		return 0, fmt.Errorf("there is no processor %d", n)
	}
	return n, nil
}
