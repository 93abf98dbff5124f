package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Advice that golang.org/x/sys/unix does not have.
const (
	madvPopulateRead   = 22
	madvPopulateWrite  = 23
	madvDontneedLocked = 24
)

// Madvise gives advice as madvise(2) does. At a hole it goes on and returns
// ENOMEM at the end, as Linux does.
func (m *MemoryManager) Madvise(ctx platform.Context, addr, length uint64, advice int32) error {
	host, err := hostAdvice(advice)
	if err != nil {
		return err
	}
	if addr&PageMask != 0 {
		return unix.EINVAL
	}
	end := addr + pageUp(length)
	if pageUp(length) < length || end < addr {
		return unix.EINVAL
	}
	if end == addr {
		return nil
	}
	m.lock()
	defer m.unlock()
	var hole error
	at := addr
	var set, unset vmaFlags
	var from, to uint64
	m.vmas.ascend(addr, end, func(v *vma) bool {
		if v.flags&flagHidden != 0 {
			return true
		}
		if v.start > at {
			hole = unix.ENOMEM
		}
		if set, unset, err = v.advise(advice); err == nil && !v.mayDiscard(advice) {
			err = unix.EPERM
		}
		if err != nil {
			return false
		}
		s, e := max(v.start, addr), min(v.end, end)
		at = e
		if v.flags&flagSpecial != 0 {
			return true
		}
		if v.flags&flagText != 0 && (advice == unix.MADV_DONTNEED || advice == madvDontneedLocked) {
			err = m.mapFile(ctx, v, s, e)
			return err == nil
		}
		if from == to || to != s {
			m.queueAdvice(ctx, host, advice, from, to)
			from = s
		}
		to = e
		return true
	})
	m.queueAdvice(ctx, host, advice, from, to)
	if err != nil {
		return err
	}
	if at < end {
		hole = unix.ENOMEM
	}
	if set|unset != 0 {
		if m.vmas.len()+m.splits(addr, end) > MaxMaps {
			return unix.ENOMEM
		}
		m.change(addr, end, func(v *vma) { v.flags = v.flags&^unset | set })
		m.dontFork = m.dontFork || set&flagDontFork != 0
	}
	if advice == madvPopulateRead || advice == madvPopulateWrite {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	return hole
}

// queueAdvice has the host take the advice, if it is to know of it.
func (m *MemoryManager) queueAdvice(ctx platform.Context, host bool, advice int32, from, to uint64) {
	if advice == madvDontneedLocked {
		advice = unix.MADV_DONTNEED // nothing is locked on the host
	}
	if host && from != to {
		ctx.Queue(platform.Op{Kind: platform.OpMadvise, Addr: from, Length: to - from, Advice: advice})
	}
}

// hostAdvice reports whether the host is told. EINVAL for advice that does not
// exist or that a kernel without KSM and hardware poisoning refuses.
func hostAdvice(advice int32) (bool, error) {
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
		unix.MADV_COLD, unix.MADV_PAGEOUT:
		return false, nil // only hints, or no matter of the host's
	case unix.MADV_WILLNEED, unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_REMOVE, unix.MADV_DONTFORK, unix.MADV_DOFORK,
		unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE,
		madvPopulateRead, madvPopulateWrite, madvDontneedLocked:
		return true, nil
	}
	return false, unix.EINVAL
}

// advise checks whether a mapping can take the advice, and returns the flags
// that it sets and clears.
func (v *vma) advise(advice int32) (set, unset vmaFlags, err error) {
	special := v.flags&flagSpecial != 0
	locked := v.flags&flagLocked != 0
	switch advice {
	case unix.MADV_DONTNEED, madvDontneedLocked:
		if locked && advice == unix.MADV_DONTNEED || special {
			err = unix.EINVAL
		}
	case unix.MADV_FREE:
		if !v.anonymous() || special || locked {
			err = unix.EINVAL
		}
	case unix.MADV_REMOVE:
		switch {
		case locked || v.anonymous() || special:
			err = unix.EINVAL
		case v.flags&flagShared == 0 || v.maxProt&unix.PROT_WRITE == 0:
			err = unix.EACCES
		}
	case unix.MADV_DONTFORK:
		set = flagDontFork
	case unix.MADV_DOFORK:
		if special {
			err = unix.EINVAL
		}
		unset = flagDontFork
	case unix.MADV_WIPEONFORK:
		if !v.anonymous() || special {
			err = unix.EINVAL
		}
		set = flagWipeOnFork
	case unix.MADV_KEEPONFORK:
		unset = flagWipeOnFork
	case unix.MADV_DONTDUMP:
		set = flagDontDump
	case unix.MADV_DODUMP:
		unset = flagDontDump
	case unix.MADV_COLD, unix.MADV_PAGEOUT:
		if locked {
			err = unix.EINVAL
		}
	}
	return set, unset, err
}
