package gateway

import (
	"slices"

	"coffer/internal/seccomp"

	"golang.org/x/sys/unix"
)

// sockets are the kinds of the host's sockets that the helper opens: other protocols, which
// the host's kernel may load a module for, are none of a flow's.
var sockets = []struct{ family, kind, protocol uint64 }{
	{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
	{unix.AF_INET6, unix.SOCK_STREAM, 0}, {unix.AF_INET6, unix.SOCK_DGRAM, 0}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6},
}

// options are what it sets of them.
var options = []struct {
	level, name uint64
	reason      string
}{
	{unix.SOL_SOCKET, unix.SO_LINGER, "resets a connection"},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, "finds other sides that are no more"},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, "urgent data stays in its place"},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, "small segments leave at once"},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, "datagrams that are too long are fragmented"},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, "likewise"},
	{unix.IPPROTO_IP, unix.IP_TTL, "datagrams go as many hops as the sandbox says (traceroute)"},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, "likewise"},
	{unix.IPPROTO_IP, unix.IP_RECVERR, "tells of errors of datagrams"},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, "likewise"},
}

// HostCalls is everything that the helper may ask of the host.
func HostCalls() []seccomp.Rule {
	rules := slices.Clone(seccomp.GoRuntime)
	for _, s := range sockets {
		rules = append(rules, seccomp.Rule{
			Call:   unix.SYS_SOCKET,
			Args:   []seccomp.Arg{seccomp.Equal(0, s.family), seccomp.Equal(1, s.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), seccomp.Equal(2, s.protocol)},
			Reason: "the outer half of a flow",
		})
	}
	for _, o := range options {
		rules = append(rules, seccomp.Rule{Call: unix.SYS_SETSOCKOPT, Args: []seccomp.Arg{seccomp.Equal(1, o.level), seccomp.Equal(2, o.name)}, Reason: o.reason})
	}
	return append(rules, []seccomp.Rule{
		{Call: unix.SYS_READ, Reason: "sockets"},
		{Call: unix.SYS_PREAD64, Reason: "how many processors its cgroup gives it, which Go's runtime keeps asking"},
		{Call: unix.SYS_WRITE, Reason: "its log, and what wakes the network poller"},
		{Call: unix.SYS_CLOSE, Reason: "gives descriptors back"},
		{Call: unix.SYS_CONNECT, Reason: "connects it; nothing else here can be connected"},
		{Call: unix.SYS_GETPEERNAME, Reason: "whether a connection has come about"},
		{Call: unix.SYS_GETSOCKNAME, Reason: "what kind of socket the link is"},
		{Call: unix.SYS_GETSOCKOPT, Args: []seccomp.Arg{seccomp.Equal(1, unix.SOL_SOCKET), seccomp.Equal(2, unix.SO_ERROR)}, Reason: "why a connection has not come about"},
		{Call: unix.SYS_GETSOCKOPT, Args: []seccomp.Arg{seccomp.Equal(1, unix.SOL_SOCKET), seccomp.Equal(2, unix.SO_PROTOCOL)}, Reason: "how to read a client's address (x/sys/unix asks)"},
		{Call: unix.SYS_GETSOCKOPT, Args: []seccomp.Arg{seccomp.Equal(1, unix.SOL_SOCKET), seccomp.Equal(2, unix.SO_DOMAIN)}, Reason: "the family of a published port's socket"},
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
