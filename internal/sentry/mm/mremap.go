package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// MRemapArgs are mremap(2)'s arguments.
type MRemapArgs struct {
	Addr, Length uint64
	NewLength    uint64
	Flags        uint32 // unix.MREMAP_*
	NewAddr      uint64 // with MREMAP_FIXED
	CanLock      bool   // CAP_IPC_LOCK
}

// MRemap moves or resizes a mapping as mremap(2) does, and returns its address.
// The host is asked at once, since what it refuses must not enter the books.
func (m *MemoryManager) MRemap(ctx platform.Context, a MRemapArgs) (uint64, error) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	may, fixed, keep := a.Flags&unix.MREMAP_MAYMOVE != 0, a.Flags&unix.MREMAP_FIXED != 0, a.Flags&unix.MREMAP_DONTUNMAP != 0
	if a.Flags&^known != 0 || (fixed || keep) && !may || keep && a.Length != a.NewLength || a.Addr&PageMask != 0 {
		return 0, unix.EINVAL
	}
	oldLen, newLen := pageUp(a.Length), pageUp(a.NewLength)
	if newLen == 0 || newLen > TaskSize || a.Addr+oldLen < a.Addr {
		return 0, unix.EINVAL
	}
	if fixed {
		if a.NewAddr&PageMask != 0 || a.NewAddr > TaskSize-newLen {
			return 0, unix.EINVAL
		}
		if top := m.top(); newLen > top || a.NewAddr > top-newLen {
			return 0, unix.ENOMEM
		}
		if a.NewAddr < m.limits.Min {
			return 0, unix.EPERM
		}
		if a.Addr+oldLen > a.NewAddr && a.NewAddr+newLen > a.Addr {
			return 0, unix.EINVAL
		}
	}

	m.lock()
	defer m.unlock()
	if !fixed && !keep && oldLen >= newLen && oldLen != 0 {
		// Shrinking is munmap(2) of the rest.
		if v := m.vmas.find(a.Addr); v == nil || v.platforms() || a.Addr+oldLen > v.end {
			return 0, unix.EFAULT
		}
		if oldLen > newLen {
			if err := m.unmap(ctx, a.Addr+newLen, a.Addr+oldLen); err != nil {
				return 0, err
			}
		}
		return a.Addr, nil
	}
	v := m.vmas.find(a.Addr)
	if v == nil || v.platforms() {
		return 0, unix.EFAULT
	}
	if m.sealed(a.Addr, a.Addr+max(oldLen, 1)) || fixed && m.sealed(a.NewAddr, a.NewAddr+newLen) {
		return 0, unix.EPERM
	}
	if oldLen == 0 && (v.flags&flagShared == 0 || !may) {
		return 0, unix.EINVAL
	}
	if fixed && oldLen > newLen {
		if err := m.unmap(ctx, a.Addr+newLen, a.Addr+oldLen); err != nil {
			return 0, err
		}
		oldLen = newLen
		if v = m.vmas.find(a.Addr); v == nil {
			return 0, unix.EFAULT
		}
	}
	if a.Addr+oldLen > v.end {
		return 0, unix.EFAULT
	}
	if keep && v.flags&(flagShared|flagGrowsDown) != 0 && v.flags&flagGrowsDown != 0 {
		return 0, unix.EINVAL
	}
	if err := m.admitRemap(v, a, oldLen, newLen); err != nil {
		return 0, err
	}
	if !fixed && !keep && oldLen != 0 && a.Addr+oldLen == v.end && m.roomAfter(v.end, newLen-oldLen) {
		return a.Addr, m.grow(ctx, v, a.Addr, oldLen, newLen)
	}
	if !may {
		return 0, unix.ENOMEM
	}
	return m.move(ctx, v, a, oldLen, newLen)
}

