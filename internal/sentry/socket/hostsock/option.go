package hostsock

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// option is one that may reach the host. Its value is plain: a number or a structure
// without pointers.
type option struct {
	level, name int32
	// only is "get" or "set" for those that go one way.
	only string
}

// options are all that reach the host; others are ENOPROTOOPT.
var options = []option{
	{unix.SOL_SOCKET, unix.SO_DEBUG, "get"}, {unix.SOL_SOCKET, unix.SO_REUSEADDR, ""}, {unix.SOL_SOCKET, unix.SO_ERROR, "get"},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, ""}, {unix.SOL_SOCKET, unix.SO_BROADCAST, ""}, {unix.SOL_SOCKET, unix.SO_SNDBUF, ""},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, ""}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, ""}, {unix.SOL_SOCKET, unix.SO_OOBINLINE, ""},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, ""}, {unix.SOL_SOCKET, unix.SO_LINGER, ""}, {unix.SOL_SOCKET, unix.SO_REUSEPORT, ""},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, ""}, {unix.SOL_SOCKET, unix.SO_SNDLOWAT, "get"}, {unix.SOL_SOCKET, unix.SO_TIMESTAMP, ""},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, ""}, {unix.SOL_SOCKET, unix.SO_TIMESTAMPING, ""}, {unix.SOL_SOCKET, unix.SO_ACCEPTCONN, "get"},
	{unix.SOL_SOCKET, unix.SO_PROTOCOL, "get"}, {unix.SOL_SOCKET, unix.SO_DOMAIN, "get"}, {unix.SOL_SOCKET, unix.SO_COOKIE, "get"},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, ""}, {unix.SOL_SOCKET, unix.SO_INCOMING_CPU, "get"}, {unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, ""},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, ""}, {unix.SOL_SOCKET, unix.SO_MARK, "get"}, {unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ""},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, "get"},

	{unix.SOL_IP, unix.IP_TOS, ""}, {unix.SOL_IP, unix.IP_TTL, ""}, {unix.SOL_IP, unix.IP_PKTINFO, ""}, {unix.SOL_IP, unix.IP_RECVERR, ""},
	{unix.SOL_IP, unix.IP_RECVTTL, ""}, {unix.SOL_IP, unix.IP_RECVTOS, ""}, {unix.SOL_IP, unix.IP_MTU_DISCOVER, ""}, {unix.SOL_IP, unix.IP_MTU, "get"},
	{unix.SOL_IP, unix.IP_FREEBIND, ""}, {unix.SOL_IP, unix.IP_RECVORIGDSTADDR, ""}, {unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, ""},
	{unix.SOL_IP, unix.IP_MULTICAST_TTL, ""}, {unix.SOL_IP, unix.IP_MULTICAST_LOOP, ""}, {unix.SOL_IP, unix.IP_MULTICAST_IF, ""},
	{unix.SOL_IP, unix.IP_MULTICAST_ALL, ""}, {unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, "set"}, {unix.SOL_IP, unix.IP_DROP_MEMBERSHIP, "set"},

	{unix.SOL_IPV6, unix.IPV6_V6ONLY, ""}, {unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, ""}, {unix.SOL_IPV6, unix.IPV6_TCLASS, ""},
	{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, ""}, {unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, ""}, {unix.SOL_IPV6, unix.IPV6_RECVTCLASS, ""},
	{unix.SOL_IPV6, unix.IPV6_RECVERR, ""}, {unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, ""}, {unix.SOL_IPV6, unix.IPV6_MTU, ""},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, ""}, {unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, ""}, {unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, ""},
	{unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, "set"}, {unix.SOL_IPV6, unix.IPV6_LEAVE_GROUP, "set"}, {unix.SOL_IPV6, unix.IPV6_DONTFRAG, ""},

	{unix.SOL_TCP, unix.TCP_NODELAY, ""}, {unix.SOL_TCP, unix.TCP_MAXSEG, ""}, {unix.SOL_TCP, unix.TCP_CORK, ""}, {unix.SOL_TCP, unix.TCP_KEEPIDLE, ""},
	{unix.SOL_TCP, unix.TCP_KEEPINTVL, ""}, {unix.SOL_TCP, unix.TCP_KEEPCNT, ""}, {unix.SOL_TCP, unix.TCP_SYNCNT, ""}, {unix.SOL_TCP, unix.TCP_LINGER2, ""},
	{unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, ""}, {unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, ""}, {unix.SOL_TCP, unix.TCP_INFO, "get"},
	{unix.SOL_TCP, unix.TCP_QUICKACK, ""}, {unix.SOL_TCP, unix.TCP_CONGESTION, ""}, {unix.SOL_TCP, unix.TCP_USER_TIMEOUT, ""},
	{unix.SOL_TCP, unix.TCP_FASTOPEN, ""}, {unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, ""}, {unix.SOL_TCP, unix.TCP_NOTSENT_LOWAT, ""},

	{unix.SOL_UDP, unix.UDP_SEGMENT, ""}, {unix.SOL_UDP, unix.UDP_GRO, ""}, {unix.SOL_UDP, unix.UDP_CORK, ""},

	{unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, "set"}, {unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, "set"},
	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, ""}, {unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, ""}, {unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, ""},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, ""}, {unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, ""},
}

// maxOptionValue is the longest value that the host gives: struct tcp_info.
const maxOptionValue = 512

func known(level, name int32, not string) bool {
	for _, o := range options {
		if o.level == level && o.name == name {
			return o.only != not
		}
	}
	return false
}

// Option implements socket.Socket.
func (s *Socket) Option(_ vfs.Caller, level, name int32) ([]byte, error) {
	if level == unix.SOL_SOCKET {
		if value, ok := s.TimeoutOption(name); ok {
			return value, nil
		}
		if name == unix.SO_TYPE { // asked for at each send
			return binary.NativeEndian.AppendUint32(nil, uint32(s.typ)), nil
		}
	}
	if !known(level, name, "set") {
		return nil, unix.ENOPROTOOPT
	}
	b := make([]byte, maxOptionValue)
	n := uint32(len(b))
	_, err := s.call(unix.SYS_GETSOCKOPT, uintptr(level), uintptr(name), pointer(b), uintptr(unsafe.Pointer(&n)), 0)
	runtime.KeepAlive(b)
	if err != nil {
		return nil, err
	}
	return b[:min(int(n), len(b))], nil
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(_ vfs.Caller, level, name int32, value []byte) error {
	if level == unix.SOL_SOCKET {
		if ok, err := s.SetTimeoutOption(name, value); ok {
			return err
		}
	}
	if !known(level, name, "get") {
		return unix.ENOPROTOOPT
	}
	_, err := s.call(unix.SYS_SETSOCKOPT, uintptr(level), uintptr(name), pointer(value), uintptr(len(value)), 0)
	runtime.KeepAlive(value)
	return err
}
