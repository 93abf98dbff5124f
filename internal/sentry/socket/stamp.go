package socket

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// knownTimestamping are the flags of SO_TIMESTAMPING that there are (SOF_TIMESTAMPING_*), two of
	// them are SOF_TIMESTAMPING_BIND_PHC and SOF_TIMESTAMPING_OPT_ID_TCP (linux/net_tstamp.h).
	knownTimestamping   = 1<<19 - 1
	timestampingBindPHC = 1 << 15
	timestampingIDTCP   = 1 << 16
	// softwareReceived has the times told that came with what was received.
	softwareReceived = unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE
)

// checkTimestamping says whether SO_TIMESTAMPING has such flags: EINVAL if not, EOPNOTSUPP for the clock of a network card.
func checkTimestamping(flags int32) error {
	if flags&^knownTimestamping != 0 || flags&timestampingIDTCP != 0 && flags&unix.SOF_TIMESTAMPING_OPT_ID == 0 {
		return unix.EINVAL
	}
	if flags&timestampingBindPHC != 0 {
		return unix.EOPNOTSUPP // no interface has a clock
	}
	return nil
}

// Stamps are the options that have a receiver told when a message came: SO_TIMESTAMP, SO_TIMESTAMPNS
// and SO_TIMESTAMPING of socket(7), each with a second number for programs with 64-bit times. They share
// bits, so that each changes what another one says, as on Linux. The zero value has none set.
type Stamps struct {
	how atomic.Uint32
	// flags are those of SO_TIMESTAMPING.
	flags atomic.Int32
}

// The bits of Stamps.how.
const (
	stamped  = 1 << iota
	exactly  // in nanoseconds
	numbered // by the second numbers
)

// Stamped reports whether SO_TIMESTAMP or SO_TIMESTAMPNS is set.
func (s *Stamps) Stamped() bool { return s.how.Load()&stamped != 0 }

// TimestampingFlags are those of SO_TIMESTAMPING.
func (s *Stamps) TimestampingFlags() int32 { return s.flags.Load() }

// CopyFrom makes the options those of another socket.
func (s *Stamps) CopyFrom(o *Stamps) {
	s.how.Store(o.how.Load())
	s.flags.Store(o.flags.Load())
}

// StampOption returns an option's value; ok is false if it is none of these.
func (s *Stamps) StampOption(name int32) (value []byte, ok bool) {
	how := s.how.Load()
	switch name {
	case unix.SO_TIMESTAMP:
		return Boolean(how == stamped), true
	case unix.SO_TIMESTAMPNS:
		return Boolean(how == stamped|exactly), true
	case unix.SO_TIMESTAMP_NEW: // also in nanoseconds, as on Linux
		return Boolean(how&(stamped|numbered) == stamped|numbered), true
	case unix.SO_TIMESTAMPNS_NEW:
		return Boolean(how == stamped|exactly|numbered), true
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW: // struct so_timestamping
		flags := s.flags.Load()
		if name == unix.SO_TIMESTAMPING_NEW && how&numbered == 0 {
			flags = 0
		}
		return append(Number(flags), 0, 0, 0, 0), true
	}
	return nil, false
}

// SetStampOption sets one; ok is false if it is none of these. EINVAL for a value that is too short
// or that there is none of.
func (s *Stamps) SetStampOption(name int32, value []byte) (ok bool, err error) {
	if _, ok := s.StampOption(name); !ok {
		return false, nil
	}
	if len(value) < 4 {
		return true, unix.EINVAL
	}
	v := int32(binary.LittleEndian.Uint32(value))
	second := uint32(0)
	switch name {
	case unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_NEW, unix.SO_TIMESTAMPING_NEW:
		second = numbered
	}
	switch name {
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW:
		if err := checkTimestamping(v); err != nil {
			return true, err
		}
		s.flags.Store(v)
		s.how.Store(s.how.Load()&^numbered | second)
	default:
		switch {
		case v == 0:
			s.how.And(numbered)
		case name == unix.SO_TIMESTAMPNS || name == unix.SO_TIMESTAMPNS_NEW:
			s.how.Store(stamped | exactly | second)
		default:
			s.how.Store(stamped | second)
		}
	}
	return true, nil
}

// AppendReceived adds the control messages that tell when a message came.
func (s *Stamps) AppendReceived(list []ControlMessage, at time.Time) []ControlMessage {
	return s.append(list, at, softwareReceived)
}

// AppendSent adds those that tell when one was sent.
func (s *Stamps) AppendSent(list []ControlMessage, at time.Time) []ControlMessage {
	return s.append(list, at, unix.SOF_TIMESTAMPING_SOFTWARE)
}

// append adds that of SO_TIMESTAMPING if all of these flags are set.
func (s *Stamps) append(list []ControlMessage, at time.Time, flags int32) []ControlMessage {
	how := s.how.Load()
	pick := func(first, second int32) int32 {
		if how&numbered != 0 {
			return second
		}
		return first
	}
	sec, ns := at.Unix(), int64(at.Nanosecond())
	switch {
	case how&stamped == 0:
	case how&exactly != 0:
		list = append(list, ControlMessage{unix.SOL_SOCKET, pick(unix.SO_TIMESTAMPNS, unix.SO_TIMESTAMPNS_NEW), timeBytes(sec, ns)})
	default:
		list = append(list, ControlMessage{unix.SOL_SOCKET, pick(unix.SO_TIMESTAMP, unix.SO_TIMESTAMP_NEW), timeBytes(sec, ns/1e3)})
	}
	if s.flags.Load()&flags == flags {
		// struct scm_timestamping; the other two times are of network cards.
		b := append(timeBytes(sec, ns), make([]byte, 32)...)
		list = append(list, ControlMessage{unix.SOL_SOCKET, pick(unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW), b})
	}
	return list
}

// timeBytes lays out struct timeval or timespec.
func timeBytes(sec, frac int64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(sec))
	return binary.LittleEndian.AppendUint64(b, uint64(frac))
}
