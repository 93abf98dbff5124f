package unixsock

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// options are what setsockopt(2) sets.
type options struct {
	socket.Shared
	peekOff socket.PeekOffset
	// passes are the options of passOptions that are on.
	passes atomic.Uint32
	lowat  atomic.Int32
}

// The bits of options.passes: what comes with a message.
const (
	passCreds = 1 << iota
	passPIDFD
	passRights
	passSecurity // of which there is nothing to tell
	// passSender is what takes knowing the sender.
	passSender = passCreds | passPIDFD
)

// passOptions are the options that are bits of options.passes.
var passOptions = map[int32]uint32{
	unix.SO_PASSCRED: passCreds, unix.SO_PASSPIDFD: passPIDFD, unix.SO_PASSRIGHTS: passRights, unix.SO_PASSSEC: passSecurity,
}

func (o *options) init() {
	o.lowat.Store(1)
	o.passes.Store(passRights)
}

// passing reports whether an option of a bit, or one of several, is on.
func (o *options) passing(bits uint32) bool { return o.passes.Load()&bits != 0 }

// RenewsWriteTimeout says that a send to a peer that reads at all goes on, however long it takes as a whole.
func (s *Socket) RenewsWriteTimeout() bool { return true }

// Option implements socket.Socket. EOPNOTSUPP for a level other than
// SOL_SOCKET, ENOPROTOOPT for an unknown name.
func (s *Socket) Option(c vfs.Caller, level, name int32) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.EOPNOTSUPP
	}
	if bit, ok := passOptions[name]; ok {
		return socket.Boolean(s.passing(bit)), nil
	}
	switch name {
	case unix.SO_TYPE:
		return socket.Number(int32(s.typ)), nil
	case unix.SO_DOMAIN:
		return socket.Number(unix.AF_UNIX), nil
	case unix.SO_PROTOCOL:
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
	case unix.SO_PEEK_OFF:
		return socket.Number(s.peekOff.Get()), nil
	case unix.SO_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ino.Ino()), nil
	case unix.SO_MEMINFO:
		return socket.MemoryInfo(0, s.ReceiveBuffer(), int32(s.unreceived()), s.SendBuffer(), 0), nil
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
	return s.SharedOption(name)
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

// PeerProcess is what SO_PEERPIDFD opens, nil for none.
func (s *Socket) PeerProcess() socket.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listening {
		return s.process
	}
	return s.peerProcess
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.EOPNOTSUPP
	}
	bit, passes := passOptions[name]
	if !passes && name != unix.SO_PEEK_OFF && name != unix.SO_RCVLOWAT {
		return s.SetSharedOption(c, name, value, c.Credentials().Can)
	}
	if len(value) < 4 {
		return unix.EINVAL
	}
	v := int32(binary.LittleEndian.Uint32(value))
	switch {
	case passes && v != 0:
		s.passes.Or(bit)
	case passes:
		s.passes.And(^bit)
	case name == unix.SO_PEEK_OFF:
		s.peekOff.Set(v)
	case v < 0:
		s.lowat.Store(math.MaxInt32)
	default:
		s.lowat.Store(max(v, 1))
	}
	return nil
}

// unreceived is how many bytes the peer has not received.
func (s *Socket) unreceived() int {
	peer := s.peer.Load()
	if peer == nil {
		return 0
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	return peer.in.data.Len()
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
		n = s.unreceived()
	default:
		return 0, unix.ENOTTY
	}
	_, err := c.CopyOut(arg, socket.Number(int32(n)))
	return 0, err
}
