package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Resident tells which pages are in memory, as mincore(2) does: vec[i] is 1 or
// 0 for the i-th page from addr. It returns for how many pages it told, which
// is up to the first hole; ENOMEM if there is one at addr.
func (m *MemoryManager) Resident(ctx platform.Context, addr uint64, vec []byte) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at, end := addr, addr+uint64(len(vec))*PageSize
	m.vmas.ascend(addr, end, func(v *vma) bool {
		if v.start > at || v.flags&flagHidden != 0 {
			return false
		}
		at = min(v.end, end)
		return true
	})
	if at == addr {
		return 0, unix.ENOMEM
	}
	vec = vec[:(at-addr)/PageSize]
	if host, ok := ctx.(platform.Residency); ok {
		if err := host.Resident(addr, vec); err != nil {
			return 0, err
		}
	} else {
		setAll(vec, 1)
	}
	// What is locked counts as resident, though the host was not asked to pin
	// it and may not have it yet.
	m.vmas.ascend(addr, at, func(v *vma) bool {
		if v.flags&(flagLocked|flagLockFault) == flagLocked && v.prot != 0 {
			setAll(vec[(max(v.start, addr)-addr)/PageSize:(min(v.end, at)-addr)/PageSize], 1)
		}
		return true
	})
	return len(vec), nil
}

func setAll(vec []byte, b byte) {
	for i := range vec {
		vec[i] = b
	}
}
