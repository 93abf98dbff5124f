package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/hostsock"
	"coffer/internal/sentry/socket/inet"
	"coffer/internal/sentry/socket/unixsock"

	"golang.org/x/sys/unix"
)

// socketMaker makes sockets of one family.
type socketMaker struct {
	// make returns a new socket of the family. ESOCKTNOSUPPORT and EPROTONOSUPPORT are
	// for types and protocols that it does not have.
	make func(t *kernel.Task, typ, protocol int32) (socket.Socket, error)
	// pair returns two connected sockets; nil is EOPNOTSUPP.
	pair func(t *kernel.Task, typ, protocol int32) (a, b socket.Socket, err error)
}

// socketMakers are the socket families that there are; others are EAFNOSUPPORT.
var socketMakers = map[int32]socketMaker{
	unix.AF_UNIX: {makeUnixSocket, makeUnixPair},
	unix.AF_INET: {make: makeInetSocket(unix.AF_INET)}, unix.AF_INET6: {make: makeInetSocket(unix.AF_INET6)},
	unix.AF_PACKET: {make: makePacketSocket}, unix.AF_NETLINK: {make: makeNetlinkSocket},
}

func makeUnixSocket(t *kernel.Task, typ, protocol int32) (socket.Socket, error) {
	known, err := unixsock.Check(typ, protocol)
	if err != nil {
		return nil, err
	}
	return unixsock.New(t.UnixSockets(), t, known), nil
}

func makeUnixPair(t *kernel.Task, typ, protocol int32) (a, b socket.Socket, err error) {
	known, err := unixsock.Check(typ, protocol)
	if err != nil {
		return nil, nil, err
	}
	a, b = unixsock.NewPair(t.UnixSockets(), t, known)
	return a, b, nil
}

func makeInetSocket(family int32) func(*kernel.Task, int32, int32) (socket.Socket, error) {
	return func(t *kernel.Task, typ, protocol int32) (socket.Socket, error) {
		s, err := inet.New(t.Network(), t.Sockets(), t, family, typ, protocol)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// hostSocketMakers take the place of others where the network is the host's.
var hostSocketMakers = map[int32]socketMaker{
	unix.AF_INET: {make: makeHostSocket(unix.AF_INET)}, unix.AF_INET6: {make: makeHostSocket(unix.AF_INET6)},
	unix.AF_NETLINK: {make: makeHostSocket(unix.AF_NETLINK)},
}

func makeHostSocket(family int32) func(*kernel.Task, int32, int32) (socket.Socket, error) {
	return func(t *kernel.Task, typ, protocol int32) (socket.Socket, error) {
		s, err := hostsock.New(t, family, typ, protocol)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// socketMakerFor returns who makes sockets of a family in the task's network.
func socketMakerFor(t *kernel.Task, family int32) (socketMaker, bool) {
	if t.Network().UsesHost() {
		switch m, ok := hostSocketMakers[family]; {
		case ok:
			return m, true
		case family != unix.AF_UNIX:
			return socketMaker{}, false
		}
	}
	m, ok := socketMakers[family]
	return m, ok
}
