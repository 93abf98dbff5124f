package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

func socketOptionRows() []Row {
	return []Row{
		partial(54, "setsockopt", sysSetsockopt, "options that have no effect on a local socket are only remembered; SO_ATTACH_FILTER and its like are ENOPROTOOPT",
			P("sockfd", FD), PF("level", Enum, socketLevels), PD("optname", optionName), P("optval", Option), P("optlen", Dec)),
		partial(55, "getsockopt", sysGetsockopt, "SO_PEERSEC, SO_PEERPIDFD and SO_MEMINFO are ENOPROTOOPT",
			P("sockfd", FD), PF("level", Enum, socketLevels), PD("optname", optionName), P("optval", OutOption), P("optlen", InOutInt)),
	}
}

var (
	socketLevels = &FlagSet{Values: []FlagName{
		{unix.SOL_SOCKET, "SOL_SOCKET"}, {unix.IPPROTO_IP, "SOL_IP"}, {unix.IPPROTO_TCP, "SOL_TCP"},
		{unix.IPPROTO_UDP, "SOL_UDP"}, {unix.IPPROTO_IPV6, "SOL_IPV6"}, {unix.SOL_NETLINK, "SOL_NETLINK"},
	}}
	socketOptions = &FlagSet{Values: []FlagName{
		{unix.SO_DEBUG, "SO_DEBUG"}, {unix.SO_REUSEADDR, "SO_REUSEADDR"}, {unix.SO_TYPE, "SO_TYPE"},
		{unix.SO_ERROR, "SO_ERROR"}, {unix.SO_DONTROUTE, "SO_DONTROUTE"}, {unix.SO_BROADCAST, "SO_BROADCAST"},
		{unix.SO_SNDBUF, "SO_SNDBUF"}, {unix.SO_RCVBUF, "SO_RCVBUF"}, {unix.SO_KEEPALIVE, "SO_KEEPALIVE"},
		{unix.SO_OOBINLINE, "SO_OOBINLINE"}, {unix.SO_PRIORITY, "SO_PRIORITY"}, {unix.SO_LINGER, "SO_LINGER"},
		{unix.SO_REUSEPORT, "SO_REUSEPORT"}, {unix.SO_PASSCRED, "SO_PASSCRED"}, {unix.SO_PEERCRED, "SO_PEERCRED"},
		{unix.SO_RCVLOWAT, "SO_RCVLOWAT"}, {unix.SO_SNDLOWAT, "SO_SNDLOWAT"}, {unix.SO_RCVTIMEO, "SO_RCVTIMEO"},
		{unix.SO_SNDTIMEO, "SO_SNDTIMEO"}, {unix.SO_TIMESTAMP, "SO_TIMESTAMP"}, {unix.SO_ACCEPTCONN, "SO_ACCEPTCONN"},
		{unix.SO_PEERSEC, "SO_PEERSEC"}, {unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE"}, {unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE"},
		{unix.SO_PROTOCOL, "SO_PROTOCOL"}, {unix.SO_DOMAIN, "SO_DOMAIN"}, {unix.SO_COOKIE, "SO_COOKIE"},
		{unix.SO_PEERGROUPS, "SO_PEERGROUPS"}, {unix.SO_PEERPIDFD, "SO_PEERPIDFD"},
	}}
	tcpOptions = &FlagSet{Values: []FlagName{
		{unix.TCP_NODELAY, "TCP_NODELAY"}, {unix.TCP_MAXSEG, "TCP_MAXSEG"}, {unix.TCP_CORK, "TCP_CORK"},
		{unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"}, {unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"}, {unix.TCP_KEEPCNT, "TCP_KEEPCNT"},
		{unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"}, {unix.TCP_INFO, "TCP_INFO"}, {unix.TCP_QUICKACK, "TCP_QUICKACK"},
		{unix.TCP_CONGESTION, "TCP_CONGESTION"}, {unix.TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"}, {unix.TCP_FASTOPEN, "TCP_FASTOPEN"},
	}}
)

// maxOption is the longest option value that is read.
const maxOption = 256

// sysSetsockopt is setsockopt(2).
func sysSetsockopt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	n := a.Int(4)
	if n < 0 {
		return 0, unix.EINVAL
	}
	value := make([]byte, min(n, maxOption))
	if _, err := t.CopyIn(a[3], value); err != nil {
		return 0, err
	}
	return 0, s.SetOption(t, a.Int(1), a.Int(2), value)
}

// sysGetsockopt is getsockopt(2).
func sysGetsockopt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	room, err := t.CopyInUint32(a[4])
	if err != nil {
		return 0, err
	}
	if int32(room) < 0 {
		return 0, unix.EINVAL
	}
	level, name := a.Int(1), a.Int(2)
	var value []byte
	if asker, ok := s.(socket.Asker); ok && asker.Asks(level, name) {
		question := make([]byte, min(room, maxOption))
		if _, err := t.CopyIn(a[3], question); err != nil {
			return 0, err
		}
		value, err = asker.Answer(level, name, question)
	} else {
		value, err = s.Option(t, level, name)
	}
	if err != nil {
		return 0, err
	}
	if level == unix.SOL_SOCKET && name == unix.SO_PEERGROUPS && int(room) < len(value) {
		// A list of groups is not cut.
		if err := t.CopyOutUint32(a[4], uint32(len(value))); err != nil {
			return 0, err
		}
		return 0, unix.ERANGE
	}
	value = value[:min(int(room), len(value))]
	if _, err := t.CopyOut(a[3], value); err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint32(a[4], uint32(len(value)))
}
