package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// futexMemory is guest memory at addresses 0 to its size, as a Context shows it.
type futexMemory struct {
	platform.Context
	words []uint32
}

func (m *futexMemory) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&m.words[0])), 4*len(m.words))
}

func (m *futexMemory) CopyIn(addr uint64, dst []byte) (int, error) {
	if addr%4 == 0 && len(dst) == 4 && addr < uint64(4*len(m.words)) {
		binary.NativeEndian.PutUint32(dst, atomic.LoadUint32(&m.words[addr/4]))
		return 4, nil
	}
	if addr >= uint64(4*len(m.words)) {
		return 0, unix.EFAULT
	}
	if n := copy(dst, m.bytes()[addr:]); n < len(dst) {
		return n, unix.EFAULT
	}
	return len(dst), nil
}

func (m *futexMemory) CopyOut(addr uint64, src []byte) (int, error) {
	if addr >= uint64(4*len(m.words)) {
		return 0, unix.EFAULT
	}
	if n := copy(m.bytes()[addr:], src); n < len(src) {
		return n, unix.EFAULT
	}
	return len(src), nil
}

func (m *futexMemory) CompareAndSwap32(addr uint64, old, new uint32) (uint32, error) {
	if addr >= uint64(4*len(m.words)) {
		return 0, unix.EFAULT
	}
	for {
		found := atomic.LoadUint32(&m.words[addr/4])
		if found != old {
			return found, nil
		}
		if atomic.CompareAndSwapUint32(&m.words[addr/4], old, new) {
			return old, nil
		}
	}
}

func (m *futexMemory) load(addr uint64) uint32     { return atomic.LoadUint32(&m.words[addr/4]) }
func (m *futexMemory) store(addr uint64, v uint32) { atomic.StoreUint32(&m.words[addr/4], v) }

// Interrupt is called when a signal is sent to a task in guest mode.
func (m *futexMemory) Interrupt(bool) {}

// Rest is called before a task sleeps.
func (m *futexMemory) Rest() {}

// futexThreads makes a process of n threads that share memory.
func futexThreads(tb testing.TB, n int) (*futexMemory, []*Task) {
	tb.Helper()
	m := &futexMemory{words: make([]uint32, 4096)}
	k := New(Config{})
	first, err := k.CreateProcess(ProcessConfig{Credentials: auth.New(0, 0, nil)})
	if err != nil {
		tb.Fatal(err)
	}
	tasks := []*Task{first}
	for len(tasks) < n {
		t := k.newTask(first.Credentials())
		k.mu.Lock()
		err := k.adoptLocked(t, first.group, first.PIDs(), chosenPIDs{})
		k.mu.Unlock()
		if err != nil {
			tb.Fatal(err)
		}
		first.group.addThread(t)
		tasks = append(tasks, t)
	}
	mem := new(mm.MemoryManager)
	for _, t := range tasks {
		t.ctx, t.mem = m, mem
		t.clock.since.Store(stampNow())
		t.work.Store(false)
	}
	return m, tasks
}

