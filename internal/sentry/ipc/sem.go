package ipc

import (
	"sync"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// The limits of semaphores, as in /proc/sys/kernel/sem.
const (
	MaxSemsPerSet = 32000 // SEMMSL
	MaxSemOps     = 500   // SEMOPM
	MaxSemValue   = 32767 // SEMVMX
	// MaxSems is SEMMNS; it bounds the sentry's memory.
	MaxSems = 1 << 20
)

// SemUndo is SEM_UNDO.
const SemUndo = 0x1000

// SemOp is struct sembuf.
type SemOp struct {
	Num   uint16
	Op    int16
	Flags int16
}

// Semaphores are the sets of a namespace.
type Semaphores struct {
	registry[*SemSet]
	totalMu sync.Mutex
	total   int
}

// SemSet is one set of semaphores.
type SemSet struct {
	parent *Semaphores
	queue  waiter.Queue

	mu           sync.Mutex
	p            Perm
	sems         []sem
	otime, ctime int64
	removed      bool
	// undo holds, for each process that used SEM_UNDO, what is to be added
	// to each semaphore when it ends.
	undo    map[any]map[uint16]int16
	undoing int // entries in all of undo
}

type sem struct {
	value int32
	pid   int32
	// waitUp and waitZero count those who sleep until the value grows, and
	// until it is zero.
	waitUp, waitZero int32
}

func (s *SemSet) perm() *Perm { return &s.p }

func (s *SemSet) allow(a Actor, want uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.check(a, want)
}

// Get is semget(2).
func (r *Semaphores) Get(a Actor, key int32, n int32, flags uint32) (int32, error) {
	if n < 0 || n > MaxSemsPerSet {
		return 0, unix.EINVAL
	}
	return r.get(a, key, flags, func(s *SemSet) error {
		if int(n) > len(s.sems) {
			return unix.EINVAL
		}
		return nil
	}, func() (*SemSet, error) {
		if n == 0 {
			return nil, unix.EINVAL
		}
		r.totalMu.Lock()
		defer r.totalMu.Unlock()
		if r.total+int(n) > MaxSems {
			return nil, unix.ENOSPC
		}
		r.total += int(n)
		return &SemSet{parent: r, p: newPerm(a, key, flags), sems: make([]sem, n), ctime: now()}, nil
	})
}

// Find returns the set with an ID.
func (r *Semaphores) Find(id int32) (*SemSet, error) { return r.find(id) }

// ByIndex returns the set with an index, for SEM_STAT, and its ID.
func (r *Semaphores) ByIndex(i int32) (*SemSet, int32, error) { return r.byIndex(i) }

// Usage returns the numbers of sets and semaphores, and the highest index.
func (r *Semaphores) Usage() (sets, sems int, highest int32) {
	sets, highest = r.usage()
	r.totalMu.Lock()
	defer r.totalMu.Unlock()
	return sets, r.total, highest
}

// SemBlock says which operation of a call has to wait.
type SemBlock struct {
	Num  uint16
	Zero bool // for the value to be zero, not to grow
	// NoWait says that the operation may not wait.
	NoWait bool
}

// Operate does all of the operations or none. It returns EAGAIN, with what to
// wait for, if one can't be done now. owner is the process that SEM_UNDO is
// remembered for. EFBIG, EACCES, ERANGE, EIDRM as semop(2) says.
func (s *SemSet) Operate(a Actor, owner any, ops []SemOp) (SemBlock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return SemBlock{}, unix.EIDRM
	}
	want := uint32(0o444)
	for _, o := range ops {
		if int(o.Num) >= len(s.sems) {
			return SemBlock{}, unix.EFBIG
		}
		if o.Op != 0 {
			want = Write
		}
	}
	if err := s.p.check(a, want); err != nil {
		return SemBlock{}, err
	}
	for i, o := range ops {
		block, err := s.apply(owner, o)
		if err != nil {
			s.unapply(owner, ops[:i])
			return block, err
		}
	}
	for _, o := range ops {
		s.sems[o.Num].pid = a.PID
	}
	s.otime = now()
	s.queue.Notify(waiter.All)
	return SemBlock{}, nil
}

// apply does one operation.
func (s *SemSet) apply(owner any, o SemOp) (SemBlock, error) {
	m := &s.sems[o.Num]
	block := SemBlock{Num: o.Num, Zero: o.Op == 0, NoWait: o.Flags&NoWait != 0}
	switch v := m.value + int32(o.Op); {
	case o.Op == 0:
		if m.value != 0 {
			return block, unix.EAGAIN
		}
		return block, nil
	case v < 0:
		return block, unix.EAGAIN
	case v > MaxSemValue:
		return block, unix.ERANGE
	}
	if o.Flags&SemUndo != 0 {
		u := int32(s.undo[owner][o.Num]) - int32(o.Op)
		if u < -MaxSemValue-1 || u > MaxSemValue {
			return block, unix.ERANGE
		}
		if s.undoing >= maxUndo {
			return block, unix.ENOMEM
		}
		s.setUndo(owner, o.Num, int16(u))
	}
	m.value += int32(o.Op)
	return block, nil
}

// unapply takes operations back that apply did.
func (s *SemSet) unapply(owner any, ops []SemOp) {
	for _, o := range ops {
		s.sems[o.Num].value -= int32(o.Op)
		if o.Op != 0 && o.Flags&SemUndo != 0 {
			s.setUndo(owner, o.Num, s.undo[owner][o.Num]+o.Op)
		}
	}
}

