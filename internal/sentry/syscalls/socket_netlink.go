package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/netlink"
)

// makeNetlinkSocket makes a socket of AF_NETLINK.
func makeNetlinkSocket(t *kernel.Task, typ, protocol int32) (socket.Socket, error) {
	s, err := netlink.New(t.NetlinkNamespace(), t, typ, protocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}
