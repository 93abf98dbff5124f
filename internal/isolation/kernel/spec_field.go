package kernel

import "sync"

// Support is what the wall makes of a field of an OCI spec.
type Support string

// The kinds of support. What is refused is refused by the field's name, before
// anything is made.
const (
	Inside   Support = "inside"    // the guest's kernel does it
	ByHost   Support = "host"      // the host's kernel does it, to the sandbox as a whole
	Runtime  Support = "runtime"   // coffer itself does it, whatever the wall
	Refused  Support = "refused"   // an error
	NoEffect Support = "no effect" // there is nothing that it could change; a warning says so
	Foreign  Support = "foreign"   // for other systems than Linux; passed over, as the specification says
)

// Field is a field of an OCI spec and what becomes of it. This is the one list:
// Check refuses by it, and the documentation is made from it.
type Field struct {
	// Path is the field's place, as in "linux.resources.cpu.shares"; "[]" stands
	// for each element of a list. What lies below a field that is listed is
	// meant too.
	Path    string
	Support Support
	// Note says how, or why not.
	Note string
}

// fieldOf finds a field's own row.
func fieldOf(path string) (Field, bool) {
	f, ok := fieldByPath()[path]
	return f, ok
}

// fieldByPath is made when it is first needed: most roles of the program never
// look at a spec.
var fieldByPath = sync.OnceValue(func() map[string]Field {
	m := make(map[string]Field, len(fields))
	for _, f := range fields {
		m[f.Path] = f
	}
	return m
})

const (
	hostLSM    = "it says what a program may ask of the host's kernel, and programs here ask it nothing"
	shownOnly  = "kept, and shown to programs; processor and disk are shared out by the host"
	hostCgroup = "set on the sandbox's cgroup"
)

