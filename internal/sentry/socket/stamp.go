package socket

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// knownTimestamping are the flags of SO_TIMESTAMPING that there are (SOF_TIMESTAMPING_*), and
	// timestampingIDTCP is SOF_TIMESTAMPING_OPT_ID_TCP (linux/net_tstamp.h).
	knownTimestamping = 1<<19 - 1
	timestampingIDTCP = 1 << 16
	// softwareReceived has the times told that came with what was received.
	softwareReceived = unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE
)

// CheckTimestamping says whether SO_TIMESTAMPING has such flags: EINVAL if not.
func CheckTimestamping(flags int32) error {
	if flags&^knownTimestamping != 0 || flags&timestampingIDTCP != 0 && flags&unix.SOF_TIMESTAMPING_OPT_ID == 0 {
		return unix.EINVAL
	}
	return nil
}

// Stamps are the options that have a receiver told when a message came: SO_TIMESTAMP, SO_TIMESTAMPNS
// and SO_TIMESTAMPING of socket(7), each with a second number for programs with 64-bit times. The
// zero value has none set.
type Stamps struct {
	// option is SO_TIMESTAMP or SO_TIMESTAMPNS if that is set, in one of its numbers, or 0.
	option atomic.Int32
	// flags are those of SO_TIMESTAMPING.
	flags atomic.Int32
}

// Stamped reports whether SO_TIMESTAMP or SO_TIMESTAMPNS is set.
func (s *Stamps) Stamped() bool { return s.option.Load() != 0 }

// StampOption returns an option's value; ok is false if it is none of these.
func (s *Stamps) StampOption(name int32) (value []byte, ok bool) {
	switch name {
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_NEW:
		return Boolean(s.option.Load() == name), true
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW: // struct so_timestamping
		return append(Number(s.flags.Load()), 0, 0, 0, 0), true
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
	switch name {
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW:
		if err := CheckTimestamping(v); err != nil {
			return true, err
		}
		s.flags.Store(v)
		return true, nil
	}
	if v == 0 {
		name = 0
	}
	s.option.Store(name)
	return true, nil
}

// Stamp adds to what the receiver gets the control messages that tell when the message came.
func (s *Stamps) Stamp(m *Message, at time.Time) {
	frac := int64(at.Nanosecond())
	switch name := s.option.Load(); name {
	case 0:
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMP_NEW:
		m.Control = append(m.Control, ControlMessage{unix.SOL_SOCKET, name, timeBytes(at.Unix(), frac/1e3)})
	default:
		m.Control = append(m.Control, ControlMessage{unix.SOL_SOCKET, name, timeBytes(at.Unix(), frac)})
	}
	if s.flags.Load()&softwareReceived == softwareReceived {
		// struct scm_timestamping; the other two times are of network cards.
		b := append(timeBytes(at.Unix(), frac), make([]byte, 32)...)
		m.Control = append(m.Control, ControlMessage{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, b})
	}
}

// timeBytes lays out struct timeval or timespec.
func timeBytes(sec, frac int64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(sec))
	return binary.LittleEndian.AppendUint64(b, uint64(frac))
}
