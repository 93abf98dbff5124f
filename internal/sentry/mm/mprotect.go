package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// MProtect changes protection as mprotect(2) does. At a hole it stops with
// ENOMEM, what lies before it is changed.
func (m *MemoryManager) MProtect(ctx platform.Context, addr, length uint64, prot int32) error {
	const grows = unix.PROT_GROWSDOWN | unix.PROT_GROWSUP
	if prot&grows == grows || addr&PageMask != 0 {
		return unix.EINVAL
	}
	if length == 0 {
		return nil
	}
	end := addr + pageUp(length)
	if end <= addr {
		return unix.ENOMEM
	}
	down, up := prot&unix.PROT_GROWSDOWN != 0, prot&unix.PROT_GROWSUP != 0
	const protSem = 8 // PROT_SEM: accepted, without effect on amd64
	if prot&^(protMask|protSem|grows) != 0 {
		return unix.EINVAL
	}
	prot &= protMask

	m.lock()
	defer m.unlock()
	if down || up {
		v := m.vmas.above(addr)
		if v == nil || v.start >= end {
			return unix.ENOMEM
		}
		if up || v.flags&flagGrowsDown == 0 {
			return unix.EINVAL
		}
		addr = v.start
	}
	return m.protect(ctx, addr, end, prot)
}

// protect is MProtect with checked arguments. mu is held.
func (m *MemoryManager) protect(ctx platform.Context, addr, end uint64, prot int32) error {
	var (
		at         = addr // up to here everything may be changed
		err        error
		data       uint64
		changed    bool
		executable bool
		from, to   uint64 // what really changes
	)
	m.vmas.ascend(addr, end, func(v *vma) bool {
		switch {
		case v.start > at || v.flags&flagHidden != 0:
			err = unix.ENOMEM
			return false
		case prot&^v.maxProt != 0, v.flags&flagSpecial != 0 && v.prot != prot:
			err = unix.EACCES
			return false
		case v.flags&flagSealed != 0:
			err = unix.EPERM
			return false
		}
		e := min(v.end, end)
		if v.prot != prot {
			if !changed {
				from = at
			}
			changed, to = true, e
			if prot&unix.PROT_WRITE != 0 && v.prot&unix.PROT_WRITE == 0 && v.flags&(flagShared|flagGrowsDown) == 0 {
				data += e - at
			}
			executable = executable || v.prot&unix.PROT_EXEC != 0
		}
		at = e
		return true
	})
	if err == nil && at < end {
		err = unix.ENOMEM
	}
	if !changed {
		return err
	}
	if data > 0 {
		if e := m.admitData(&vma{flags: flagNoReserve}, data); e != nil {
			return e
		}
	}
	if m.vmas.len()+m.splits(from, to) > MaxMaps {
		return unix.ENOMEM
	}
	if executable {
		m.unpatch(ctx, from, to)
	}
	m.change(from, to, func(v *vma) { v.prot = prot })
	ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: from, Length: to - from, Prot: prot})
	return err
}
