package socket

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// SendTime is SO_TXTIME: the clock of the times that SCM_TXTIME messages say, and flags. They
// are for queueing disciplines, of which there are none, so that all leaves at once. The zero value has none set.
type SendTime struct {
	mu           sync.Mutex
	clock, flags int32
	set          bool
}

// SendTimeSet reports whether it has been set.
func (s *SendTime) SendTimeSet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set
}

// SendTimeOption is the value that getsockopt(2) gives.
func (s *SendTime) SendTimeOption() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(Number(s.clock), Number(s.flags)...)
}

// SetSendTime sets it: EINVAL for a value that there is none of, EPERM for a clock that takes a capability
// which can denies.
func (s *SendTime) SetSendTime(value []byte, can func(capability int) bool) error {
	if len(value) != 8 {
		return unix.EINVAL
	}
	clock, flags := int32(binary.LittleEndian.Uint32(value)), int32(binary.LittleEndian.Uint32(value[4:]))
	const deadlineMode, reportErrors = 1, 2 // SOF_TXTIME_*
	if flags&^(deadlineMode|reportErrors) != 0 {
		return unix.EINVAL
	}
	if clock != unix.CLOCK_MONOTONIC && !can(unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	if clock != unix.CLOCK_MONOTONIC && clock != unix.CLOCK_REALTIME && clock != unix.CLOCK_TAI {
		return unix.EINVAL
	}
	s.mu.Lock()
	s.clock, s.flags, s.set = clock, flags, true
	s.mu.Unlock()
	return nil
}
