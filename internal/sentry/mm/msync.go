package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// MSync writes shared mappings back as msync(2) does. The host does it on the
// task's way back; its failure is OpFailed's result.
func (m *MemoryManager) MSync(ctx platform.Context, addr, length uint64, flags uint32) error {
	const both = unix.MS_SYNC | unix.MS_ASYNC
	if flags&^(both|unix.MS_INVALIDATE) != 0 || flags&both == both || addr&PageMask != 0 {
		return unix.EINVAL
	}
	end := addr + pageUp(length)
	if pageUp(length) < length || end < addr {
		return unix.ENOMEM
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	at, hole := addr, false
	var err error
	m.vmas.ascend(addr, end, func(v *vma) bool {
		if v.flags&flagHidden != 0 {
			return true
		}
		if v.start > at {
			hole = true
		}
		if flags&unix.MS_INVALIDATE != 0 && v.flags&flagLocked != 0 {
			err = unix.EBUSY
			return false
		}
		s, e := max(v.start, addr), min(v.end, end)
		if flags&unix.MS_SYNC != 0 && v.file != nil && v.flags&flagShared != 0 {
			ctx.Queue(platform.Op{Kind: platform.OpMsync, Addr: s, Length: e - s, Flags: unix.MS_SYNC})
		}
		at = e
		return true
	})
	if err == nil && (hole || at < end) {
		err = unix.ENOMEM
	}
	return err
}

// Mapped reports whether [start, end) is mapped without holes.
func (m *MemoryManager) Mapped(start, end uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.covered(start, end)
}
