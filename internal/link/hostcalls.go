package link

import (
	"coffer/internal/seccomp"

	"golang.org/x/sys/unix"
)

// HostCalls are the calls that links make of the host, beside those of Go's runtime,
// for the filters of who has links.
func HostCalls() []seccomp.Rule {
	return []seccomp.Rule{
		{Call: unix.SYS_RECVMMSG, Reason: "frames that have come for an interface, several at once"},
		{Call: unix.SYS_SENDMMSG, Reason: "frames that leave, several at once"},
		{Call: unix.SYS_GETSOCKNAME, Reason: "whether an interface is still there"},
		{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.SIOCGIFNAME)}, Reason: "the interface's name, to ask for what follows"},
		{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.SIOCGIFFLAGS)}, Reason: "whether the interface is up, once frames cross again"},
		{Call: unix.SYS_IOCTL, Args: []seccomp.Arg{seccomp.Equal(1, unix.SIOCGIFMTU)}, Reason: "the interface's MTU, once it has refused a frame"},
	}
}
