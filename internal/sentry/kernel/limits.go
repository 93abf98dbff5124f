package kernel

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NumLimits is how many resources getrlimit(2) knows (RLIM_NLIMITS).
const NumLimits = 16

// Resources that golang.org/x/sys/unix has no name for.
const (
	limitNProc      = 6
	limitMemlock    = 8
	limitLocks      = 10
	limitSigPending = 11
	limitMsgQueue   = 12
	limitNice       = 13
	limitRTPrio     = 14
	limitRTTime     = 15
)

// Infinity is RLIM_INFINITY: no limit.
const Infinity = ^uint64(0)

// RLimit is a soft limit and the ceiling that it may be raised to, as in
// struct rlimit64. The unit depends on the resource (getrlimit(2)).
type RLimit struct{ Cur, Max uint64 }

// Limits are the resource limits of one process. Reading one is a single
// atomic load, since every write(2) asks for RLIMIT_FSIZE. Safe for concurrent
// use; the zero value forbids everything, so make them with NewLimits.
type Limits struct {
	// mu orders changes, so that two prlimit(2) calls don't mix.
	mu       sync.Mutex
	cur, max [NumLimits]atomic.Uint64
}

// NewLimits returns what Linux gives its first process, with the number of
// descriptors that container managers use.
func NewLimits() *Limits {
	const kib, mib = 1 << 10, 1 << 20
	l := new(Limits)
	for r := range NumLimits {
		l.store(r, RLimit{Infinity, Infinity})
	}
	l.store(unix.RLIMIT_STACK, RLimit{8 * mib, Infinity})
	l.store(unix.RLIMIT_CORE, RLimit{0, Infinity})
	l.store(limitNProc, RLimit{32 * kib, 32 * kib})
	l.store(unix.RLIMIT_NOFILE, RLimit{1 * kib, 512 * kib})
	l.store(limitMemlock, RLimit{8 * mib, 8 * mib})
	l.store(limitSigPending, RLimit{32 * kib, 32 * kib})
	l.store(limitMsgQueue, RLimit{800 * kib, 800 * kib})
	l.store(limitNice, RLimit{0, 0})
	l.store(limitRTPrio, RLimit{0, 0})
	return l
}

func (l *Limits) store(r int, v RLimit) {
	l.cur[r].Store(v.Cur)
	l.max[r].Store(v.Max)
}

// Cur returns the soft limit of a resource (unix.RLIMIT_*), which must exist.
func (l *Limits) Cur(resource int) uint64 { return l.cur[resource].Load() }

// Get returns both limits of a resource, which must exist.
func (l *Limits) Get(resource int) RLimit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return RLimit{l.cur[resource].Load(), l.max[resource].Load()}
}

// Set replaces the limits of a resource and returns the former ones. Without
// mayRaise (CAP_SYS_RESOURCE) the ceiling may not grow: EPERM. EINVAL if the
// soft limit is above the ceiling.
func (l *Limits) Set(resource int, v RLimit, mayRaise bool) (RLimit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := RLimit{l.cur[resource].Load(), l.max[resource].Load()}
	if v.Cur > v.Max {
		return old, unix.EINVAL
	}
	if v.Max > old.Max && !mayRaise {
		return old, unix.EPERM
	}
	l.store(resource, v)
	return old, nil
}

// Clone returns a copy, as fork(2) makes it.
func (l *Limits) Clone() *Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := new(Limits)
	for r := range NumLimits {
		n.store(r, RLimit{l.cur[r].Load(), l.max[r].Load()})
	}
	return n
}
