package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// SetBrk places the heap: it starts, empty, at a random distance above end,
// the end of the program's bss. The random part is less than span bytes.
func (m *MemoryManager) SetBrk(end, span uint64) {
	m.mu.Lock()
	defer m.unlock()
	at := pageUp(end) + m.layout.random(span)
	m.info.StartBrk, m.info.Brk = at, at
}

// Brk moves the end of the heap as the brk(2) system call does, and returns
// the new end; on failure that is the old one.
func (m *MemoryManager) Brk(ctx platform.Context, addr uint64, canLock bool) uint64 {
	m.lock()
	defer m.unlock()
	i := &m.info
	if addr < i.StartBrk || addr > m.top() {
		return i.Brk
	}
	oldEnd, newEnd := pageUp(i.Brk), pageUp(addr)
	switch {
	case newEnd < oldEnd:
		if m.unmap(ctx, newEnd, oldEnd) != nil {
			return i.Brk
		}
	case newEnd > oldEnd:
		if !m.admitBrk(addr, oldEnd, newEnd, canLock) {
			return i.Brk
		}
		rw := int32(unix.PROT_READ | unix.PROT_WRITE)
		v := &vma{start: oldEnd, end: newEnd, prot: rw, maxProt: protMask, flags: m.lockFuture}
		ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: oldEnd, Length: newEnd - oldEnd, Prot: rw, FD: -1,
			Flags: unix.MAP_FIXED | hostFlags(v)})
		m.add(v)
	}
	i.Brk = addr
	return addr
}

// admitBrk checks the limits for the heap to grow.
func (m *MemoryManager) admitBrk(addr, oldEnd, newEnd uint64, canLock bool) bool {
	i, n := &m.info, newEnd-oldEnd
	if used := sub(addr, i.StartBrk) + sub(i.EndData, i.StartData); used > m.rlimits.Limit(unix.RLIMIT_DATA) {
		return false
	}
	// One page is kept free between the heap and what follows.
	if m.dead || !m.vmas.free(oldEnd, newEnd+PageSize) || m.vmas.len() >= MaxMaps {
		return false
	}
	if m.lockFuture&flagLocked != 0 && m.admitLocked(n, canLock, unix.EAGAIN) != nil {
		return false
	}
	return m.admitSize(n) == nil && m.admitData(&vma{}, n) == nil
}