// admitRemap checks the limits for oldLen bytes of v becoming newLen.
func (m *MemoryManager) admitRemap(v *vma, a MRemapArgs, oldLen, newLen uint64) error {
	more := newLen - oldLen
	if a.Flags&unix.MREMAP_DONTUNMAP != 0 {
		more = newLen
	}
	if !v.anonymous() {
		off := v.offset + (a.Addr - v.start)
		if off+newLen < off || off+newLen > 1<<63 {
			return unix.EINVAL
		}
	}
	if v.flags&flagLocked != 0 {
		if err := m.admitLocked(more, a.CanLock, unix.EAGAIN); err != nil {
			return err
		}
	}
	if err := m.admitSize(more); err != nil {
		return err
	}
	if v.isData() && more > 0 {
		return m.admitData(v, more)
	}
	return nil
}

// roomAfter reports whether n bytes at addr are free and the guest's to have.
func (m *MemoryManager) roomAfter(addr, n uint64) bool {
	return n <= m.top() && addr <= m.top()-n && m.vmas.free(addr, addr+n)
}

// grow extends v in place.
func (m *MemoryManager) grow(ctx platform.Context, v *vma, addr, oldLen, newLen uint64) error {
	ctx.Queue(platform.Op{Kind: platform.OpMremap, Addr: addr, Length: oldLen, NewLength: newLen, NewAddr: addr})
	if err := m.flush(ctx); err != nil {
		return err
	}
	n := v.clone()
	n.start, n.end = addr+oldLen, addr+newLen
	if !n.anonymous() {
		n.offset += n.start - v.start
	}
	if n.flags&flagText != 0 {
		if err := m.mapFile(ctx, n, n.start, n.end); err != nil {
			return err
		}
	}
	m.add(n)
	return nil
}

// move puts oldLen bytes of v at another address, or maps them again there if
// oldLen is 0.
func (m *MemoryManager) move(ctx platform.Context, v *vma, a MRemapArgs, oldLen, newLen uint64) (uint64, error) {
	keep := a.Flags&unix.MREMAP_DONTUNMAP != 0
	// The old range's edges and the new range's, as Linux reckons it.
	if m.vmas.len()+4 > MaxMaps {
		return 0, unix.ENOMEM
	}
	to := a.NewAddr
	if a.Flags&unix.MREMAP_FIXED != 0 {
		m.weighAnchor(to, to+newLen)
		if m.meetsHidden(to, to+newLen) {
			return 0, unix.ENOMEM
		}
		m.unpatch(ctx, to, to+newLen)
	} else {
		var err error
		if hint := pageUp(a.NewAddr); keep && hint >= m.limits.Min && m.roomAfter(hint, newLen) {
			to = hint
		} else if to, err = m.findRoom(newLen, PageSize); err != nil {
			return 0, err
		}
	}
	m.unpatch(ctx, a.Addr, a.Addr+oldLen)
	ctx.Queue(platform.Op{Kind: platform.OpMremap, Addr: a.Addr, Length: oldLen, NewLength: newLen, NewAddr: to,
		Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | int32(a.Flags&unix.MREMAP_DONTUNMAP)})
	if err := m.flush(ctx); err != nil {
		return 0, err
	}
	n := v.clone()
	n.flags &^= flagGrowsDown
	if !n.anonymous() {
		n.offset += a.Addr - v.start
	}
	n.start, n.end = to, to+newLen
	m.removeRange(to, to+newLen)
	if n.flags&flagText != 0 {
		if newLen > oldLen {
			if err := m.mapFile(ctx, n, to+oldLen, to+newLen); err != nil {
				return 0, err
			}
		}
		if keep {
			if err := m.mapFile(ctx, v, a.Addr, a.Addr+oldLen); err != nil {
				return 0, err
			}
		}
	}
	if keep {
		m.change(a.Addr, a.Addr+oldLen, func(v *vma) { v.flags &^= flagLocked | flagLockFault })
	} else {
		m.removeRange(a.Addr, a.Addr+oldLen)
	}
	m.add(n)
	return to, nil
}