var fields = []Field{
	{"ociVersion", Runtime, ""},
	{"process.terminal", Inside, "the line discipline is the guest's; bytes, sizes and hang-ups pass between it and the terminal that is handed over"},
	{"process.consoleSize", Inside, ""},
	{"process.user.uid", Inside, ""},
	{"process.user.gid", Inside, ""},
	{"process.user.umask", Inside, "022 without"},
	{"process.user.additionalGids", Inside, ""},
	{"process.user.username", Foreign, ""},
	{"process.args", Inside, ""},
	{"process.commandLine", Foreign, ""},
	{"process.env", Inside, ""},
	{"process.cwd", Inside, "made if it is missing"},
	{"process.capabilities", Inside, "all five sets; they are powers over the guest's kernel and never over the host's"},
	{"process.rlimits", Inside, "RSS, RTPRIO, RTTIME, NICE and LOCKS are kept and have no effect"},
	{"process.noNewPrivileges", Inside, ""},
	{"process.apparmorProfile", NoEffect, hostLSM},
	{"process.oomScoreAdj", Inside, "shown in /proc; on the host the programs of a sandbox are the first to go when memory runs out"},
	{"process.scheduler", Inside, shownOnly + "; of the flags only SCHED_FLAG_RESET_ON_FORK is known"},
	{"process.selinuxLabel", NoEffect, hostLSM},
	{"process.ioPriority", Inside, shownOnly},
	{"process.execCPUAffinity", Inside, "the final set is what the program sees; which processors the sandbox uses is for its cgroup to say"},
	{"root.path", Inside, "shown as it is, and changed in place; what is mounted in it on the host is shown too, but for file systems by which the host's kernel is spoken to"},
	{"root.readonly", Inside, "the host keeps it so; mount points that are missing are made in memory"},
	{"hostname", Inside, "the host's without"},
	{"domainname", Inside, ""},
	{"mounts[].destination", Inside, "made if it is missing"},
	{"mounts[].type", Inside, "bind, tmpfs, proc, sysfs, devpts, mqueue, cgroup (always version 2, read-only by nature, with the container's limits); overlay is mounted by the host"},
	{"mounts[].source", Inside, "of a bind, a directory or regular file; sockets, pipes and devices are refused"},
	{"mounts[].options", Inside, "a bind shows the source and what is mounted in it as one mount, so that its options hold for all of it; shared and slave let mounts of the host appear inside, and none of the guest's outside; options that a bind does not have are passed over; remount and idmap are refused"},
	{"mounts[].uidMappings", Refused, "the kernel wall maps no owners of files by mount: use the process wall, or leave it out"},
	{"mounts[].gidMappings", Refused, "the kernel wall maps no owners of files by mount: use the process wall, or leave it out"},
	{"hooks.prestart", Runtime, ""},
	{"hooks.createRuntime", Runtime, ""},
	{"hooks.createContainer", Runtime, "in the runtime's namespaces: the container's are its kernel's, where no program of the host can be"},
	{"hooks.startContainer", Inside, "programs of the container, run as its user before its own program; in the state that they read, the process is number 1"},
	{"hooks.poststart", Runtime, ""},
	{"hooks.poststop", Runtime, ""},
	{"annotations", Runtime, "those of CRI put a container into the sandbox of another"},
	{"linux.uidMappings", Inside, "a user namespace of the guest's; files keep the owners that they have on the host"},
	{"linux.gidMappings", Inside, "likewise"},
	{"linux.sysctl", Inside, "those that the guest's kernel has, others are refused; all are kept and shown, and of them the names of host and domain act. Those below net act, or take only the value that tells what the network does: others are refused"},
	{"linux.resources.devices", ByHost, hostCgroup + "; the guest's own devices, which can do no harm, are not subject to it"},
	{"linux.resources.memory.limit", ByHost, "for the programs and their kernel together, 32 MiB at least; of a pod's containers, those after the first are bound by the pod's cgroup only; shown in /proc/meminfo, sysinfo(2) and memory.max"},
	{"linux.resources.memory.reservation", ByHost, "shown in memory.low"},
	{"linux.resources.memory.swap", ByHost, "shown in memory.swap.max"},
	{"linux.resources.memory.kernel", ByHost, hostCgroup},
	{"linux.resources.memory.kernelTCP", ByHost, hostCgroup},
	{"linux.resources.memory.swappiness", ByHost, hostCgroup},
	{"linux.resources.memory.disableOOMKiller", ByHost, hostCgroup},
	{"linux.resources.memory.useHierarchy", ByHost, hostCgroup},
	{"linux.resources.memory.checkBeforeUpdate", ByHost, hostCgroup},
	{"linux.resources.cpu.shares", ByHost, "shown in cpu.weight"},
	{"linux.resources.cpu.quota", ByHost, "shown in cpu.max"},
	{"linux.resources.cpu.burst", ByHost, hostCgroup},
	{"linux.resources.cpu.period", ByHost, "shown in cpu.max"},
	{"linux.resources.cpu.realtimeRuntime", ByHost, hostCgroup},
	{"linux.resources.cpu.realtimePeriod", ByHost, hostCgroup},
	{"linux.resources.cpu.cpus", ByHost, "shown by sched_getaffinity(2), and so nproc(1), in cpuset.cpus, /proc/cpuinfo and /sys"},
	{"linux.resources.cpu.mems", ByHost, hostCgroup},
	{"linux.resources.cpu.idle", ByHost, hostCgroup},
	{"linux.resources.pids.limit", Inside, "threads of the container; shown in pids.max"},
	{"linux.resources.blockIO", ByHost, hostCgroup},
	{"linux.resources.hugepageLimits", ByHost, hostCgroup},
	{"linux.resources.network", ByHost, hostCgroup + "; the frames of a network that the sandbox has taken over are not subject to it"},
	{"linux.resources.rdma", ByHost, hostCgroup},
	{"linux.resources.unified", ByHost, hostCgroup},
	{"linux.cgroupsPath", Runtime, "the sandbox's cgroup on the host; inside, a container sees its own as the root"},
	{"linux.namespaces[].type", Inside, "pid, ipc, uts and mount must be listed; those that are not are the sandbox's, and never the host's. Without network, programs use the host's sockets"},
	{"linux.namespaces[].path", Inside, "those of the sandbox that the container belongs to. Of a network namespace of the host's the sandbox takes the interfaces over that are up, with their addresses, routes and permanent neighbours (docs/networking.md), and delete gives them back. Others are refused"},
	{"linux.devices", Inside, "null, zero, full, random, urandom, tty, console, ptmx, fuse, net/tun and pipes; other devices are refused"},
	{"linux.netDevices", Inside, "moved into the container's network namespace on the host, and taken over from there"},
	{"linux.seccomp.defaultAction", Inside, "evaluated by the guest's kernel"},
	{"linux.seccomp.defaultErrnoRet", Inside, ""},
	{"linux.seccomp.architectures", Inside, ""},
	{"linux.seccomp.flags", Inside, "known, and without effect: there is no audit log behind the wall, and no speculation to spare"},
	{"linux.seccomp.listenerPath", Refused, "an agent on the host could not look into the process that it is asked about: use the process wall, or leave it out"},
	{"linux.seccomp.listenerMetadata", Refused, "there is no listener that it could be for: use the process wall, or leave it out"},
	{"linux.seccomp.syscalls", Inside, "SCMP_ACT_NOTIFY is refused"},
	{"linux.rootfsPropagation", Inside, "between mounts of the sandbox; the host's take no part"},
	{"linux.maskedPaths", Inside, ""},
	{"linux.readonlyPaths", Inside, ""},
	{"linux.mountLabel", NoEffect, hostLSM},
	{"linux.intelRdt", Refused, "the kernel wall does not share out caches and memory bandwidth: use the process wall, or leave it out"},
	{"linux.memoryPolicy", Refused, "the guest's kernel shows one memory node: use the process wall, or leave it out"},
	{"linux.personality", Inside, ""},
	{"linux.timeOffsets", Inside, ""},
	{"solaris", Foreign, ""},
	{"windows", Foreign, ""},
	{"vm", Foreign, ""},
	{"zos", Foreign, ""},
	{"freebsd", Foreign, ""},
}
