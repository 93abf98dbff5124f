package mm

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Region is one mapping as /proc/PID/maps shows it.
type Region struct {
	Start, End uint64
	Prot       int32 // unix.PROT_*
	Shared     bool
	Locked     bool
	GrowsDown  bool
	NoReserve  bool
	DontFork   bool
	WipeOnFork bool
	DontDump   bool
	Special    bool // the platform's [vvar] and [vdso]
	Anonymous  bool // private memory without a file
	// MaxProt is what mprotect(2) may give.
	MaxProt int32
	Offset  uint64
	// File is what is mapped, or nil. The snapshot holds a reference.
	File *vfs.FileDescription
	// Name is "[heap]", "[stack]" and so on, or a name that prctl(2) gave, for
	// what has no file; SharedID tells shared memory without a file apart.
	Name     string
	SharedID uint64
}

// Regions returns a snapshot of the mappings in order of address. The caller
// must call ReleaseRegions with it.
func (m *MemoryManager) Regions() []Region {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]Region, 0, m.vmas.len())
	m.vmas.ascend(0, ^uint64(0), func(v *vma) bool {
		if v.flags&flagHidden == 0 {
			out = append(out, m.region(v))
		}
		return true
	})
	return out
}

// ReleaseRegions drops the references that a snapshot holds.
func ReleaseRegions(rs []Region) {
	for _, r := range rs {
		if r.File != nil {
			r.File.DecRef()
		}
	}
}

// RegionAt returns the mapping that contains addr, or else the next one above.
// ok is false if there is none. Its File carries a reference.
func (m *MemoryManager) RegionAt(addr uint64) (r Region, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v := m.vmas.above(addr)
	for v != nil && v.flags&flagHidden != 0 {
		v = m.vmas.above(v.end)
	}
	if v == nil {
		return Region{}, false
	}
	return m.region(v), true
}

func (m *MemoryManager) region(v *vma) Region {
	has := func(f vmaFlags) bool { return v.flags&f != 0 }
	r := Region{
		Start: v.start, End: v.end, Prot: v.prot, MaxProt: v.maxProt,
		Shared: has(flagShared), Locked: has(flagLocked), GrowsDown: has(flagGrowsDown), NoReserve: has(flagNoReserve),
		DontFork: has(flagDontFork), WipeOnFork: has(flagWipeOnFork), DontDump: has(flagDontDump), Special: has(flagSpecial),
		Anonymous: v.anonymous() && !has(flagSpecial), Offset: v.offset, File: v.file, Name: v.name,
	}
	switch {
	case v.file != nil:
		v.file.IncRef()
	case v.shm != nil:
		r.SharedID = v.shm.id
		r.Name = "/dev/zero (deleted)"
	case r.Special:
		r.Offset = 0
	default:
		r.Offset = 0
		switch {
		case v.start < pageUp(m.info.Brk) && v.end > m.info.StartBrk:
			r.Name = "[heap]"
		case v.start <= m.info.StartStack && m.info.StartStack < v.end:
			r.Name = "[stack]"
		case v.name != "":
			r.Name = "[anon:" + v.name + "]"
		}
	}
	return r
}

// NameAnonymous names private memory as prctl(2)'s PR_SET_VMA_ANON_NAME does;
// "" takes the name away. EBADF for file mappings, ENOMEM for holes.
func (m *MemoryManager) NameAnonymous(addr, length uint64, name string) error {
	end := addr + pageUp(length)
	if addr&PageMask != 0 || pageUp(length) < length || end < addr {
		return unix.EINVAL
	}
	if addr == end {
		return nil
	}
	m.lock()
	defer m.unlock()
	bad := false
	m.vmas.ascend(addr, end, func(v *vma) bool {
		bad = v.file != nil || v.platforms()
		return !bad
	})
	if bad {
		return unix.EBADF
	}
	if m.vmas.len()+m.splits(addr, end) > MaxMaps {
		return unix.ENOMEM
	}
	full := m.covered(addr, end)
	m.change(addr, end, func(v *vma) { v.name = name })
	if !full {
		return unix.ENOMEM
	}
	return nil
}

// identity is the mapped object behind a description.
func identity(f *vfs.FileDescription) any { return vfs.Identity(f.Inode) }
