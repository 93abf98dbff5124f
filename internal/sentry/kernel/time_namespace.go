package kernel

import (
	"sync"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

// TimeOffsets are how far the clocks of a time namespace are ahead of the
// sandbox's (time_namespaces(7)).
type TimeOffsets struct{ Monotonic, Boottime time.Duration }

// Of is the offset of one of the host's clocks.
func (o TimeOffsets) Of(clock int32) time.Duration {
	switch clock {
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE:
		return o.Monotonic
	case unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return o.Boottime
	}
	return 0
}

// maxTimeShown is the most that a clock may show when its offset is set: half of
// what the kernel's own clocks can hold, in whole seconds.
const maxTimeShown = (1<<63 - 1) / time.Second / 2 * time.Second

// TimeNamespace is a time namespace (time_namespaces(7)). Its offsets change
// until a task is in it.
type TimeNamespace struct {
	namespace

	mu      sync.Mutex
	offsets TimeOffsets
	entered bool
}

// Offsets are the namespace's.
func (n *TimeNamespace) Offsets() TimeOffsets {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.offsets
}

// SetOffsets sets the offset of each clock in the map, CLOCK_MONOTONIC and
// CLOCK_BOOTTIME, for who has the credentials c. EPERM without CAP_SYS_TIME over
// the namespace; ERANGE if a clock would be before its beginning, or close to
// its end; EACCES once a task is in the namespace.
func (n *TimeNamespace) SetOffsets(c *auth.Credentials, offsets map[int32]time.Duration) error {
	if !c.CanIn(n.owner, unix.CAP_SYS_TIME) {
		return unix.EPERM
	}
	for clock, o := range offsets {
		if shown := satAdd(wallClock(clock).now(), o); shown < 0 || shown > maxTimeShown {
			return unix.ERANGE
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.entered {
		return unix.EACCES
	}
	if o, ok := offsets[unix.CLOCK_MONOTONIC]; ok {
		n.offsets.Monotonic = o
	}
	if o, ok := offsets[unix.CLOCK_BOOTTIME]; ok {
		n.offsets.Boottime = o
	}
	return nil
}

// enter says that a task is about to be in the namespace, with this memory: the
// offsets stay from now on, and if there are any the memory's vDSO must not show
// the host's clocks.
func (n *TimeNamespace) enter(m *mm.MemoryManager) error {
	n.mu.Lock()
	n.entered = true
	shifted := n.offsets != TimeOffsets{}
	n.mu.Unlock()
	if !shifted || m == nil {
		return nil
	}
	return m.AskForClocks()
}

// enterTimeForChildren moves the task, whose memory is new, into the time
// namespace that it has for its children, as execve(2) does.
func (t *Task) enterTimeForChildren() error {
	ns := t.namespaces
	if err := ns.TimeForChildren.enter(t.mem); err != nil {
		return err
	}
	if ns.Time != ns.TimeForChildren {
		moved := ns.copy()
		moved.Time = moved.TimeForChildren
		t.setNamespaces(moved)
	}
	return nil
}

// ClockOffset is how far a clock that the task sees is ahead of the host's. For
// the task's own goroutine.
func (t *Task) ClockOffset(clock int32) time.Duration { return t.namespaces.Time.offsets.Of(clock) }

// WallDeadline turns an instant of a clock that the task sees into one that
// Block knows. It never returns a time that is too early, nor the zero time.
func (t *Task) WallDeadline(clock int32, at time.Duration) time.Time {
	left := satSub(satSub(at, t.ClockOffset(clock)), wallClock(clock).now())
	return time.Now().Add(left)
}
