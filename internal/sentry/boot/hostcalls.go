package boot

import (
	"fmt"
	"slices"

	"coffer/internal/link"
	"coffer/internal/seccomp"
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/socket/hostsock"

	"golang.org/x/sys/unix"
)

// notNegative holds for a descriptor argument that is a real one, and so not
// AT_FDCWD: what is opened lies beneath a donated directory.
func notNegative(i int) seccomp.Arg { return seccomp.Arg{Index: i, Mask: 1 << 31, Value: 0} }

// runtimeCalls are what Go's runtime needs, and what goes with it.
var runtimeCalls = append(slices.Clone(seccomp.GoRuntime),
	seccomp.Rule{Call: unix.SYS_SCHED_SETAFFINITY, Args: []seccomp.Arg{seccomp.Equal(0, 0)}, Reason: "a thread goes to its stub's processor, or away from it"},
	seccomp.Rule{Call: unix.SYS_TIMERFD_CREATE, Args: []seccomp.Arg{seccomp.Equal(0, unix.CLOCK_MONOTONIC)}, Reason: "timers that are exact to less than the network poller's millisecond"},
	seccomp.Rule{Call: unix.SYS_TIMERFD_SETTIME, Args: []seccomp.Arg{seccomp.Equal(1, 0)}, Reason: "likewise"},
)

// fileCalls are what hostfs, tmpfs and the control socket need. They reach
// what was donated and memfds, nothing else: the root directory is empty.
var fileCalls = []seccomp.Rule{
	{Call: unix.SYS_READ, Reason: "donated descriptors and memfds"},
	{Call: unix.SYS_WRITE, Reason: "likewise"},
	{Call: unix.SYS_PREAD64, Reason: "likewise"},
	{Call: unix.SYS_PWRITE64, Reason: "likewise"},
	{Call: unix.SYS_PREADV2, Reason: "reads that must not wait (RWF_NOWAIT)"},
	{Call: unix.SYS_PWRITEV2, Reason: "writes that must not wait"},
	{Call: unix.SYS_CLOSE, Reason: "gives descriptors back"},
	{Call: unix.SYS_LSEEK, Reason: "holes and data in files"},
	{Call: unix.SYS_PPOLL, Reason: "readiness of donated descriptors, and whether something waits in a poller (x/sys/unix makes poll(2) of it)"},
	{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.TIOCINQ)}, Reason: "how much a donated pipe holds"},
	{Call: unix.SYS_OPENAT2, Args: []seccomp.Arg{notNegative(0)}, Reason: "files beneath a donated directory"},
	{Call: unix.SYS_STATX, Args: []seccomp.Arg{notNegative(0)}, Reason: "attributes of files there"},
	{Call: unix.SYS_FSTAT, Reason: "attributes of an open file"},
	{Call: unix.SYS_FSTATFS, Reason: "statfs(2) on a donated tree, and whether the file of a program's code notes its changes"},
	{Call: unix.SYS_GETDENTS64, Reason: "lists directories there"},
	{Call: unix.SYS_READLINKAT, Args: []seccomp.Arg{notNegative(0)}, Reason: "symbolic links there"},
	{Call: unix.SYS_MKDIRAT, Args: []seccomp.Arg{notNegative(0)}, Reason: "changes in a writable bind"},
	{Call: unix.SYS_SYMLINKAT, Args: []seccomp.Arg{notNegative(1)}, Reason: "likewise"},
	{Call: unix.SYS_LINKAT, Args: []seccomp.Arg{notNegative(0), notNegative(2)}, Reason: "likewise"},
	{Call: unix.SYS_UNLINKAT, Args: []seccomp.Arg{notNegative(0)}, Reason: "likewise"},
	{Call: unix.SYS_RENAMEAT2, Args: []seccomp.Arg{notNegative(0), notNegative(2)}, Reason: "likewise"},
	{Call: unix.SYS_FCHMOD, Reason: "likewise"},
	{Call: unix.SYS_FCHMODAT2, Args: []seccomp.Arg{notNegative(0)}, Reason: "likewise"},
	{Call: unix.SYS_FCHOWN, Reason: "likewise"},
	{Call: unix.SYS_FCHOWNAT, Args: []seccomp.Arg{notNegative(0)}, Reason: "likewise"},
	{Call: unix.SYS_UTIMENSAT, Args: []seccomp.Arg{notNegative(0)}, Reason: "likewise"},
	{Call: unix.SYS_MKNODAT, Args: []seccomp.Arg{notNegative(0), seccomp.Equal(3, 0)}, Reason: "FIFOs and names of sockets there, and whiteouts; no other device"},
	{Call: unix.SYS_FTRUNCATE, Reason: "sizes of memfds and of files in a writable bind"},
	{Call: unix.SYS_FALLOCATE, Reason: "room and holes in these"},
	{Call: unix.SYS_FSYNC, Reason: "fsync(2) in a writable bind"},
	{Call: unix.SYS_FDATASYNC, Reason: "likewise"},
	{Call: unix.SYS_FGETXATTR, Reason: "extended attributes there"},
	{Call: unix.SYS_FSETXATTR, Reason: "likewise"},
	{Call: unix.SYS_FLISTXATTR, Reason: "likewise"},
	{Call: unix.SYS_FREMOVEXATTR, Reason: "likewise"},
	{Call: unix.SYS_FCNTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.F_GETFL)}, Reason: "a donated descriptor's access mode"},
	{Call: unix.SYS_FCNTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.F_ADD_SEALS)}, Reason: "seals of memfd_create(2) files, and of code that programs share"},
	{Call: unix.SYS_MEMFD_CREATE, Reason: "large or mapped files in memory, shared memory, context pages, code of programs with system calls rewritten"},
	{Call: unix.SYS_KCMP, Reason: "which donated descriptors are one description"},
	{Call: unix.SYS_SYSINFO, Reason: "the host's memory, of which tmpfs may use half"},
	{Call: unix.SYS_MEMBARRIER, Args: []seccomp.Arg{{Index: 0, Mask: ^uint64(0), Value: 1}}, Reason: "membarrier(2) of guests: all processors pass a barrier"},
}

