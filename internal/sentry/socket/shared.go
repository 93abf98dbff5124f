package socket

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Shared are the options of SOL_SOCKET that families without a protocol of IP have alike. A
// family answers what it means otherwise before it asks for these.
type Shared struct {
	Timeouts
	Buffers
	Stamps
	Filter
	SendTime
	Plain
}

// SharedOption returns an option's value: ENOPROTOOPT if it is none of these.
func (s *Shared) SharedOption(name int32) ([]byte, error) {
	if v, ok := s.TimeoutOption(name); ok {
		return v, nil
	}
	if v, ok := s.BufferOption(name); ok {
		return v, nil
	}
	if v, ok := s.StampOption(name); ok {
		return v, nil
	}
	if v, ok := s.FilterOption(name); ok {
		return v, nil
	}
	if name == unix.SO_TXTIME {
		return s.SendTimeOption(), nil
	}
	return s.PlainOption(name)
}

// SetSharedOption sets one: ENOPROTOOPT if it is none of these, EINVAL for less than an int. can
// says what the caller is capable of.
func (s *Shared) SetSharedOption(c vfs.Caller, name int32, value []byte, can func(capability int) bool) error {
	if len(value) < 4 && name != unix.SO_BINDTODEVICE {
		return unix.EINVAL
	}
	if ok, err := s.SetTimeoutOption(name, value); ok {
		return err
	}
	if ok, err := s.SetBufferOption(name, value, func() bool { return can(unix.CAP_NET_ADMIN) }); ok {
		return err
	}
	if ok, err := s.SetStampOption(name, value); ok {
		return err
	}
	if ok, err := s.SetFilterOption(c, name, value); ok {
		return err
	}
	if name == unix.SO_TXTIME {
		return s.SetSendTime(value, can)
	}
	return s.SetPlainOption(name, value, can)
}
