package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// MainStackSize is how much of the main stack is mapped at first, below what
// execve(2) puts on it.
const MainStackSize = 132 << 10

// stackStep is by how much at least a stack grows: each time costs a fault
// that the host cannot resolve by itself.
const stackStep = 512 << 10

// HandleFault is asked about a SIGSEGV at addr; access is the unix.PROT_* bit
// that was needed. It reports whether the access may be made again: a stack
// has been grown, by this call or by another thread in the meantime.
func (m *MemoryManager) HandleFault(ctx platform.Context, addr uint64, access int32) bool {
	m.lock()
	defer m.unlock()
	v := m.vmas.above(addr)
	if v == nil || v.flags&flagGrowsDown == 0 || v.prot&access == 0 {
		return false
	}
	if v.start <= addr {
		return true // another thread was faster
	}
	start := pageDown(addr)
	limit := m.rlimits.Limit(unix.RLIMIT_STACK)
	if start < m.limits.Min || v.end-start > limit {
		return false
	}
	floor := max(m.limits.Min, sub(v.end, pageDown(limit)))
	if p := m.vmas.below(v.start); p != nil {
		floor = max(floor, p.end)
		if p.flags&flagGrowsDown == 0 && p.prot != 0 {
			floor = max(floor, p.end+stackGuard)
		}
	}
	if start < floor {
		return false
	}
	// Grow further than is needed, so that the next step is rare.
	start = max(floor, min(start, v.start-min(v.start, max(stackStep, v.end-v.start))))
	n := v.start - start
	if m.admitSize(n) != nil || v.flags&flagLocked != 0 && m.admitLocked(n, false, unix.EAGAIN) != nil {
		return false
	}
	grown := v.clone()
	grown.start, grown.end = start, v.start
	ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: start, Length: n, Prot: v.prot, FD: -1,
		Flags: unix.MAP_FIXED | hostFlags(grown)})
	if m.flush(ctx) != nil {
		m.unref(grown)
		return false
	}
	m.add(grown)
	return true
}

// CheckRange checks that [addr, addr+length) is mapped for reading, or for
// writing: EFAULT if not. It lets a call refuse a bad buffer before it takes
// data from a stream. A stack that could grow there counts as mapped.
func (m *MemoryManager) CheckRange(addr, length uint64, write bool) error {
	need := int32(unix.PROT_READ)
	if write {
		need = unix.PROT_WRITE
	}
	if length == 0 {
		return nil
	}
	end := addr + length
	if end < addr || end > m.limits.Max {
		return unix.EFAULT
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for at := addr; at < end; {
		v := m.vmas.above(at)
		if v == nil || v.prot&need == 0 {
			return unix.EFAULT
		}
		if v.start > at && (v.flags&flagGrowsDown == 0 || v.end-at > m.rlimits.Limit(unix.RLIMIT_STACK)) {
			return unix.EFAULT
		}
		at = v.end
	}
	return nil
}

// ReadRemote, WriteRemote and PokeRemote reach the memory for another task
// than those that run in it: process_vm_readv(2), /proc/PID/mem, ptrace(2).
// EFAULT once no task runs in it any more.
func (m *MemoryManager) ReadRemote(addr uint64, dst []byte) (int, error) {
	if !m.hold() {
		return 0, unix.EFAULT
	}
	defer m.remote.RUnlock()
	return m.as.CopyIn(addr, dst)
}

// WriteRemote writes with the guest's own permissions.
func (m *MemoryManager) WriteRemote(addr uint64, src []byte) (int, error) {
	if !m.hold() {
		return 0, unix.EFAULT
	}
	defer m.remote.RUnlock()
	return m.as.CopyOut(addr, src)
}

// PokeRemote writes whatever the protection, as a debugger does. Memory that
// is shared and read-only is not written: EFAULT.
func (m *MemoryManager) PokeRemote(addr uint64, src []byte) (int, error) {
	if !m.hold() {
		return 0, unix.EFAULT
	}
	defer m.remote.RUnlock()
	done := 0
	for done < len(src) {
		n := m.pokeable(addr, uint64(len(src)-done))
		if n == 0 {
			return done, unix.EFAULT
		}
		k, err := m.as.Poke(addr, src[done:done+int(n)])
		done, addr = done+k, addr+uint64(k)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// pokeable returns how many of n bytes at addr lie in one mapping that may be
// poked.
func (m *MemoryManager) pokeable(addr, n uint64) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v := m.vmas.find(addr)
	if v == nil || v.platforms() || v.flags&flagShared != 0 && v.prot&unix.PROT_WRITE == 0 {
		return 0
	}
	return min(n, v.end-addr)
}

// hold keeps the memory from going, or reports false if it has gone. remote is
// held then.
func (m *MemoryManager) hold() bool {
	m.remote.RLock()
	if m.gone {
		m.remote.RUnlock()
		return false
	}
	return true
}
