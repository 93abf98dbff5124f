package hostsock

import (
	"coffer/internal/seccomp"

	"golang.org/x/sys/unix"
)

// HostCalls are the calls that these sockets make of the host, for the sentry's
// filter. Options and ioctls are those that the package lists.
func HostCalls() []seccomp.Rule {
	rules := []seccomp.Rule{
		{Call: unix.SYS_BIND, Reason: "a guest's bind(2)"},
		{Call: unix.SYS_LISTEN, Reason: "a guest's listen(2)"},
		{Call: unix.SYS_ACCEPT4, Args: []seccomp.Arg{seccomp.Equal(3, newFlags)}, Reason: "a guest's accept(2)"},
		{Call: unix.SYS_CONNECT, Reason: "a guest's connect(2)"},
		{Call: unix.SYS_SHUTDOWN, Reason: "a guest's shutdown(2)"},
		{Call: unix.SYS_GETSOCKNAME, Reason: "a socket's own address"},
		{Call: unix.SYS_GETPEERNAME, Reason: "its peer's"},
		{Call: unix.SYS_SENDMSG, Reason: "what guests send"},
		{Call: unix.SYS_RECVMSG, Reason: "what guests receive"},
	}
	for _, k := range kinds {
		rules = append(rules, seccomp.Rule{
			Call:   unix.SYS_SOCKET,
			Args:   []seccomp.Arg{seccomp.Equal(0, uint64(k.family)), seccomp.Equal(1, uint64(k.typ)|newFlags), seccomp.Equal(2, uint64(k.protocol))},
			Reason: "a guest's socket",
		})
	}
	for _, o := range options {
		args := []seccomp.Arg{seccomp.Equal(1, uint64(o.level)), seccomp.Equal(2, uint64(o.name))}
		if o.only != "set" {
			rules = append(rules, seccomp.Rule{Call: unix.SYS_GETSOCKOPT, Args: args, Reason: "options of guests' sockets"})
		}
		if o.only != "get" {
			rules = append(rules, seccomp.Rule{Call: unix.SYS_SETSOCKOPT, Args: args, Reason: "options of guests' sockets"})
		}
	}
	for _, cmd := range append(append([]uint32{unix.SIOCGIFCONF}, counts...), asks...) {
		rules = append(rules, seccomp.Rule{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, uint64(cmd))}, Reason: "what waits in guests' sockets, and names and addresses of the host's interfaces"})
	}
	return rules
}
