package mm

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// unpatch has the platform restore the code in a range that is about to be
// changed. Only executable mappings can hold rewritten code.
func (m *MemoryManager) unpatch(ctx platform.Context, start, end uint64) {
	m.vmas.ascend(start, end, func(v *vma) bool {
		if v.prot&unix.PROT_EXEC != 0 && !v.platforms() {
			s, e := max(v.start, start), min(v.end, end)
			ctx.Unpatch(s, e-s)
		}
		return true
	})
}

// MUnmap removes mappings as munmap(2) does.
func (m *MemoryManager) MUnmap(ctx platform.Context, addr, length uint64) error {
	if addr&PageMask != 0 || addr > TaskSize || length > TaskSize-addr {
		return unix.EINVAL
	}
	end := addr + pageUp(length)
	if end == addr {
		return unix.EINVAL
	}
	m.lock()
	defer m.unlock()
	return m.unmap(ctx, addr, end)
}

// unmap removes [start, end) from the books and the host. mu is held. EPERM if
// something in it is sealed.
func (m *MemoryManager) unmap(ctx platform.Context, start, end uint64) error {
	if m.sealed(start, end) {
		return unix.EPERM
	}
	if m.vmas.len()+m.splits(start, end)-1 > MaxMaps {
		return unix.ENOMEM
	}
	if m.queueUnmap(ctx, start, end) {
		m.removeRange(start, end)
	}
	return nil
}

// queueUnmap queues the operations that unmap what is the guest's within
// [start, end): one for each run of mappings between those of the platform.
// It reports whether there was anything.
func (m *MemoryManager) queueUnmap(ctx platform.Context, start, end uint64) (any bool) {
	var from, to uint64
	flush := func() {
		if from != to {
			any = true
			ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: from, Length: to - from})
		}
		from, to = 0, 0
	}
	m.unpatch(ctx, start, end)
	m.vmas.ascend(start, end, func(v *vma) bool {
		if v.platforms() {
			flush()
			return true
		}
		s, e := max(v.start, start), min(v.end, end)
		if from == to {
			from = s
		}
		to = e
		return true
	})
	flush()
	return any
}
