package mm

import (
	"errors"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// PageSize is the size of a page in bytes, and PageMask the bits of an
// address within its page.
const (
	PageSize = 4096
	PageMask = PageSize - 1
	// TaskSize is where user space ends on amd64 Linux. What the platform's
	// limits leave out below it can be named, but is never mapped.
	TaskSize = 1<<47 - PageSize
)

// MaxMaps is how many mappings an address space may have, as
// /proc/sys/vm/max_map_count has it on Linux.
const MaxMaps = 65530

// Limiter tells resource limits: Limit returns the soft limit of one resource
// (unix.RLIMIT_*), all ones for none.
type Limiter interface {
	Limit(resource int) uint64
}

// MemoryManager is one guest address space. Its users are the tasks that run
// in it; it starts with one.
//
// Methods that take a platform.Context take the calling task's, which runs in
// this address space: host operations are queued on it.
type MemoryManager struct {
	as     platform.AddressSpace
	limits platform.Limits
	users  atomic.Int32
	// retired says that no other program may have the address space.
	retired atomic.Bool

	mu      sync.RWMutex
	rlimits Limiter
	// vmas is changed with mu and tree held, and read with either: the
	// platform asks about mappings while it does something for a holder of mu.
	vmas vmaSet
	tree sync.RWMutex
	// heirs counts the address spaces that have the same tree (inherit.go); nil if it is
	// this one's alone.
	heirs  *atomic.Int32
	sums   Totals
	layout layout
	info   Info
	exe    *vfs.FileDescription
	// lockFuture holds the flags that mlockall(MCL_FUTURE) gives new mappings.
	lockFuture vmaFlags
	// dontFork says that there may be mappings that a child does not get.
	dontFork bool
	// counted says that there may be mappings whose references are counted: a child has its
	// own from the beginning.
	counted bool
	dead    bool
	// remote is held for reading while others than the users copy memory, so
	// that they never see the next program in the same address space. gone
	// says that they may not any more.
	remote sync.RWMutex
	gone   bool
	// released are descriptions to be dropped once mu is free.
	released []*vfs.FileDescription

	dumpable   atomic.Int32
	membarrier atomic.Uint32
}

// New returns the books of an empty address space with one user. It takes a
// reference to as. lim is asked whenever a limit matters. With noRandomize the
// layout is the same each time (personality(2)'s ADDR_NO_RANDOMIZE).
func New(as platform.AddressSpace, lim platform.Limits, rlimits Limiter, noRandomize bool) *MemoryManager {
	m := &MemoryManager{as: as, limits: lim, rlimits: rlimits}
	m.users.Store(1)
	m.dumpable.Store(1)
	m.layout = newLayout(lim, rlimits.Limit(unix.RLIMIT_STACK), noRandomize)
	as.IncRef()
	m.addSpecial()
	m.adopt()
	return m
}

// adopt makes the platform ask this MemoryManager about mappings, and for room
// near guest code.
func (m *MemoryManager) adopt() {
	if u, ok := m.as.(platform.MappingUser); ok {
		u.SetMappings(m.mapping)
	}
	if r, ok := m.as.(interface {
		SetReserver(func(near, size uint64) (addr uint64, ok bool))
	}); ok {
		r.SetReserver(m.Reserve)
	}
}

// mapping answers the platform's question about an address.
func (m *MemoryManager) mapping(addr uint64) (platform.Mapping, bool) {
	m.tree.RLock()
	defer m.tree.RUnlock()
	v := m.vmas.find(addr)
	if v == nil || v.platforms() {
		return platform.Mapping{}, false
	}
	return platform.Mapping{Start: v.start, End: v.end, Prot: v.prot, Private: v.flags&flagShared == 0}, true
}

// AddressSpace returns the platform's side of the address space.
func (m *MemoryManager) AddressSpace() platform.AddressSpace { return m.as }

// PlatformLimits returns the bounds of guest addresses.
func (m *MemoryManager) PlatformLimits() platform.Limits { return m.limits }

// IncRef adds a user: a task that shares the address space (CLONE_VM).
func (m *MemoryManager) IncRef() { m.users.Add(1) }

// Users returns how many tasks use the address space.
func (m *MemoryManager) Users() int { return int(m.users.Load()) }

// DecRef drops a user. The last one releases everything that is mapped and
// the platform's address space; after that the books are empty.
func (m *MemoryManager) DecRef() {
	if n := m.users.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("mm: address space released twice")
	}
	m.retire()
	m.as.DecRef()
}

// retire empties the books of an address space that no task uses any more.
func (m *MemoryManager) retire() {
	m.shut()
	m.mu.Lock()
	tree := m.vmas.root
	m.tree.Lock()
	m.vmas = vmaSet{}
	m.tree.Unlock()
	m.leave(tree)
	m.layout.anchor = 0
	m.sums = Totals{}
	m.drop(m.exe)
	m.exe = nil
	m.dead = true
	m.unlock()
}

// shut ends the access of others than the users.
func (m *MemoryManager) shut() {
	m.remote.Lock()
	m.gone = true
	m.remote.Unlock()
}

// drop has a description released once mu is free.
func (m *MemoryManager) drop(f *vfs.FileDescription) {
	if f != nil {
		m.released = append(m.released, f)
	}
}

// unlock releases mu, then the descriptions that lost their mapping.
func (m *MemoryManager) unlock() {
	files := m.released
	m.released = nil
	m.mu.Unlock()
	for _, f := range files {
		f.DecRef()
	}
}

// flush has queued operations done now. mu is held.
func (m *MemoryManager) flush(ctx platform.Context) error {
	err := ctx.Flush()
	if err == nil {
		return nil
	}
	return m.repair(ctx, err)
}

// OpFailed repairs the books after an EventOpFailed, and returns the errno
// that the system call that queued the operation should return. (No guest code
// ran since that call, so its result can still be changed.)
func (m *MemoryManager) OpFailed(ctx platform.Context, err error) unix.Errno {
	m.lock()
	defer m.unlock()
	return m.repair(ctx, err)
}

// repair makes the books agree with the host after err. What should have been
// mapped is taken out again, so that the guest finds a hole where it finds no
// memory. Other operations may have had a part of their effect, as the same
// call's failure may have on Linux.
func (m *MemoryManager) repair(ctx platform.Context, err error) unix.Errno {
	m.own()
	var op *platform.OpError
	errors.As(err, &op)
	for ; op != nil; op = op.Next {
		if op.Op.Kind == platform.OpMmap {
			m.removeRange(op.Op.Addr, op.Op.Addr+op.Op.Length)
			ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: op.Op.Addr, Length: op.Op.Length})
		}
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.ENOMEM
}

// pageUp rounds up to a page; it wraps to 0 at the top.
func pageUp(n uint64) uint64 { return (n + PageMask) &^ PageMask }

// pageDown rounds down to a page.
func pageDown(n uint64) uint64 { return n &^ PageMask }
