package mm

import (
	"sync"

	"golang.org/x/sys/unix"
)

// admit checks the limits for a new mapping like v of length bytes at addr,
// where with MAP_FIXED others may be replaced. mu is held.
func (m *MemoryManager) admit(v *vma, addr, length uint64, a MMapArgs) error {
	if m.dead {
		return unix.ENOMEM
	}
	var replaced uint64
	extra := 1
	if a.Flags&unix.MAP_FIXED != 0 {
		extra += m.splits(addr, addr+length)
		replaced = m.mapped(addr, addr+length)
	}
	if m.vmas.len()+extra > MaxMaps {
		return unix.ENOMEM
	}
	if v.flags&flagLocked != 0 {
		if err := m.admitLocked(length, a.CanLock, unix.EAGAIN); err != nil {
			return err
		}
	}
	if err := m.admitSize(length - min(length, replaced)); err != nil {
		return err
	}
	if v.isData() {
		return m.admitData(v, length)
	}
	return nil
}

// admitSize checks RLIMIT_AS for n bytes more. mu is held.
func (m *MemoryManager) admitSize(n uint64) error {
	if lim := m.rlimits.Limit(unix.RLIMIT_AS); m.sums.Size+n > lim {
		return unix.ENOMEM
	}
	return nil
}

// admitData checks n bytes more of private writable memory: RLIMIT_DATA, and
// that a single mapping is not larger than all memory there is, which is the
// host's heuristic (vm.overcommit_memory 0). mu is held.
func (m *MemoryManager) admitData(v *vma, n uint64) error {
	if lim := m.rlimits.Limit(unix.RLIMIT_DATA); m.sums.Data+n > lim {
		return unix.ENOMEM
	}
	if v.flags&flagNoReserve == 0 && n > hostMemory() {
		return unix.ENOMEM
	}
	return nil
}

// admitLocked checks RLIMIT_MEMLOCK for n bytes more; full is the errno beyond
// it. mu is held.
func (m *MemoryManager) admitLocked(n uint64, canLock bool, full unix.Errno) error {
	if canLock {
		return nil
	}
	lim := m.rlimits.Limit(unix.RLIMIT_MEMLOCK)
	if lim == 0 {
		return unix.EPERM
	}
	if m.sums.Locked+n > lim {
		return full
	}
	return nil
}

// hostMemory is the host's memory and swap space in bytes.
var hostMemory = sync.OnceValue(func() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return ^uint64(0)
	}
	return (si.Totalram + si.Totalswap) * uint64(si.Unit)
})
