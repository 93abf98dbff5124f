package sysfs

import (
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
	// CPUs is the set of processors, 64 a word; nil is not to tell.
	CPUs []uint64
	// Usage returns what is used now.
	Usage func() Usage
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
// root is the group: limits can be read, and nothing can be made or changed.
func NewCgroup(l Limits) *FS {
	root := genfs.NewRoot(genfs.NewSuper(vfs.AnonymousDevice()))
	most := func(n uint64) string {
		if n == 0 {
			return "max\n"
		}
		return strconv.FormatUint(n, 10) + "\n"
	}
	usage := func(render func(Usage, []byte) []byte) genfs.Content {
		return func(_ vfs.Caller, b []byte) ([]byte, error) {
			var u Usage
			if l.Usage != nil {
				u = l.Usage()
			}
			return render(u, b), nil
		}
	}
	root.AddText("cgroup.controllers", "cpuset cpu memory pids\n")
	root.AddText("cgroup.subtree_control", "\n")
	root.AddText("cgroup.type", "domain\n")
	root.AddText("cgroup.events", "populated 1\nfrozen 0\n")
	root.AddText("cgroup.max.depth", "0\n")
	root.AddText("cgroup.max.descendants", "0\n")
	root.AddText("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n")

	quota, period, weight := "max", l.Period, l.Weight
	if l.Quota > 0 {
		quota = strconv.FormatUint(l.Quota, 10)
	}
	if period == 0 {
		period = DefaultPeriod
	}
	if weight == 0 {
		weight = defaultWeight
	}
	root.AddText("cpu.max", quota+" "+strconv.FormatUint(period, 10)+"\n")
	root.AddText("cpu.weight", strconv.FormatUint(weight, 10)+"\n")
	root.AddFile("cpu.stat", usage(func(u Usage, b []byte) []byte {
		const micro = 1000
		return fmt.Appendf(b, "usage_usec %d\nuser_usec %d\nsystem_usec %d\n", (u.User+u.System)/micro, u.User/micro, u.System/micro)
	}))
	if l.CPUs != nil {
		list := string(genfs.Bitmap(l.CPUs).List(nil)) + "\n"
		root.AddText("cpuset.cpus", list)
		root.AddText("cpuset.cpus.effective", list)
		root.AddText("cpuset.mems", "0\n")
		root.AddText("cpuset.mems.effective", "0\n")
	}

	root.AddText("memory.max", most(l.Memory))
	root.AddText("memory.high", "max\n")
	root.AddText("memory.low", strconv.FormatUint(l.Reservation, 10)+"\n")
	root.AddText("memory.min", "0\n")
	root.AddText("memory.swap.max", strconv.FormatUint(l.Swap, 10)+"\n")
	root.AddText("memory.swap.current", "0\n")
	root.AddFile("memory.current", usage(func(u Usage, b []byte) []byte {
		return append(strconv.AppendUint(b, u.Memory, 10), '\n')
	}))
	root.AddText("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n")
	root.AddFile("memory.stat", usage(func(u Usage, b []byte) []byte {
		return fmt.Appendf(b, "anon %d\nfile 0\ninactive_file 0\nactive_file 0\n", u.Memory)
	}))

	root.AddText("pids.max", most(l.Tasks))
	root.AddFile("pids.current", usage(func(u Usage, b []byte) []byte {
		return append(strconv.AppendInt(b, int64(u.Tasks), 10), '\n')
	}))
	return &FS{name: CgroupTypeName, magic: cgroup2Magic, root: root}
}
