package netlink

import (
	"encoding/binary"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// flag reports whether an option of SOL_NETLINK is on.
func (s *Socket) flag(name int32) bool { return s.flags.Load()&(1<<name) != 0 }

// isFlag reports whether an option of SOL_NETLINK is one that is on or off.
func isFlag(name int32) bool {
	switch name {
	case unix.NETLINK_PKTINFO, unix.NETLINK_BROADCAST_ERROR, unix.NETLINK_NO_ENOBUFS, unix.NETLINK_LISTEN_ALL_NSID,
		unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK:
		return true
	}
	return false
}

// Option implements socket.Socket.
func (s *Socket) Option(_ vfs.Caller, level, name int32) ([]byte, error) {
	if level == unix.SOL_NETLINK {
		switch {
		case isFlag(name):
			return socket.Boolean(s.flag(name)), nil
		case name == unix.NETLINK_LIST_MEMBERSHIPS:
			if !s.asked.Load() {
				return nil, nil
			}
			g := s.groups.Load()
			b := binary.LittleEndian.AppendUint32(nil, uint32(g))
			if s.groupMask() > 1<<32-1 {
				b = binary.LittleEndian.AppendUint32(b, uint32(g>>32))
			}
			return b, nil
		}
		return nil, unix.ENOPROTOOPT
	}
	if level != unix.SOL_SOCKET {
		return nil, unix.ENOPROTOOPT
	}
	switch name {
	case unix.SO_TYPE:
		return socket.Number(s.typ), nil
	case unix.SO_DOMAIN:
		return socket.Number(unix.AF_NETLINK), nil
	case unix.SO_PROTOCOL:
		return socket.Number(s.protocol), nil
	case unix.SO_ACCEPTCONN:
		return socket.Number(0), nil
	case unix.SO_ERROR:
		s.mu.Lock()
		defer s.mu.Unlock()
		err := s.err
		s.err = 0
		return socket.Number(int32(err)), nil
	case unix.SO_PASSCRED:
		return socket.Boolean(s.passcred.Load()), nil
	case unix.SO_PASSSEC:
		return socket.Boolean(s.passSecurity.Load()), nil
	case unix.SO_NETNS_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ns.IP.Cookie()), nil
	case unix.SO_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ino.Ino()), nil
	case unix.SO_MEMINFO:
		s.mu.Lock()
		defer s.mu.Unlock()
		return socket.MemoryInfo(int32(s.used), s.ReceiveBuffer(), 0, s.SendBuffer(), int32(s.drops.Load())), nil
	}
	return s.SharedOption(name)
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	if level == unix.SOL_SOCKET {
		return s.setSocketOption(c, name, value)
	}
	if level != unix.SOL_NETLINK {
		return unix.ENOPROTOOPT
	}
	v := uint32(0)
	if len(value) >= 4 {
		v = binary.LittleEndian.Uint32(value)
	}
	switch {
	case name == unix.NETLINK_ADD_MEMBERSHIP || name == unix.NETLINK_DROP_MEMBERSHIP:
		if err := s.mayJoin(c); err != nil {
			return err
		}
		s.asked.Store(true)
		if v == 0 || v > maxGroups || 1<<(v-1)&s.groupMask() == 0 {
			return unix.EINVAL
		}
		if name == unix.NETLINK_ADD_MEMBERSHIP {
			s.setGroups(s.groups.Load() | 1<<(v-1))
		} else {
			s.setGroups(s.groups.Load() &^ (1 << (v - 1)))
		}
	case name == unix.NETLINK_LISTEN_ALL_NSID && !c.Credentials().CanIn(s.ns.Owner, unix.CAP_NET_BROADCAST):
		return unix.EPERM
	case isFlag(name):
		if v != 0 {
			s.flags.Or(1 << name)
		} else {
			s.flags.And(^uint32(1 << name))
		}
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

func (s *Socket) setSocketOption(c vfs.Caller, name int32, value []byte) error {
	if name != unix.SO_PASSCRED && name != unix.SO_PASSSEC || len(value) < 4 {
		return s.SetSharedOption(c, name, value, func(capability int) bool { return c.Credentials().CanIn(s.ns.Owner, capability) })
	}
	on := binary.LittleEndian.Uint32(value) != 0
	if name == unix.SO_PASSSEC {
		s.passSecurity.Store(on)
	} else {
		s.passcred.Store(on)
	}
	return nil
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	switch cmd {
	case unix.TIOCINQ, unix.TIOCOUTQ:
		return 0, unix.EOPNOTSUPP
	}
	return 0, unix.ENOTTY
}
