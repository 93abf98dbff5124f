package gateway

import (
	"slices"

	"coffer/internal/seccomp"

	"golang.org/x/sys/unix"
)

// HostCalls is everything that the helper may ask of the host.
func HostCalls() []seccomp.Rule {
	return append(slices.Clone(seccomp.GoRuntime), []seccomp.Rule{
		{Call: unix.SYS_READ, Reason: "sockets"},
		{Call: unix.SYS_PREAD64, Reason: "how many processors its cgroup gives it, which Go's runtime keeps asking"},
		{Call: unix.SYS_WRITE, Reason: "its log, and what wakes the network poller"},
		{Call: unix.SYS_CLOSE, Reason: "gives descriptors back"},
		{Call: unix.SYS_SOCKET, Args: []seccomp.Arg{seccomp.Equal(0, unix.AF_INET)}, Reason: "the outer half of a flow"},
		{Call: unix.SYS_SOCKET, Args: []seccomp.Arg{seccomp.Equal(0, unix.AF_INET6)}, Reason: "likewise"},
		{Call: unix.SYS_CONNECT, Reason: "connects it; nothing else here can be connected"},
		{Call: unix.SYS_GETPEERNAME, Reason: "whether a connection has come about"},
		{Call: unix.SYS_GETSOCKNAME, Reason: "what kind of socket the link is"},
		{Call: unix.SYS_GETSOCKOPT, Reason: "why a connection has not come about"},
		{Call: unix.SYS_SETSOCKOPT, Reason: "keepalives, errors, lingering"},
		{Call: unix.SYS_ACCEPT4, Reason: "connections to published ports"},
		{Call: unix.SYS_SENDMSG, Reason: "sockets"},
		{Call: unix.SYS_RECVMSG, Reason: "sockets and their error queues"},
		{Call: unix.SYS_RECVFROM, Reason: "whether a connection has ended"},
		{Call: unix.SYS_SENDMMSG, Reason: "frames of the link"},
		{Call: unix.SYS_RECVMMSG, Reason: "likewise"},
		{Call: unix.SYS_SHUTDOWN, Reason: "ends one direction of a connection"},
		{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.TIOCINQ)}, Reason: "how much a socket holds"},
		{Call: unix.SYS_FCNTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.F_GETFL)}, Reason: "whether a descriptor waits"},
		{Call: unix.SYS_FCNTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.F_SETFL)}, Reason: "has descriptors not wait"},
		{Call: unix.SYS_FSTAT, Reason: "what kind of file a descriptor is, for the network poller"},
	}...)
}