// maxUndo bounds what one set remembers for SEM_UNDO.
const maxUndo = 1 << 16

// setUndo remembers what is to be added to a semaphore when owner ends.
func (s *SemSet) setUndo(owner any, num uint16, by int16) {
	u := s.undo[owner]
	s.undoing -= len(u)
	switch {
	case by == 0:
		delete(u, num)
	case u == nil:
		if s.undo == nil {
			s.undo = map[any]map[uint16]int16{}
		}
		u = map[uint16]int16{num: by}
		s.undo[owner] = u
	default:
		u[num] = by
	}
	s.undoing += len(u)
	if len(u) == 0 {
		delete(s.undo, owner)
	}
}

// Wait counts a sleeper in (by is 1) or out (-1), for GETNCNT and GETZCNT.
func (s *SemSet) Wait(b SemBlock, by int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Zero {
		s.sems[b.Num].waitZero += by
	} else {
		s.sems[b.Num].waitUp += by
	}
}

// Readiness, Register and Unregister implement waiter.Waitable: any change of
// the set is an event.
func (s *SemSet) Readiness(waiter.Mask) waiter.Mask { return 0 }

// Register implements waiter.Waitable.
func (s *SemSet) Register(e *waiter.Entry) { s.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (s *SemSet) Unregister(e *waiter.Entry) { s.queue.Unregister(e) }

// EndProcess undoes what a process that ends has asked to be undone.
func (r *Semaphores) EndProcess(owner any) {
	r.mu.Lock()
	if r.count == 0 {
		r.mu.Unlock()
		return
	}
	sets := append([]*SemSet(nil), r.slots...)
	r.mu.Unlock()
	for _, s := range sets {
		if s == nil {
			continue
		}
		s.mu.Lock()
		if u := s.undo[owner]; u != nil {
			delete(s.undo, owner)
			s.undoing -= len(u)
			for i, by := range u {
				s.sems[i].value = min(max(s.sems[i].value+int32(by), 0), MaxSemValue)
			}
			s.queue.Notify(waiter.All)
		}
		s.mu.Unlock()
	}
}

// Remove is IPC_RMID: those who sleep wake up with EIDRM.
func (s *SemSet) Remove(a Actor) error {
	s.mu.Lock()
	if err := s.p.mayControl(a); err != nil {
		s.mu.Unlock()
		return err
	}
	s.removed = true
	s.queue.Notify(waiter.All)
	s.mu.Unlock()
	if s.parent.remove(s) {
		s.parent.totalMu.Lock()
		s.parent.total -= len(s.sems)
		s.parent.totalMu.Unlock()
	}
	return nil
}

// Set is IPC_SET.
func (s *SemSet) Set(a Actor, p Perm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.mayControl(a); err != nil {
		return err
	}
	if err := s.p.change(p); err != nil {
		return err
	}
	s.ctime = now()
	return nil
}

// SemidSize is sizeof(struct semid64_ds).
const SemidSize = 104

// Stat is IPC_STAT: struct semid64_ds. anyone leaves the permission out
// (SEM_STAT_ANY).
func (s *SemSet) Stat(a Actor, anyone bool) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.check(a, Read); err != nil && !anyone {
		return nil, err
	}
	b := make([]byte, SemidSize)
	s.p.Encode(a, b)
	le.PutUint64(b[48:], uint64(s.otime))
	le.PutUint64(b[64:], uint64(s.ctime))
	le.PutUint64(b[80:], uint64(len(s.sems)))
	return b, nil
}

// SemInfo is what semctl(2) tells of one semaphore.
type SemInfo struct{ Value, PID, WaitUp, WaitZero int32 }

// Info returns all semaphores' state. EACCES.
func (s *SemSet) Info(a Actor) ([]SemInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.check(a, Read); err != nil {
		return nil, err
	}
	out := make([]SemInfo, len(s.sems))
	for i, m := range s.sems {
		out[i] = SemInfo{m.value, m.pid, m.waitUp, m.waitZero}
	}
	return out, nil
}

// SetValue is SETVAL; it also forgets what was to be undone.
func (s *SemSet) SetValue(a Actor, num int32, value int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.check(a, Write); err != nil {
		return err
	}
	if num < 0 || int(num) >= len(s.sems) {
		return unix.EINVAL
	}
	if value < 0 || value > MaxSemValue {
		return unix.ERANGE
	}
	s.setLocked(a, int(num), value)
	return nil
}

// SetAll is SETALL. values has Len elements.
func (s *SemSet) SetAll(a Actor, values []uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.check(a, Write); err != nil {
		return err
	}
	for _, v := range values {
		if v > MaxSemValue {
			return unix.ERANGE
		}
	}
	for i, v := range values {
		s.setLocked(a, i, int32(v))
	}
	return nil
}

func (s *SemSet) setLocked(a Actor, i int, value int32) {
	s.sems[i].value, s.sems[i].pid = value, a.PID
	for owner := range s.undo {
		s.setUndo(owner, uint16(i), 0)
	}
	s.ctime = now()
	s.queue.Notify(waiter.All)
}

// Len is the number of semaphores in the set.
func (s *SemSet) Len() int { return len(s.sems) }
