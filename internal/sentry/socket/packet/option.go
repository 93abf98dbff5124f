package packet

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// options are what setsockopt(2) sets.
type options struct {
	socket.Shared
	auxdata, ignoreOutgoing atomic.Bool
	// version is PACKET_VERSION, reserve PACKET_RESERVE in bytes.
	version, reserve atomic.Int32
	remembered       [len(rememberedNames)]atomic.Int32
}

// rememberedNames are options of SOL_PACKET that are kept and have no effect: frames never come
// by way of another interface, there is no queue to pass by, what does not fit in a ring is lost, and
// no network card has a clock to take times from.
var rememberedNames = [...]int32{
	unix.PACKET_COPY_THRESH, unix.PACKET_ORIGDEV, unix.PACKET_QDISC_BYPASS, unix.PACKET_LOSS, unix.PACKET_TX_HAS_OFF,
	unix.PACKET_TIMESTAMP,
}

// Option implements socket.Socket.
func (s *Socket) Option(c vfs.Caller, level, name int32) ([]byte, error) {
	switch level {
	case unix.SOL_SOCKET:
		return s.socketOption(name)
	case unix.SOL_PACKET:
		return s.packetOption(name)
	}
	return nil, unix.ENOPROTOOPT
}

func (s *Socket) socketOption(name int32) ([]byte, error) {
	switch name {
	case unix.SO_TYPE:
		return socket.Number(s.typ), nil
	case unix.SO_DOMAIN:
		return socket.Number(unix.AF_PACKET), nil
	case unix.SO_PROTOCOL, unix.SO_ACCEPTCONN:
		return socket.Number(0), nil
	case unix.SO_ERROR:
		return socket.Number(int32(s.takeError())), nil
	case unix.SO_NETNS_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ns.Cookie()), nil
	case unix.SO_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ino.Ino()), nil
	case unix.SO_MEMINFO:
		s.mu.Lock()
		defer s.mu.Unlock()
		return socket.MemoryInfo(int32(s.used), s.ReceiveBuffer(), 0, s.SendBuffer(), int32(s.lost)), nil
	}
	return s.SharedOption(name)
}

func (s *Socket) packetOption(name int32) ([]byte, error) {
	switch name {
	case unix.PACKET_STATISTICS:
		s.mu.Lock()
		defer s.mu.Unlock()
		b := binary.LittleEndian.AppendUint32(nil, s.packets)
		b = binary.LittleEndian.AppendUint32(b, s.drops)
		s.packets, s.drops = 0, 0
		if s.version.Load() == tpacketV3 {
			freezes := uint32(0)
			if s.ring != nil {
				freezes, s.ring.blocks.freezes = s.ring.blocks.freezes, 0
			}
			b = binary.LittleEndian.AppendUint32(b, freezes)
		}
		return b, nil
	case unix.PACKET_AUXDATA:
		return socket.Boolean(s.auxdata.Load()), nil
	case unix.PACKET_IGNORE_OUTGOING:
		return socket.Boolean(s.ignoreOutgoing.Load()), nil
	case unix.PACKET_VERSION:
		return socket.Number(s.version.Load()), nil
	case unix.PACKET_RESERVE:
		return socket.Number(s.reserve.Load()), nil
	case unix.PACKET_FANOUT:
		return s.fanoutOption(), nil
	case unix.PACKET_VNET_HDR, unix.PACKET_VNET_HDR_SZ:
		return socket.Number(0), nil
	}
	if i := slices.Index(rememberedNames[:], name); i >= 0 {
		return socket.Number(s.remembered[i].Load()), nil
	}
	return nil, unix.ENOPROTOOPT
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	switch level {
	case unix.SOL_SOCKET:
		return s.SetSharedOption(c, name, value, c.Credentials().Can)
	case unix.SOL_PACKET:
		return s.setPacketOption(c, name, value)
	}
	return unix.ENOPROTOOPT
}

func (s *Socket) setPacketOption(c vfs.Caller, name int32, value []byte) error {
	switch name {
	case unix.PACKET_ADD_MEMBERSHIP, unix.PACKET_DROP_MEMBERSHIP:
		return s.changeMembership(name == unix.PACKET_ADD_MEMBERSHIP, value)
	case unix.PACKET_RX_RING:
		return s.setRing(value)
	case unix.PACKET_FANOUT:
		return s.join(value)
	case unix.PACKET_FANOUT_DATA:
		return s.setProgram(c, value)
	case unix.PACKET_RESERVE, unix.PACKET_LOSS, unix.PACKET_VERSION, unix.PACKET_TIMESTAMP, unix.PACKET_COPY_THRESH,
		unix.PACKET_TX_HAS_OFF, unix.PACKET_QDISC_BYPASS, unix.PACKET_IGNORE_OUTGOING:
		if len(value) != 4 {
			return unix.EINVAL
		}
	case unix.PACKET_AUXDATA, unix.PACKET_ORIGDEV:
		if len(value) < 4 {
			return unix.EINVAL
		}
	default:
		return unix.ENOPROTOOPT // PACKET_TX_RING, PACKET_VNET_HDR and others are not there
	}
	v := int32(binary.LittleEndian.Uint32(value))
	switch name {
	case unix.PACKET_AUXDATA:
		s.auxdata.Store(v != 0)
	case unix.PACKET_IGNORE_OUTGOING:
		if v < 0 || v > 1 {
			return unix.EINVAL
		}
		s.ignoreOutgoing.Store(v != 0)
	case unix.PACKET_VERSION, unix.PACKET_RESERVE:
		return s.setRingOption(name, v)
	default:
		i := slices.Index(rememberedNames[:], name)
		if name != unix.PACKET_COPY_THRESH && name != unix.PACKET_TIMESTAMP && v != 0 {
			v = 1
		}
		s.remembered[i].Store(v)
	}
	return nil
}
