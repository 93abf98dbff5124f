package boot

import (
	"math"
	"time"

	"coffer/internal/sentry/fs/devfs"

	"golang.org/x/sys/unix"
)

// What an OCI spec asks of a container and of a process, in the kernel's own
// terms: package isolation/kernel has translated names to numbers and opened
// what lies on the host. Paths are the container's. A Field is what an error
// calls the part of the spec that it came from, such as "mounts[2]".

// Files are the files of a container that an OCI spec describes.
type Files struct {
	// Trees are directories of the host that Mounts refer to.
	Trees []Tree
	// Confined says that the root and the trees are mounts of their own
	// already, with no more rights than they need. Otherwise they are plain
	// directories, and the sentry confines them when it starts.
	Confined bool

	// Readonly says that nothing can be written in the root file system.
	Readonly bool
	// Propagation is that of the root mount: MS_SHARED, MS_SLAVE, MS_PRIVATE or
	// MS_UNBINDABLE, with MS_REC for all mounts; 0 is MS_PRIVATE|MS_REC.
	Propagation uint64
	// Mounts are made in this order. A destination that is missing is made; in
	// a read-only root, in a layer in memory.
	Mounts []FileMount
	// Devices are nodes, made after the mounts.
	Devices []Device
	// Masked are paths that read as empty and take nothing, ReadonlyPaths such as
	// take nothing. Those that are missing are passed over.
	Masked, ReadonlyPaths []string
}

// Tree is a directory of the host.
type Tree struct {
	FD int
	// Name is the one file in it that is meant, if the tree is not confined.
	Name string
	// Write lets the guest change the host's files.
	Write bool
}

// FileMount is one mount of a container.
type FileMount struct {
	Field       string
	Destination string
	// Type is the file system's type; empty for what Tree holds.
	Type string
	// Source is what /proc/mounts shows.
	Source string
	// Tree is a place in Files.Trees, where Type is empty; File the file in it
	// that is meant, empty for the tree itself.
	Tree int
	File string
	// Set are the mount's MS_* flags, and RecursiveSet and RecursiveClear those
	// that are changed on it and on all that is mounted below.
	Set, RecursiveSet, RecursiveClear uint64
	// Propagation are MS_* changes, in order, MS_REC among them.
	Propagation []uint64
	// Data holds the type's own options, comma-separated.
	Data string
	// CopyUp fills a file system in memory with what it covers.
	CopyUp bool
}

// Device is a device node. Those of devices that the kernel does not have can
// be made, and not opened.
type Device struct {
	Field string
	Path  string
	// Mode is type and permissions.
	Mode         uint32
	Major, Minor uint32
	UID, GID     uint32
}

// IDMapping is a line of /proc/PID/uid_map.
type IDMapping struct{ Inside, Outside, Count uint32 }

// Sysctl is a setting, its name with slashes.
type Sysctl struct{ Field, Name, Value string }

// Hook is a program that runs in the container, as its user, before the
// container's own.
type Hook struct {
	Field string
	Path  string
	Args  []string
	Env   []string
	// Timeout ends it; 0 is never.
	Timeout time.Duration
	// Stdin is what it reads.
	Stdin []byte
}

// Resources are a container's limits as it sees them. The host enforces those
// of memory and processor time on the sandbox; the number of tasks is the
// kernel's own to enforce.
type Resources struct {
	// Memory, MemorySwap (with swap) and Reservation are in bytes; 0 is no limit.
	Memory, MemorySwap, Reservation int64
	// Quota is the processor time in microseconds in each Period; 0 is no limit.
	Quota  int64
	Period uint64
	// Weight is cgroup v2's cpu.weight, 1 to 10000; 0 is the default.
	Weight uint64
	// CPUs is the set of processors, 64 a word; nil is all.
	CPUs []uint64
	// Tasks is how many threads there may be; 0 is no limit.
	Tasks int64
}

// ResourceChange changes Resources: what is nil stays.
type ResourceChange struct {
	Memory, MemorySwap, Reservation, Quota, Tasks *int64
	Period, Weight                                *uint64
	CPUs                                          []uint64
}

// Change applies a change.
func (r *Resources) Change(c *ResourceChange) {
	for _, v := range []struct{ to, from *int64 }{
		{&r.Memory, c.Memory}, {&r.MemorySwap, c.MemorySwap}, {&r.Reservation, c.Reservation},
		{&r.Quota, c.Quota}, {&r.Tasks, c.Tasks},
	} {
		if v.from != nil {
			*v.to = *v.from
		}
	}
	if c.Period != nil {
		r.Period = *c.Period
	}
	if c.Weight != nil {
		r.Weight = *c.Weight
	}
	if c.CPUs != nil {
		r.CPUs = c.CPUs
	}
}

// HostTasks is how many processes and threads the host must allow a sandbox whose
// programs may have n threads: those of the kernel come on top.
func HostTasks(n int64) int64 {
	const most = 1 << 22 // no host has more
	return processesPerTaskAtMost*min(n, most) + processesBesideTasks
}

// Attributes are what an OCI spec asks of a process beside Process's own fields.
type Attributes struct {
	// Capabilities are the five sets of capabilities(7), bit n for number n.
	Capabilities    Capabilities
	NoNewPrivileges bool
	Limits          []Limit
	// OOMScoreAdj, if not nil, is proc_pid_oom_score_adj(5)'s.
	OOMScoreAdj *int
	// IOPriority is ioprio_set(2)'s, class included; 0 is none.
	IOPriority int
	Scheduler  *Scheduler
	// CPUs are the processors that the process may use, as it sees it; nil is
	// all of the container's.
	CPUs []uint64
	// Personality is personality(2)'s.
	Personality uint32
	// Seccomp is the filter of the process, a program of classic BPF; empty for none.
	Seccomp []unix.SockFilter
}

// Capabilities are sets of capabilities.
type Capabilities struct{ Bounding, Effective, Inheritable, Permitted, Ambient uint64 }

// Limit is a resource limit (unix.RLIMIT_*).
type Limit struct {
	Resource int
	Cur, Max uint64
}

// Scheduler is what sched_setattr(2) takes.
type Scheduler struct {
	Policy, Nice, Priority    int32
	ResetOnFork               bool
	Runtime, Deadline, Period uint64
}

// HasDevice reports whether the kernel has a character device.
func HasDevice(major, minor int64) bool {
	return major >= 0 && minor >= 0 && major <= math.MaxUint32 && minor <= math.MaxUint32 &&
		devfs.NameOf(uint32(major), uint32(minor)) != ""
}

// TimeOffsets are how far the clocks of a time namespace of the container's own
// are ahead of the host's.
type TimeOffsets struct{ Monotonic, Boottime time.Duration }
