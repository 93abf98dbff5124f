package inet

import (
	"slices"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// TCP Fast Open (RFC 7413) is here what it is on Linux towards a peer that gives no cookie: a
// handshake, and then the data. TCP_FASTOPEN_CONNECT connects as any other connect(2) does then.

// fastOpenClient is the bit of tcp_fastopen that lets programs send with MSG_FASTOPEN.
const fastOpenClient = 1

// FastOpen reports whether a send with MSG_FASTOPEN may connect to an address. EOPNOTSUPP where
// the sysctl does not let it, or the address is none; EISCONN without an address for a socket
// that has a connection.
func (s *Socket) FastOpen(to []byte) error {
	if to == nil && s.connected() {
		return unix.EISCONN
	}
	if s.net.Number(network.FastOpen)&fastOpenClient == 0 || len(to) >= 2 && family(to) == unix.AF_UNSPEC {
		return unix.EOPNOTSUPP
	}
	return nil
}

// checkFastOpen takes how many connections may wait for their handshakes. The stack
// ends all handshakes first, which a client cannot tell.
func checkFastOpen(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v < 0 || s.connected() {
		return 0, unix.EINVAL
	}
	return int32(min(int64(v), s.net.Number(network.Somaxconn))), nil
}

func checkFastOpenConnect(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	switch {
	case v != 0 && v != 1:
		return 0, unix.EINVAL
	case s.net.Number(network.FastOpen)&fastOpenClient == 0:
		return 0, unix.EOPNOTSUPP
	case s.connected() || s.ep.Load().state() == tcp.StateListen:
		return 0, unix.EINVAL
	}
	return v, nil
}

func checkNoCookie(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if s.connected() {
		return 0, unix.EINVAL
	}
	return strict(s, c, v)
}

// setFastOpenKey is TCP_FASTOPEN_KEY: the key of a listener's cookies, or two of them.
func (s *Socket) setFastOpenKey(key []byte) error {
	const size = 16 // TCP_FASTOPEN_KEY_LENGTH
	if len(key) != size && len(key) != 2*size {
		return unix.EINVAL
	}
	s.optionMu.Lock()
	s.fastOpenKey = slices.Clone(key)
	s.optionMu.Unlock()
	return nil
}