// waiting returns once n waiters are queued.
func waiting(k *Kernel, n int) {
	for {
		found := 0
		for i := range k.futexes.buckets {
			b := &k.futexes.buckets[i]
			b.mu.Lock()
			for w := b.head; w != nil; w = w.next {
				found++
			}
			b.mu.Unlock()
		}
		if found == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFutexWaitErrors(t *testing.T) {
	m, tasks := futexThreads(t, 1)
	task := tasks[0]
	m.store(8, 5)
	past := time.Now().Add(-time.Second)
	tests := []struct {
		name   string
		addr   uint64
		val    uint32
		bitset uint32
		want   error
	}{
		{"other value", 8, 4, FutexMatchAny, unix.EAGAIN},
		{"timeout", 8, 5, FutexMatchAny, unix.ETIMEDOUT},
		{"not aligned", 9, 5, FutexMatchAny, unix.EINVAL},
		{"no bits", 8, 5, 0, unix.EINVAL},
		{"no memory", 1 << 20, 5, FutexMatchAny, unix.EFAULT},
		{"kernel's half", 1 << 63, 5, FutexMatchAny, unix.EFAULT},
	}
	for _, tt := range tests {
		if err := task.FutexWait(tt.addr, tt.val, false, tt.bitset, past); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	waiting(task.k, 0)
}

func TestFutexWake(t *testing.T) {
	_, tasks := futexThreads(t, 5)
	var wg sync.WaitGroup
	for i, task := range tasks[1:] {
		wg.Go(func() {
			if err := task.FutexWait(8, 0, false, 1<<i, time.Time{}); err != nil {
				t.Errorf("wait: %v", err)
			}
		})
	}
	k := tasks[0].k
	waiting(k, 4)
	for _, step := range []struct {
		addr   uint64
		n      int
		bitset uint32
		want   int
		left   int
	}{
		{12, 9, FutexMatchAny, 0, 4}, // another futex
		{8, 9, 1 << 5, 0, 4},         // nobody's bit
		{8, 9, 1 << 2, 1, 3},
		{8, 2, FutexMatchAny, 2, 1},
		{8, 9, FutexMatchAny, 1, 0},
	} {
		n, err := tasks[0].FutexWake(step.addr, step.n, false, step.bitset)
		if n != step.want || err != nil {
			t.Errorf("wake %+v: %d, %v", step, n, err)
		}
		waiting(k, step.left)
	}
	wg.Wait()
}

func TestFutexSignalInterrupts(t *testing.T) {
	_, tasks := futexThreads(t, 2)
	done := make(chan error)
	go func() { done <- tasks[1].FutexWait(8, 0, false, FutexMatchAny, time.Time{}) }()
	waiting(tasks[0].k, 1)
	tasks[1].Signal(KernelSignal(unix.SIGKILL))
	if err := <-done; err != abi.ERESTARTSYS {
		t.Errorf("%v, want ERESTARTSYS", err)
	}
	waiting(tasks[0].k, 0)
}

func TestFutexRequeue(t *testing.T) {
	m, tasks := futexThreads(t, 5)
	var wg sync.WaitGroup
	for _, task := range tasks[1:] {
		wg.Go(func() {
			if err := task.FutexWait(8, 0, false, FutexMatchAny, time.Time{}); err != nil {
				t.Errorf("wait: %v", err)
			}
		})
	}
	main := tasks[0]
	waiting(main.k, 4)
	m.store(8, 1)
	if _, _, err := main.FutexRequeue(8, false, 16, false, 1, 9, true, 7); err != unix.EAGAIN {
		t.Errorf("other value: %v, want EAGAIN", err)
	}
	woken, moved, err := main.FutexRequeue(8, false, 16, false, 1, 2, true, 1)
	if woken != 1 || moved != 2 || err != nil {
		t.Errorf("requeue: %d, %d, %v", woken, moved, err)
	}
	for _, step := range []struct {
		addr uint64
		want int
	}{{8, 1}, {16, 2}, {16, 0}} {
		if n, err := main.FutexWake(step.addr, 9, false, FutexMatchAny); n != step.want || err != nil {
			t.Errorf("wake at %d: %d, %v, want %d", step.addr, n, err, step.want)
		}
	}
	wg.Wait()
}

func TestFutexOp(t *testing.T) {
	tests := []struct {
		op, cmp, arg, cmparg uint32
		old, new             uint32
		holds                bool
	}{
		{0, 0, 5, 3, 3, 5, true},
		{1, 1, 5, 3, 3, 8, false},
		{2, 2, 6, 0xfff, 1, 7, false}, // -1 after sign extension
		{3, 3, 1, 9, 3, 2, true},
		{4, 4, 1, 2, 3, 2, true},
		{8, 5, 4, 3, 3, 16, true}, // FUTEX_OP_OPARG_SHIFT
	}
	for _, tt := range tests {
		op, err := DecodeFutexOp(tt.op<<28 | tt.cmp<<24 | tt.arg<<12 | tt.cmparg)
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		if got := op.apply(tt.old); got != tt.new {
			t.Errorf("%+v: makes %d", tt, got)
		}
		if got := op.holds(tt.old); got != tt.holds {
			t.Errorf("%+v: holds is %v", tt, got)
		}
	}
	for _, v := range []uint32{5 << 28, 6 << 24} {
		if _, err := DecodeFutexOp(v); err != unix.ENOSYS {
			t.Errorf("%#x: %v, want ENOSYS", v, err)
		}
	}
}

// TestFutexMutex has threads add to a plain variable under a mutex made of a
// futex (Drepper's second). A lost wake-up hangs it; a broken lock miscounts.
func TestFutexMutex(t *testing.T) {
	const threads, rounds, word = 4, 500, 8
	m, tasks := futexThreads(t, threads)
	cas := func(old, new uint32) uint32 {
		v, _ := m.CompareAndSwap32(word, old, new)
		return v
	}
	sum := 0
	var wg sync.WaitGroup
	for _, task := range tasks {
		wg.Go(func() {
			for range rounds {
				for c := cas(0, 1); c != 0; c = cas(0, 2) {
					if c == 2 || cas(1, 2) != 0 {
						task.FutexWait(word, 2, false, FutexMatchAny, time.Time{})
					}
				}
				sum++
				if atomic.AddUint32(&m.words[word/4], ^uint32(0)) != 0 {
					m.store(word, 0)
					task.FutexWake(word, 1, false, FutexMatchAny)
				}
			}
		})
	}
	wg.Wait()
	if sum != threads*rounds {
		t.Errorf("sum is %d, want %d", sum, threads*rounds)
	}
	waiting(tasks[0].k, 0)
}

// TestFutexPIMutex does the same with a PI futex, and random timeouts.
func TestFutexPIMutex(t *testing.T) {
	const threads, rounds, word = 4, 500, 8
	m, tasks := futexThreads(t, threads)
	var sum, locked int
	var wg sync.WaitGroup
	for _, task := range tasks {
		wg.Go(func() {
			tid := task.futexTID()
			for range rounds {
				if found, _ := m.CompareAndSwap32(word, 0, tid); found != 0 {
					var deadline time.Time
					if rand.IntN(4) == 0 {
						deadline = time.Now().Add(time.Duration(rand.IntN(100)) * time.Microsecond)
					}
					err := task.FutexLockPI(word, false, false, deadline)
					if err == unix.ETIMEDOUT {
						continue
					}
					if err == abi.ERESTARTNOINTR {
						continue
					}
					if err != nil {
						t.Errorf("lock: %v", err)
						return
					}
				}
				if m.load(word)&futexTIDMask != tid {
					t.Errorf("word is %#x in thread %d", m.load(word), tid)
				}
				locked++
				if locked != 1 {
					t.Error("two threads hold the lock")
				}
				sum++
				locked--
				if found, _ := m.CompareAndSwap32(word, tid, 0); found != tid {
					if err := task.FutexUnlockPI(word, false); err != nil {
						t.Errorf("unlock: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if m.load(word) != 0 && m.load(word) != futexWaitersBit {
		t.Errorf("word is %#x at the end", m.load(word))
	}
	waiting(tasks[0].k, 0)
	if n := tasks[0].k.futexes.piWaiters.Load(); n != 0 {
		t.Errorf("%d PI waiters are counted at the end", n)
	}
}

func TestFutexPIErrors(t *testing.T) {
	m, tasks := futexThreads(t, 2)
	a, b := tasks[0], tasks[1]
	m.store(8, a.futexTID())
	for _, tt := range []struct {
		name string
		got  error
		want error
	}{
		{"own", a.FutexLockPI(8, false, false, time.Time{}), unix.EDEADLK},
		{"try another's", b.FutexLockPI(8, false, true, time.Time{}), unix.EAGAIN},
		{"unlock another's", b.FutexUnlockPI(8, false), unix.EPERM},
		{"timeout", b.FutexLockPI(8, false, false, time.Now().Add(time.Millisecond)), unix.ETIMEDOUT},
		{"unlock", a.FutexUnlockPI(8, false), nil},
		{"try free", b.FutexLockPI(8, false, true, time.Time{}), nil},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if m.load(8) != b.futexTID() {
		t.Errorf("word is %#x, want %#x", m.load(8), b.futexTID())
	}
	m.store(8, 12345)
	if err := a.FutexLockPI(8, false, false, time.Time{}); err != unix.ESRCH {
		t.Errorf("owner that is not there: %v, want ESRCH", err)
	}
}

func TestFutexPIOwnerDies(t *testing.T) {
	m, tasks := futexThreads(t, 3)
	a, b, c := tasks[0], tasks[1], tasks[2]
	m.store(8, a.futexTID())
	got := make(chan error)
	for _, w := range []*Task{b, c} {
		go func() { got <- w.FutexLockPI(8, false, false, time.Time{}) }()
	}
	waiting(a.k, 2)
	a.ExitFutexes()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	word := m.load(8)
	if word&futexOwnerDiedBit == 0 || word&futexWaitersBit == 0 {
		t.Errorf("word is %#x, want both bits", word)
	}
	owner := b
	if word&futexTIDMask == c.futexTID() {
		owner = c
	}
	if err := owner.FutexUnlockPI(8, false); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestFutexWaitMultiple(t *testing.T) {
	_, tasks := futexThreads(t, 2)
	list := []FutexWaitv{{8, 0, false}, {12, 0, false}, {16, 0, false}}
	type result struct {
		index int
		err   error
	}
	done := make(chan result)
	go func() {
		i, err := tasks[1].FutexWaitMultiple(list, time.Time{})
		done <- result{i, err}
	}()
	waiting(tasks[0].k, 3)
	tasks[0].FutexWake(12, 1, false, FutexMatchAny)
	if r := <-done; r.index != 1 || r.err != nil {
		t.Errorf("woken: %+v, want index 1", r)
	}
	list[2].Val = 9
	if _, err := tasks[1].FutexWaitMultiple(list, time.Time{}); err != unix.EAGAIN {
		t.Errorf("other value: %v, want EAGAIN", err)
	}
	waiting(tasks[0].k, 0)
}

func TestRobustList(t *testing.T) {
	const head, offset = 256, 16
	put := func(m *futexMemory, addr, v uint64) { binary.NativeEndian.PutUint64(m.bytes()[addr:], v) }
	m, tasks := futexThreads(t, 2)
	a, b := tasks[0], tasks[1]
	tid := a.futexTID()
	// Entries at 512, 576 and 640; the words are offset behind them.
	put(m, head, 512)
	put(m, head+8, offset)
	put(m, head+16, 640) // pending
	put(m, 512, 576)
	put(m, 576, head)
	m.store(512+offset, tid|futexWaitersBit)
	m.store(576+offset, b.futexTID())
	m.store(640+offset, tid)
	done := make(chan error)
	go func() { done <- b.FutexWait(512+offset, tid|futexWaitersBit, false, FutexMatchAny, time.Time{}) }()
	waiting(a.k, 1)
	a.SetRobustList(head)
	// The kernel wakes by the shared key; here that is the private one.
	a.walkRobustList(head)
	for _, tt := range []struct {
		name string
		addr uint64
		want uint32
	}{
		{"owned", 512 + offset, futexOwnerDiedBit | futexWaitersBit},
		{"another's", 576 + offset, b.futexTID()},
		{"pending", 640 + offset, futexOwnerDiedBit},
	} {
		if got := m.load(tt.addr); got != tt.want {
			t.Errorf("%s: word is %#x, want %#x", tt.name, got, tt.want)
		}
	}
	a.FutexWake(512+offset, 1, false, FutexMatchAny)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRobustListHostile walks lists that a hostile guest may make: it must end.
func TestRobustListHostile(t *testing.T) {
	m, tasks := futexThreads(t, 1)
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		for i := range m.words {
			m.words[i] = uint32(r.IntN(4*len(m.words))) &^ 3
			if i%2 == 1 {
				m.words[i] = 0
			}
		}
		tasks[0].SetRobustList(uint64(r.IntN(4*len(m.words))) &^ 7)
		tasks[0].ExecFutexes()
	}
}

func TestFutexDoesNotAllocate(t *testing.T) {
	_, tasks := futexThreads(t, 1)
	task := tasks[0]
	past := time.Now().Add(-time.Second)
	task.FutexWait(8, 0, false, FutexMatchAny, past) // makes the channel
	if n := testing.AllocsPerRun(100, func() {
		task.FutexWait(8, 0, false, FutexMatchAny, past)
		task.FutexWake(8, 1, false, FutexMatchAny)
	}); n != 0 {
		t.Errorf("wait and wake allocate %v times", n)
	}
}

func BenchmarkFutexWake(b *testing.B) {
	_, tasks := futexThreads(b, 1)
	for b.Loop() {
		tasks[0].FutexWake(8, 1, false, FutexMatchAny)
	}
}

func BenchmarkFutexPingPong(b *testing.B) {
	m, tasks := futexThreads(b, 2)
	turn := func(t *Task, mine, other uint32) {
		for m.load(8) != mine {
			t.FutexWait(8, other, false, FutexMatchAny, time.Time{})
		}
		m.store(8, other)
		t.FutexWake(8, 1, false, FutexMatchAny)
	}
	done := make(chan struct{})
	n := 0
	go func() {
		defer close(done)
		for range b.N {
			turn(tasks[1], 1, 0)
		}
	}()
	for range b.N {
		turn(tasks[0], 0, 1)
		n++
	}
	<-done
}
