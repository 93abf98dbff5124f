package mm

import (
	"sync/atomic"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Fork copies the address space for a new process: the host copies memory on
// write, mm the books (inherit.go). The result has one user and asks rlimits for limits;
// the context is the copy of ctx's thread.
func (m *MemoryManager) Fork(ctx platform.Context, rlimits Limiter) (*MemoryManager, platform.Context, error) {
	m.mu.Lock()
	defer m.unlock()
	if err := m.flush(ctx); err != nil {
		return nil, nil, err
	}
	as, childCtx, err := ctx.Fork()
	if err != nil {
		return nil, nil, err
	}
	c := &MemoryManager{as: as, limits: m.limits, rlimits: rlimits, layout: m.layout, info: m.info, exe: m.exe}
	c.users.Store(1)
	c.dumpable.Store(m.dumpable.Load())
	c.membarrier.Store(m.membarrier.Load())
	if c.exe != nil {
		c.exe.IncRef()
	}
	as.IncRef()
	c.sums = m.sums
	c.sums.Locked = 0
	c.sums.Peak = c.sums.Size
	c.vmas = vmaSet{root: m.vmas.root, n: m.vmas.n, seed: randomUint64() | 1}
	c.counted = m.counted
	if m.dontFork || m.counted || m.sums.Locked != 0 {
		// The host has left out what MADV_DONTFORK marks. (It has also wiped what
		// MADV_WIPEONFORK marks.)
		c.mu.Lock()
		c.vmas.root = copyTree(m.vmas.root, m.vmas.n)
		for _, v := range c.inRange(0, ^uint64(0)) {
			if v.flags&flagDontFork != 0 {
				c.removeRange(v.start, v.end)
			}
		}
		c.unlock()
	} else {
		if m.heirs == nil {
			m.heirs = new(atomic.Int32)
			m.heirs.Store(1)
		}
		m.heirs.Add(1)
		c.heirs = m.heirs
	}
	c.adopt()
	return c, childCtx, nil
}

// Exec gives a task an empty address space for a new program: ctx's own,
// emptied, if no other task uses it, else a new one from p. m is the address
// space that the task leaves; nil if it has none yet. After success the caller
// must use the results instead of m and ctx, and reused tells that ctx went
// on: if it did not, the caller releases the old context after it has switched
// to the new one. m's user is given up in either case; after an error m is
// unchanged.
func Exec(p platform.Platform, m *MemoryManager, ctx platform.Context, rlimits Limiter, noRandomize bool) (
	fresh *MemoryManager, newCtx platform.Context, reused bool, err error) {
	if m != nil && m.users.Load() == 1 && !m.retired.Load() && m.clear(ctx) {
		fresh = New(m.as, m.limits, rlimits, noRandomize)
		m.DecRef()
		return fresh, ctx, true, nil
	}
	as, newCtx, err := p.NewAddressSpace()
	if err != nil {
		return nil, nil, false, err
	}
	fresh = New(as, p.Limits(), rlimits, noRandomize)
	if m != nil {
		m.DecRef()
	}
	return fresh, newCtx, false, nil
}

// Retire has Exec take a new address space in any case: what the guest did to
// its stub behind the kernel's back, such as starting threads there, must not
// meet a program that has more privileges.
func (m *MemoryManager) Retire() { m.retired.Store(true) }

// clear unmaps all that is the guest's from the host, if the platform can
// forget what it had there of its own.
func (m *MemoryManager) clear(ctx platform.Context) bool {
	a, ok := m.as.(platform.Resetter)
	if !ok || !a.Reset() || ctx.ResetFP() != nil {
		return false
	}
	m.shut()
	r := ctx.Regs()
	*r = abi.Regs{Cs: r.Cs, Ss: r.Ss, Eflags: 0x202}
	top := m.top()
	ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: m.limits.Min, Length: pageDown(top) - m.limits.Min})
	return true
}

// Key identifies a word of memory that may be shared: futexes at the same Key
// are the same. Keys are comparable.
type Key struct {
	// Object is the file's identity, the shared memory, or the address space.
	Object any
	// Offset is the position in it.
	Offset uint64
}

// PrivateKey is the key of addr among the threads of this address space.
func (m *MemoryManager) PrivateKey(addr uint64) Key { return Key{m, addr} }

// SharedKey returns the key of addr for those who share the memory. EFAULT if
// nothing readable is mapped there.
func (m *MemoryManager) SharedKey(addr uint64) (Key, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v := m.vmas.find(addr)
	if v == nil || v.prot&unix.PROT_READ == 0 {
		return Key{}, unix.EFAULT
	}
	switch {
	case v.flags&flagShared == 0:
		return Key{m, addr}, nil
	case v.shm != nil:
		return Key{v.shm, v.offset + addr - v.start}, nil
	default:
		return Key{identity(v.file), v.offset + addr - v.start}, nil
	}
}
