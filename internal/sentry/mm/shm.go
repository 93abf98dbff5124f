package mm

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// sharedMemory is memory that several address spaces share without a file:
// MAP_SHARED|MAP_ANONYMOUS, and /dev/zero mapped shared. The host's memfd
// holds it; its size is fixed, so that beyond its end the guest gets SIGBUS as
// on Linux. A nil *sharedMemory is "none".
type sharedMemory struct {
	fd   int
	id   uint64
	refs atomic.Int64
}

// maxSharedMemories bounds the host descriptors that all guests of a sentry
// take by shared memory.
const maxSharedMemories = 8192

var (
	sharedMemories atomic.Int64
	sharedIDs      atomic.Uint64
)

// newSharedMemory makes size bytes. ENOMEM beyond maxSharedMemories.
func newSharedMemory(size uint64) (*sharedMemory, error) {
	if sharedMemories.Add(1) > maxSharedMemories {
		sharedMemories.Add(-1)
		return nil, unix.ENOMEM
	}
	fd, err := unix.MemfdCreate("coffer-shared", unix.MFD_CLOEXEC)
	if err == nil {
		err = unix.Ftruncate(fd, int64(size))
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		sharedMemories.Add(-1)
		return nil, unix.ENOMEM
	}
	s := &sharedMemory{fd: fd, id: sharedIDs.Add(1)}
	s.refs.Store(1)
	return s, nil
}

func (s *sharedMemory) incRef() {
	if s != nil {
		s.refs.Add(1)
	}
}

func (s *sharedMemory) decRef() {
	if s != nil && s.refs.Add(-1) == 0 {
		unix.Close(s.fd)
		sharedMemories.Add(-1)
	}
}
