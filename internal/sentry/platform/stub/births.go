package stub

import (
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The host has a new process begin on the processor that has the least to do, which is
// right as long as one is idle. On a busy host it waits there until whoever computes has
// used up its time, 4 ms or so, while on the processor of the process that forked it would
// go on next. So after a fork that began late the next ones begin there: near.

const (
	// birthLate is how late.
	birthLate = time.Millisecond
	// birthsNear is how many forks are near then, at first. If another one soon begins late
	// that is not, twice as many are, up to birthsNearMax.
	birthsNear    = 32
	birthsNearMax = 512
)

// births is what all forks know of it. The lock is a leaf.
type births struct {
	mu sync.Mutex
	// left is how many forks are to be near, period how many were the last time, and apart
	// how many were not since.
	left, period, apart int
}

// near reports whether the next fork is to be near.
func (b *births) near() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 {
		b.left--
		return true
	}
	b.apart++
	return false
}

// late notes that a fork began late.
func (b *births) late() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 {
		return // one of several at once
	}
	if b.apart >= 4*b.period {
		b.period = birthsNear
	} else {
		b.period = min(2*b.period, birthsNearMax)
	}
	b.left, b.apart = b.period, 0
}

// born learns from when the thread, whose process was forked, began.
func (t *Thread) born() {
	s := t.proc.stubs
	// The stub need not tell the truth.
	if int64(t.page.began-t.forked) > int64(s.spin.late) {
		s.births.late()
	}
	t.forked = 0
}

// Where a thread may run: page.cpus has the sets of processors.
const (
	cpusHere = iota
	cpusAll
	cpuSets
)

// addAffinity adds that the stub binds itself to a set of processors.
func (t *Thread) addAffinity(which int) {
	set := everywhere()
	if which == cpusHere {
		set.Zero()
		set.Set(int(t.stubCPU()))
	}
	t.page.cpus[which] = set
	at := uint64(unsafe.Offsetof(t.page.cpus)) + uint64(which)*uint64(unsafe.Sizeof(set))
	t.add(unix.SYS_SCHED_SETAFFINITY, 0, uint64(unsafe.Sizeof(set)), t.slotAddr()+at)
}
