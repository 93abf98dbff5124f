package mm

import (
	"golang.org/x/sys/unix"
)

// Locking is accounting: the sentry's host decides what is swapped, so that a
// guest cannot pin the host's memory. What is locked is refused where Linux
// refuses it (madvise(2), msync(2)).

// MLock locks a range as mlock2(2) does; onFault is MLOCK_ONFAULT.
func (m *MemoryManager) MLock(addr, length uint64, onFault, canLock bool) error {
	start, end, err := lockRange(addr, length)
	if err != nil {
		return err
	}
	m.lock()
	defer m.unlock()
	if !canLock {
		lim := m.rlimits.Limit(unix.RLIMIT_MEMLOCK)
		if lim == 0 {
			return unix.EPERM
		}
		if m.sums.Locked+(end-start)-m.lockedIn(start, end) > lim {
			return unix.ENOMEM
		}
	}
	if start == end {
		return nil
	}
	set := flagLocked
	if onFault {
		set |= flagLockFault
	}
	return m.setLock(start, end, set)
}

// MUnlock unlocks a range as munlock(2) does.
func (m *MemoryManager) MUnlock(addr, length uint64) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	m.lock()
	defer m.unlock()
	return m.setLock(start, end, 0)
}

// lockRange is the range of pages that the bytes lie in; as on Linux a length
// that wraps around counts as 0.
func lockRange(addr, length uint64) (start, end uint64, err error) {
	start = pageDown(addr)
	n := pageUp(length + addr&PageMask)
	if start+n < start {
		return 0, 0, unix.EINVAL
	}
	return start, start + n, nil
}

// setLock sets the lock flags of all mappings up to the first hole. mu is held.
func (m *MemoryManager) setLock(start, end uint64, set vmaFlags) error {
	if m.vmas.len()+m.splits(start, end) > MaxMaps {
		return unix.ENOMEM
	}
	at := start
	m.vmas.ascend(start, end, func(v *vma) bool {
		if v.start > at || v.flags&flagHidden != 0 {
			return false
		}
		at = min(v.end, end)
		return true
	})
	if at > start {
		m.change(start, at, func(v *vma) { v.flags = v.flags&^(flagLocked|flagLockFault) | set })
	}
	if at < end {
		return unix.ENOMEM
	}
	return nil
}

// lockedIn returns how many bytes of a range are locked. mu is held.
func (m *MemoryManager) lockedIn(start, end uint64) (n uint64) {
	m.vmas.ascend(start, end, func(v *vma) bool {
		if v.flags&flagLocked != 0 {
			n += min(v.end, end) - max(v.start, start)
		}
		return true
	})
	return n
}

// MLockAll is mlockall(2).
func (m *MemoryManager) MLockAll(flags uint32, canLock bool) error {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if flags == 0 || flags&^known != 0 || flags == unix.MCL_ONFAULT {
		return unix.EINVAL
	}
	m.lock()
	defer m.unlock()
	if !canLock {
		lim := m.rlimits.Limit(unix.RLIMIT_MEMLOCK)
		if lim == 0 {
			return unix.EPERM
		}
		if flags&unix.MCL_CURRENT != 0 && m.sums.Size > lim {
			return unix.ENOMEM
		}
	}
	set := flagLocked
	if flags&unix.MCL_ONFAULT != 0 {
		set |= flagLockFault
	}
	m.lockFuture = 0
	if flags&unix.MCL_FUTURE != 0 {
		m.lockFuture = set
	}
	if flags&unix.MCL_CURRENT != 0 {
		m.change(0, m.top(), func(v *vma) { v.flags = v.flags&^(flagLocked|flagLockFault) | set })
	}
	return nil
}

// MUnlockAll is munlockall(2).
func (m *MemoryManager) MUnlockAll() {
	m.lock()
	defer m.unlock()
	m.lockFuture = 0
	m.change(0, m.top(), func(v *vma) { v.flags &^= flagLocked | flagLockFault })
}
