package mm

import "golang.org/x/sys/unix"

// MSeal keeps mappings from being unmapped, moved, replaced and changed in
// protection, for as long as the address space lives (mseal(2)). ENOMEM if
// there is a hole.
func (m *MemoryManager) MSeal(addr, length uint64) error {
	end := addr + pageUp(length)
	if addr&PageMask != 0 || pageUp(length) < length || end < addr {
		return unix.EINVAL
	}
	if addr == end {
		return nil
	}
	m.lock()
	defer m.unlock()
	if !m.covered(addr, end) || m.meetsHidden(addr, end) {
		return unix.ENOMEM
	}
	if m.vmas.len()+m.splits(addr, end) > MaxMaps {
		return unix.ENOMEM
	}
	m.change(addr, end, func(v *vma) { v.flags |= flagSealed })
	return nil
}

// sealed reports whether any mapping within [start, end) is. mu is held.
func (m *MemoryManager) sealed(start, end uint64) (yes bool) {
	m.vmas.ascend(start, end, func(v *vma) bool {
		yes = v.flags&flagSealed != 0
		return !yes
	})
	return yes
}

// mayDiscard reports whether advice may take away what a mapping holds: not if
// it is sealed and could not be written to anyway.
func (v *vma) mayDiscard(advice int32) bool {
	switch advice {
	case unix.MADV_FREE, unix.MADV_DONTNEED, madvDontneedLocked, unix.MADV_REMOVE, unix.MADV_DONTFORK, unix.MADV_WIPEONFORK:
		return v.flags&flagSealed == 0 || !v.anonymous() || v.prot&unix.PROT_WRITE != 0
	}
	return true
}
