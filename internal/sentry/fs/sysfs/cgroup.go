package sysfs

import (
	"cmp"
	"fmt"
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"
)

// Limits are what a control group allows, for programs that size themselves
// by it. 0 is no limit.
type Limits struct {
	// Memory, Swap (beyond memory) and Reservation are in bytes, Tasks counts
	// threads.
	Memory, Swap, Reservation uint64
	Tasks                     uint64
	// Quota is the processor time in microseconds in each Period; a Period of 0
	// is DefaultPeriod. Weight is the share of processor time, 1 to 10000; 0 is
	// the default, 100.
	Quota, Period, Weight uint64
	// CPUs is the set of processors, 64 a word.
	CPUs []uint64
}

// Usage is what the processes of a control group use.
type Usage struct {
	// Memory is in bytes, Tasks counts threads.
	Memory uint64
	Tasks  int
	// User and System are processor time in nanoseconds.
	User, System uint64
}

// DefaultPeriod is the length of a processor quota's period in microseconds.
const DefaultPeriod = 100000

// defaultWeight is cpu.weight where nobody has set it.
const defaultWeight = 100

// CgroupTypeName is the type's name for mount(2): version 2 of cgroups(7), which
// programs look for first.
const CgroupTypeName = "cgroup2"

// NewCgroup returns a view of one control group, as a cgroup2 file system whose
// root is the group: limits and usage are read when they are asked for, and nothing
// can be made or changed.
func NewCgroup(limits func() Limits, usage func() Usage) *FS {
	super := genfs.NewSuper(vfs.AnonymousDevice())
	super.Flat = &genfs.Flat{Last: genfs.NearOffset}
	root := genfs.NewRoot(super)
	limit := func(name string, render func(Limits, []byte) []byte) {
		root.AddFile(name, func(_ vfs.Caller, b []byte) ([]byte, error) { return append(render(limits(), b), '\n'), nil })
	}
	used := func(name string, render func(Usage, []byte) []byte) {
		root.AddFile(name, func(_ vfs.Caller, b []byte) ([]byte, error) { return append(render(usage(), b), '\n'), nil })
	}
	root.AddText("cgroup.controllers", "cpuset cpu memory pids\n")
	root.AddText("cgroup.subtree_control", "\n")
	root.AddText("cgroup.type", "domain\n")
	root.AddText("cgroup.events", "populated 1\nfrozen 0\n")
	root.AddText("cgroup.max.depth", "0\n")
	root.AddText("cgroup.max.descendants", "0\n")
	root.AddText("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n")

	limit("cpu.max", func(l Limits, b []byte) []byte {
		b = append(appendMost(b, l.Quota), ' ')
		return strconv.AppendUint(b, cmp.Or(l.Period, DefaultPeriod), 10)
	})
	limit("cpu.weight", func(l Limits, b []byte) []byte {
		return strconv.AppendUint(b, cmp.Or(l.Weight, defaultWeight), 10)
	})
	used("cpu.stat", func(u Usage, b []byte) []byte {
		const micro = 1000
		return fmt.Appendf(b, "usage_usec %d\nuser_usec %d\nsystem_usec %d", (u.User+u.System)/micro, u.User/micro, u.System/micro)
	})
	for _, name := range []string{"cpuset.cpus", "cpuset.cpus.effective"} {
		limit(name, func(l Limits, b []byte) []byte { return genfs.Bitmap(l.CPUs).List(b) })
	}
	root.AddText("cpuset.mems", "0\n")
	root.AddText("cpuset.mems.effective", "0\n")

	limit("memory.max", func(l Limits, b []byte) []byte { return appendMost(b, l.Memory) })
	limit("memory.low", func(l Limits, b []byte) []byte { return strconv.AppendUint(b, l.Reservation, 10) })
	limit("memory.swap.max", func(l Limits, b []byte) []byte { return strconv.AppendUint(b, l.Swap, 10) })
	root.AddText("memory.high", "max\n")
	root.AddText("memory.min", "0\n")
	root.AddText("memory.swap.current", "0\n")
	used("memory.current", func(u Usage, b []byte) []byte { return strconv.AppendUint(b, u.Memory, 10) })
	root.AddText("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n")
	used("memory.stat", func(u Usage, b []byte) []byte {
		return fmt.Appendf(b, "anon %d\nfile 0\ninactive_file 0\nactive_file 0", u.Memory)
	})

	limit("pids.max", func(l Limits, b []byte) []byte { return appendMost(b, l.Tasks) })
	used("pids.current", func(u Usage, b []byte) []byte { return strconv.AppendInt(b, int64(u.Tasks), 10) })
	return &FS{name: CgroupTypeName, magic: cgroup2Magic, root: root}
}

// appendMost renders a limit.
func appendMost(b []byte, n uint64) []byte {
	if n == 0 {
		return append(b, "max"...)
	}
	return strconv.AppendUint(b, n, 10)
}
