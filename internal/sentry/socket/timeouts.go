package socket

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Timeouts are SO_RCVTIMEO and SO_SNDTIMEO of socket(7), which every family has. It
// is a socket's vfs.IOTimeouts. The zero value waits for ever.
type Timeouts struct {
	recv, send atomic.Int64 // nanoseconds; 0 is never
}

// ReadTimeout and WriteTimeout implement vfs.IOTimeouts.
func (t *Timeouts) ReadTimeout() time.Duration { return time.Duration(t.recv.Load()) }

// WriteTimeout is SO_SNDTIMEO.
func (t *Timeouts) WriteTimeout() time.Duration { return time.Duration(t.send.Load()) }

// side is the time that an option of SOL_SOCKET names, or nil. Both have a second
// number for programs with 64-bit times, which lays the value out alike.
func (t *Timeouts) side(name int32) *atomic.Int64 {
	switch name {
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return &t.recv
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return &t.send
	}
	return nil
}

// TimeoutOption returns the value of an option of SOL_SOCKET as struct timeval; ok is false if
// it is no timeout.
func (t *Timeouts) TimeoutOption(name int32) (value []byte, ok bool) {
	side := t.side(name)
	if side == nil {
		return nil, false
	}
	ns := side.Load()
	value = binary.LittleEndian.AppendUint64(nil, uint64(ns/1e9))
	return binary.LittleEndian.AppendUint64(value, uint64(ns%1e9/1e3)), true
}

// SetTimeoutOption sets one from a struct timeval; ok is false if it is no timeout. EDOM
// for microseconds out of range, EINVAL for a value that is too short; a negative
// time is one that has passed already.
func (t *Timeouts) SetTimeoutOption(name int32, value []byte) (ok bool, err error) {
	side := t.side(name)
	if side == nil {
		return false, nil
	}
	if len(value) < 16 {
		return true, unix.EINVAL
	}
	sec, usec := int64(binary.LittleEndian.Uint64(value)), int64(binary.LittleEndian.Uint64(value[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return true, unix.EDOM
	case sec < 0:
		side.Store(1)
	case sec >= 1<<32:
		side.Store(0)
	default:
		side.Store(sec*1e9 + usec*1e3)
	}
	return true, nil
}

// CopyFrom takes over the times of another socket.
func (t *Timeouts) CopyFrom(from *Timeouts) {
	t.recv.Store(from.recv.Load())
	t.send.Store(from.send.Load())
}
