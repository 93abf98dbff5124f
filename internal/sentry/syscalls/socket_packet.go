package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/packet"

	"golang.org/x/sys/unix"
)

// makePacketSocket makes a socket of AF_PACKET. EPERM without the right to raw frames.
func makePacketSocket(t *kernel.Task, typ, protocol int32) (socket.Socket, error) {
	if !t.Credentials().CanIn(t.NetworkOwner(), unix.CAP_NET_RAW) {
		return nil, unix.EPERM
	}
	s, err := packet.New(t.Network(), t.Sockets(), t, typ, protocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}
