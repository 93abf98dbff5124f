package kernel

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Attributes are what a thread's programs may set and get, and what children
// inherit, without any effect on how the sentry runs it: scheduling is the
// host's. Task.Attributes returns a copy, Task.UpdateAttributes changes them.
type Attributes struct {
	// Policy and Priority are sched_setscheduler(2)'s; ResetOnFork is
	// SCHED_RESET_ON_FORK.
	Policy, Priority int32
	ResetOnFork      bool
	// Nice is the nice value, -20 to 19.
	Nice int32
	// Runtime, Deadline and Period are sched_setattr(2)'s for SCHED_DEADLINE.
	Runtime, Deadline, Period uint64
	// Affinity is the set of CPUs, 64 a word. It is replaced, never changed.
	Affinity []uint64
	// IOPrio is ioprio_set(2)'s.
	IOPrio int32
	// TimerSlack is in nanoseconds, DefaultSlack what PR_SET_TIMERSLACK 0
	// goes back to.
	TimerSlack, DefaultSlack uint64
	// Personality is personality(2)'s.
	Personality uint32
	// NoTHP is PR_SET_THP_DISABLE; TSC is PR_SET_TSC; IOFlusher PR_SET_IO_FLUSHER.
	NoTHP, IOFlusher bool
	// MCEKill is PR_MCE_KILL's policy.
	MCEKill int32
}

// attributes is how a Task keeps its Attributes.
type attributes struct {
	mu sync.Mutex
	v  Attributes
}

// defaultSlack is the timer slack of a new system, in nanoseconds.
const defaultSlack = 50000

// hostAffinity are the CPUs that the sentry may run on; a guest has these.
var hostAffinity = sync.OnceValue(func() []uint64 {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return []uint64{1}
	}
	words := make([]uint64, len(set))
	for i, w := range set {
		words[i] = uint64(w)
	}
	for len(words) > 1 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	return words
})

// CPUs is the set of CPUs that there are, 64 a word. It must not be changed.
func CPUs() []uint64 { return hostAffinity() }

// initAttributes gives the first task of a process without a parent its
// attributes.
func (t *Task) initAttributes() {
	t.attrs.v = Attributes{
		Affinity: hostAffinity(), TimerSlack: defaultSlack, DefaultSlack: defaultSlack,
		MCEKill: unix.PR_MCE_KILL_DEFAULT,
	}
}

// inheritAttributes gives a new task what its parent has, as fork(2) does.
func (t *Task) inheritAttributes(parent *Task) {
	v := parent.Attributes()
	if v.ResetOnFork {
		v.ResetOnFork = false
		v.Nice = max(v.Nice, 0)
		switch v.Policy {
		case unix.SCHED_FIFO, unix.SCHED_RR, unix.SCHED_DEADLINE:
			v.Policy, v.Priority, v.Nice = unix.SCHED_NORMAL, 0, 0
			v.Runtime, v.Deadline, v.Period = 0, 0, 0
		}
	}
	v.DefaultSlack = v.TimerSlack
	t.attrs.v = v
}

// Attributes returns the task's attributes.
func (t *Task) Attributes() Attributes {
	t.attrs.mu.Lock()
	defer t.attrs.mu.Unlock()
	return t.attrs.v
}

// UpdateAttributes changes the task's attributes by f, which must not block.
func (t *Task) UpdateAttributes(f func(*Attributes)) {
	t.attrs.mu.Lock()
	defer t.attrs.mu.Unlock()
	f(&t.attrs.v)
}

// SetAffinity limits the task to the CPUs of set that there are, as the guest
// sees it: the host schedules by its own. EINVAL if none are.
func (t *Task) SetAffinity(set []uint64) error {
	set = slices.Clone(set[:min(len(set), len(CPUs()))])
	any := uint64(0)
	for i := range set {
		set[i] &= CPUs()[i]
		any |= set[i]
	}
	if any == 0 {
		return unix.EINVAL
	}
	for len(set) < len(CPUs()) {
		set = append(set, 0)
	}
	t.UpdateAttributes(func(a *Attributes) { a.Affinity = set })
	return nil
}
