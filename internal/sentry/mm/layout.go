package mm

import (
	"crypto/rand"
	"encoding/binary"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// layout is where things go in a new address space, as on amd64 Linux: the
// stack at the top (only the vDSO is above), mappings from some way below it
// downwards, a position-independent program at two thirds, brk(2)'s heap
// after the program.
type layout struct {
	// stackTop is the end of the stack; mmapTop is where mappings start to be
	// placed, downwards; programBase is for ET_DYN programs.
	stackTop, mmapTop, programBase uint64
	// anchor is what AnchorMappings keeps, or 0.
	anchor    uint64
	randomize bool
}

// How many bits of randomness there are, in pages, as Linux's defaults for
// amd64 (arch/x86/mm/mmap.c, CONFIG_ARCH_MMAP_RND_BITS).
const (
	stackRandomBits = 22
	mmapRandomBits  = 28
)

// newLayout chooses a layout for limits and the soft RLIMIT_STACK.
func newLayout(lim platform.Limits, stackLimit uint64, noRandomize bool) layout {
	l := layout{randomize: !noRandomize}
	top := lim.Max
	if lim.VVAR != 0 {
		top = min(top, lim.VVAR)
	}
	size := top - lim.Min
	// A platform with little room gets less randomness: a sixteenth of the
	// room for each.
	l.stackTop = pageDown(top) - l.random(min(1<<stackRandomBits*PageSize, size/16))
	gap := min(max(stackLimit, 128<<20), size/6*5)
	if stackLimit == ^uint64(0) {
		gap = 128 << 20
	}
	gap = min(gap+stackGuard, size/6*5)
	l.mmapTop = pageDown(l.stackTop-min(gap, l.stackTop-lim.Min)) - l.random(min(1<<mmapRandomBits*PageSize, size/16))
	l.mmapTop = max(l.mmapTop, lim.Min)
	l.programBase = pageDown(lim.Min+size/3*2) + l.random(min(1<<mmapRandomBits*PageSize, size/16))
	return l
}

// random returns a random multiple of the page size below limit, or 0 without
// randomization.
func (l *layout) random(limit uint64) uint64 {
	if !l.randomize || limit < PageSize {
		return 0
	}
	return randomUint64() % (limit / PageSize) * PageSize
}

// randomUint64 returns 64 random bits.
func randomUint64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// StackTop is where the initial stack ends.
func (m *MemoryManager) StackTop() uint64 { return m.layout.stackTop }

// ProgramBase is where a position-independent program with an interpreter is
// to be loaded; it is random if the layout is.
func (m *MemoryManager) ProgramBase() uint64 { return m.layout.programBase }

// Randomized reports whether the layout is random.
func (m *MemoryManager) Randomized() bool { return m.layout.randomize }

// addSpecial enters the platform's vDSO in the books.
func (m *MemoryManager) addSpecial() {
	l := m.limits
	if l.VDSO == 0 {
		return
	}
	if l.VVAR != 0 && l.VVAR < l.VDSO {
		m.add(&vma{start: l.VVAR, end: l.VDSO, prot: unix.PROT_READ, maxProt: unix.PROT_READ,
			flags: flagSpecial, name: "[vvar]"})
	}
	rx := int32(unix.PROT_READ | unix.PROT_EXEC)
	m.add(&vma{start: l.VDSO, end: l.VDSOEnd, prot: rx, maxProt: rx, flags: flagSpecial, name: "[vdso]"})
}

// AnchorMappings keeps a page, out of sight, where mappings start to be placed. Linux has
// the vDSO there, and a program with an interpreter that one; with nothing near, the host would
// make a page table for what is mapped first, and free it with the mapping, each time: 4 µs.
// A program that wants the very place has it (weighAnchor).
func (m *MemoryManager) AnchorMappings(ctx platform.Context) error {
	m.lock()
	defer m.unlock()
	addr, err := m.findRoom(PageSize, PageSize)
	if err != nil {
		return err
	}
	m.add(&vma{start: addr, end: addr + PageSize, flags: flagHidden})
	m.layout.anchor = addr
	ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: addr, Length: PageSize, Prot: unix.PROT_NONE, FD: -1,
		Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | unix.MAP_FIXED})
	return nil
}

// weighAnchor takes the page of AnchorMappings off the books if it lies in [start, end), where
// something is about to be mapped. mu is held.
func (m *MemoryManager) weighAnchor(start, end uint64) {
	at := m.layout.anchor
	if at == 0 || at < start || at >= end {
		return
	}
	m.layout.anchor = 0
	m.alter()
	defer m.tree.Unlock()
	m.forget(m.vmas.find(at))
}

// reach is how far a 32-bit displacement gets, less some room for the size of
// what is reached.
const reach = 1<<31 - 1<<20

// Reserve finds size bytes for the platform's own code within reach of a
// 32-bit displacement from near, and keeps them: they are not shown in
// /proc/PID/maps, and no mapping of the guest's is placed there. It prefers
// room below, since the heap grows above a program.
//
// The platform must not call it while it runs an operation for this package.
func (m *MemoryManager) Reserve(near, size uint64) (addr uint64, ok bool) {
	size = pageUp(size)
	if size == 0 || size > 1<<28 {
		return 0, false
	}
	m.lock()
	defer m.unlock()
	if m.dead || m.vmas.len() >= MaxMaps {
		return 0, false
	}
	lo := max(m.limits.Min, near-min(near, reach))
	hi := min(m.top(), near+reach)
	addr, ok = m.vmas.highestHole(lo, min(near, hi), size, PageSize)
	if !ok {
		addr, ok = m.vmas.highestHole(max(lo, near), hi, size, PageSize)
	}
	if ok {
		m.add(&vma{start: addr, end: addr + size, prot: unix.PROT_READ | unix.PROT_EXEC, flags: flagHidden})
	}
	return addr, ok
}

// reserveAt is Reserve for one place, if that is free. mu is held.
func (m *MemoryManager) reserveAt(addr, size uint64) bool {
	if addr < m.limits.Min || addr+size > m.top() || m.vmas.len() >= MaxMaps || !m.vmas.free(addr, addr+size) {
		return false
	}
	m.add(&vma{start: addr, end: addr + size, prot: unix.PROT_READ | unix.PROT_EXEC, flags: flagHidden})
	return true
}

// Unreserve gives back a range that Reserve returned.
func (m *MemoryManager) Unreserve(addr, size uint64) {
	m.lock()
	defer m.unlock()
	if v := m.vmas.find(addr); v != nil && v.flags&flagHidden != 0 && v.end == addr+pageUp(size) {
		m.alter()
		m.vmas.remove(v)
		m.tree.Unlock()
	}
}

// top is the end of what the guest may map.
func (m *MemoryManager) top() uint64 {
	if m.limits.VVAR != 0 {
		return min(m.limits.Max, m.limits.VVAR)
	}
	return m.limits.Max
}
