package unixsock

import (
	"encoding/binary"
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// options are what setsockopt(2) sets. Those that have no effect on a local
// socket are remembered so that getsockopt(2) gives them back.
type options struct {
	socket.Timeouts
	socket.Buffers
	passcred   atomic.Bool
	linger     atomic.Uint64
	lowat      atomic.Int32
	remembered [len(rememberedNames)]atomic.Int32
}

// rememberedNames are options that are kept and otherwise ignored.
var rememberedNames = [...]int32{
	unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_KEEPALIVE, unix.SO_BROADCAST,
	unix.SO_OOBINLINE, unix.SO_DONTROUTE, unix.SO_TIMESTAMP, unix.SO_PRIORITY, unix.SO_DEBUG,
}

func (o *options) init() {
	o.lowat.Store(1)
}

// Option implements socket.Socket. EOPNOTSUPP for a level other than
// SOL_SOCKET, ENOPROTOOPT for an unknown name.
func (s *Socket) Option(c vfs.Caller, level, name int32) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.EOPNOTSUPP
	}
	if value, ok := s.TimeoutOption(name); ok {
		return value, nil
	}
	if value, ok := s.BufferOption(name); ok {
		return value, nil
	}
	for i, n := range rememberedNames {
		if n == name {
			return socket.Number(s.remembered[i].Load()), nil
		}
	}
	switch name {
	case unix.SO_TYPE:
		return socket.Number(int32(s.typ)), nil
	case unix.SO_DOMAIN:
		return socket.Number(unix.AF_UNIX), nil
	case unix.SO_PROTOCOL, unix.SO_MARK, unix.SO_BUSY_POLL, unix.SO_NO_CHECK, unix.SO_ZEROCOPY:
		return socket.Number(0), nil
	case unix.SO_ACCEPTCONN:
		s.mu.Lock()
		defer s.mu.Unlock()
		return socket.Boolean(s.listening), nil
	case unix.SO_ERROR:
		errno, _ := s.takeError().(unix.Errno)
		return socket.Number(int32(errno)), nil
	case unix.SO_RCVLOWAT:
		return socket.Number(s.lowat.Load()), nil
	case unix.SO_SNDLOWAT:
		return socket.Number(1), nil
	case unix.SO_PASSCRED:
		return socket.Boolean(s.passcred.Load()), nil
	case unix.SO_LINGER:
		return binary.LittleEndian.AppendUint64(nil, s.linger.Load()), nil
	case unix.SO_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ino.Ino()), nil
	case unix.SO_PEERCRED:
		return shown(c, s.peerCred()).Bytes(), nil
	case unix.SO_PEERGROUPS:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.peerCreds == (socket.Ucred{}) {
			return nil, unix.ENODATA
		}
		var b []byte
		for _, g := range s.peerGroups {
			b = binary.LittleEndian.AppendUint32(b, c.Credentials().UserNS.FromGID(g))
		}
		return b, nil
	}
	return nil, unix.ENOPROTOOPT
}

// shown is what c may be shown of a peer's credentials.
func shown(c vfs.Caller, u socket.Ucred) socket.Ucred {
	if v, ok := c.(interface {
		ShownCredentials(socket.Ucred) socket.Ucred
	}); ok {
		return v.ShownCredentials(u)
	}
	return u
}

// peerCred is SO_PEERCRED: PID 0 and no user without a peer.
func (s *Socket) peerCred() socket.Ucred {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.listening:
		return s.creds
	case s.peerCreds == socket.Ucred{}:
		return socket.Ucred{UID: ^uint32(0), GID: ^uint32(0)}
	}
	return s.peerCreds
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.EOPNOTSUPP
	}
	if ok, err := s.SetTimeoutOption(name, value); ok {
		return err
	}
	if ok, err := s.SetBufferOption(name, value, func() bool { return c.Credentials().Can(unix.CAP_NET_ADMIN) }); ok {
		return err
	}
	if name == unix.SO_LINGER {
		if len(value) < 8 {
			return unix.EINVAL
		}
		s.linger.Store(binary.LittleEndian.Uint64(value))
		return nil
	}
	if len(value) < 4 {
		return unix.EINVAL
	}
	v := int32(binary.LittleEndian.Uint32(value))
	for i, n := range rememberedNames {
		if n == name {
			if name != unix.SO_PRIORITY && v != 0 {
				v = 1
			}
			s.remembered[i].Store(v)
			return nil
		}
	}
	switch name {
	case unix.SO_PASSCRED:
		s.passcred.Store(v != 0)
	case unix.SO_RCVLOWAT:
		s.lowat.Store(max(v, 1))
	case unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_ERROR, unix.SO_ACCEPTCONN,
		unix.SO_SNDLOWAT, unix.SO_PEERCRED, unix.SO_PEERGROUPS, unix.SO_COOKIE:
		return unix.ENOPROTOOPT
	case unix.SO_MARK:
		if !c.Credentials().Can(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
	case unix.SO_ZEROCOPY:
		return unix.EOPNOTSUPP
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// Ioctl implements vfs.File: FIONREAD (SIOCINQ) and SIOCOUTQ.
func (s *Socket) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	var n int
	switch cmd {
	case unix.TIOCINQ:
		s.mu.Lock()
		if s.listening {
			s.mu.Unlock()
			return 0, unix.EINVAL
		}
		n = s.in.data.Len()
		if s.typ == unix.SOCK_DGRAM && s.in.len() > 0 {
			n = s.in.first().n
		}
		s.mu.Unlock()
	case unix.TIOCOUTQ:
		if peer := s.peer.Load(); peer != nil {
			peer.mu.Lock()
			n = peer.in.data.Len()
			peer.mu.Unlock()
		}
	default:
		return 0, unix.ENOTTY
	}
	_, err := c.CopyOut(arg, socket.Number(int32(n)))
	return 0, err
}