// terminalCalls are what guests may ask of a donated terminal.
func terminalCalls() []seccomp.Rule {
	var rules []seccomp.Rule
	for _, request := range hostfs.TerminalRequests() {
		rules = append(rules, seccomp.Rule{
			Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, uint64(request))},
			Reason: "settings, size and buffers of a donated terminal",
		})
	}
	return rules
}

// stubCalls are what every platform needs.
var stubCalls = []seccomp.Rule{
	{Call: unix.SYS_PROCESS_VM_READV, Reason: "guest memory; only stubs are in sight in the PID namespace"},
	{Call: unix.SYS_PROCESS_VM_WRITEV, Reason: "likewise"},
	{Call: unix.SYS_SOCKETPAIR, Args: []seccomp.Arg{seccomp.Equal(0, unix.AF_UNIX), seccomp.Equal(1, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC)}, Reason: "hands a stub the descriptor of a file to map; such a socket leads nowhere else, as one for datagrams would"},
	{Call: unix.SYS_SENDMSG, Reason: "likewise"},
	{Call: unix.SYS_WAIT4, Reason: "stubs that ended"},
	{Call: unix.SYS_WAITID, Reason: "likewise"},
	{Call: unix.SYS_KILL, Reason: "ends stubs"},
	{Call: unix.SYS_SETPRIORITY, Args: []seccomp.Arg{seccomp.Equal(0, unix.PRIO_PROCESS), seccomp.Equal(2, stub.Humble)}, Reason: "puts the stubs of a crowd behind the sentry"},
}

// ptraceCalls are what the ptrace platform needs beside.
var ptraceCalls = []seccomp.Rule{
	{Call: unix.SYS_PTRACE, Reason: "this platform traces its stubs; nothing else is in sight in the PID namespace"},
}

// serverCalls are what a sandbox with a server needs beside.
var serverCalls = []seccomp.Rule{
	{Call: unix.SYS_ACCEPT4, Args: []seccomp.Arg{seccomp.Equal(3, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)}, Reason: "connections to the one listening socket, which was donated"},
	{Call: unix.SYS_RECVMSG, Reason: "requests, with the descriptors of what is to be run"},
}

// needs says which calls a sandbox takes beside those that all of them take.
type needs struct {
	// intercept names the platform.
	intercept string
	// serves: it has a server. hostNetwork: its sockets are the host's. links: it has
	// interfaces that lead out, or may get some.
	serves, hostNetwork, links bool
}

// needs is what the description asks for.
func (b *Sandbox) needs() needs {
	n := needs{intercept: b.Intercept, serves: b.Server != nil}
	if b.Network != nil {
		n.hostNetwork, n.links = b.Network.Host, len(b.Network.Interfaces) > 0
	}
	n.links = n.links || n.serves && !n.hostNetwork
	return n
}

// hostCalls is everything that a sentry may ask of the host.
func hostCalls(n needs) []seccomp.Rule {
	var rules []seccomp.Rule
	rules = append(rules, runtimeCalls...)
	rules = append(rules, fileCalls...)
	rules = append(rules, terminalCalls()...)
	rules = append(rules, stubCalls...)
	if n.intercept == "ptrace" {
		rules = append(rules, ptraceCalls...)
	}
	if n.serves {
		rules = append(rules, serverCalls...)
	}
	if n.hostNetwork {
		rules = append(rules, hostsock.HostCalls()...)
	}
	if n.links {
		rules = append(rules, link.HostCalls()...)
	}
	return rules
}

// endsSentry is the answer to a call that is not in the table: it is not made,
// and raises SIGSYS, which ends the sentry with a report.
const endsSentry = unix.SECCOMP_RET_TRAP

// installFilter puts the sentry behind its filter, which answers a call that
// is not in the table with refusal.
func installFilter(calls []seccomp.Rule, refusal uint32) error {
	prog, err := seccomp.Build(calls, refusal)
	if err != nil {
		return fmt.Errorf("building the sentry's seccomp filter: %w", err)
	}
	if err := seccomp.Install(prog); err != nil {
		return fmt.Errorf("putting the sentry behind its seccomp filter: %w", err)
	}
	return nil
}
