package mm

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Mmap flags that golang.org/x/sys/unix does not have for all kernels.
const (
	mapHugeShift = 26
	mapHugeMask  = 0x3f
	mapTypeMask  = 0xf
)

// MMapArgs are mmap(2)'s arguments.
type MMapArgs struct {
	Addr, Length uint64
	Prot         int32  // unix.PROT_*
	Flags        uint32 // unix.MAP_*
	// File is what is mapped, nil for anonymous memory. The mapping takes a
	// reference of its own.
	File   *vfs.FileDescription
	Offset uint64 // in bytes
	// Executable says that execve(2) maps: the file need not be readable.
	Executable bool
	// Counted says that somebody counts the mappings of File by its references.
	Counted bool
	// SameFile says that the call before, by the same context, mapped the same
	// file, and that it has been held since.
	SameFile bool
	// Name is shown in /proc/PID/maps for anonymous memory.
	Name string
	// CanLock says that RLIMIT_MEMLOCK does not matter (CAP_IPC_LOCK).
	CanLock bool
}

// protMask are the protection bits that a mapping keeps.
const protMask = unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC

// MMap makes a mapping as mmap(2) does, and returns its address.
func (m *MemoryManager) MMap(ctx platform.Context, a MMapArgs) (uint64, error) {
	v, err := a.vma()
	if err != nil {
		return 0, err
	}
	length := pageUp(a.Length)
	if length == 0 || length > m.limits.Max {
		return 0, unix.ENOMEM
	}
	if a.Offset+length < a.Offset || a.Offset+length > 1<<63 {
		return 0, unix.EOVERFLOW
	}
	fd := -1
	if a.File != nil {
		if err := a.permit(v); err != nil {
			return 0, err
		}
		if anon, ok := a.File.File.(vfs.AnonymousMapper); ok && anon.MapsAnonymous() {
			a.File, v.offset = nil, 0
		} else if fd, err = a.File.File.MapFD(); err != nil {
			return 0, err
		}
	}
	if a.File == nil && v.flags&flagShared != 0 {
		if v.shm, err = newSharedMemory(length); err != nil {
			return 0, err
		}
		fd = v.shm.fd
	}

	m.lock()
	defer m.unlock()
	v.flags |= m.lockFuture
	addr, err := m.place(a, length)
	if err == nil && a.Flags&unix.MAP_FIXED != 0 && m.sealed(addr, addr+length) {
		err = unix.EPERM
	}
	if err == nil {
		err = m.admit(v, addr, length, a)
	}
	if err != nil {
		v.shm.decRef()
		return 0, err
	}
	if a.File != nil {
		v.file = a.File
		v.file.IncRef()
	}
	if a.Flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) == unix.MAP_FIXED {
		m.unpatch(ctx, addr, addr+length)
		m.removeRange(addr, addr+length)
	}
	m.counted = m.counted || a.Counted
	v.start, v.end = addr, addr+length
	op := platform.Op{Kind: platform.OpMmap, Addr: addr, Length: length, Prot: v.prot, FD: fd, SameFD: a.SameFile, Offset: v.offset,
		Flags: unix.MAP_FIXED | hostFlags(v) | int32(a.Flags&(unix.MAP_POPULATE|unix.MAP_NONBLOCK))}
	text, ok := ctx.(platform.TextMapper)
	if ok = ok && v.file != nil && v.flags&flagShared == 0 && v.prot == unix.PROT_READ|unix.PROT_EXEC; ok {
		v.flags |= flagText
	}
	m.add(v)
	if ok {
		text.QueueText(op, m.reserveAt)
	} else {
		ctx.Queue(op)
	}
	return addr, nil
}

// mapFile maps the file itself in [start, end) of a text, whatever the platform
// has mapped there: for pages that come from the file anew. What such an image
// has in them may have been restored to the file's code before.
func (m *MemoryManager) mapFile(ctx platform.Context, v *vma, start, end uint64) error {
	fd, err := v.file.File.MapFD()
	if err != nil {
		return err
	}
	ctx.Unpatch(start, end-start)
	ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: start, Length: end - start, Prot: v.prot, FD: fd,
		Offset: v.offset + (start - v.start), Flags: unix.MAP_FIXED | hostFlags(v)})
	return nil
}

// RemapFilePages maps another part of the file that [addr, addr+length) maps
// shared, as remap_file_pages(2) does; offset is in bytes.
func (m *MemoryManager) RemapFilePages(ctx platform.Context, addr, length, offset uint64) error {
	addr, length = pageDown(addr), pageDown(length)
	if length == 0 || addr+length < addr || offset+length < offset || offset&PageMask != 0 {
		return unix.EINVAL
	}
	m.lock()
	defer m.unlock()
	v := m.vmas.find(addr)
	if v == nil || v.flags&flagShared == 0 || v.platforms() || addr+length > v.end {
		return unix.EINVAL
	}
	if m.sealed(addr, addr+length) {
		return unix.EPERM
	}
	if m.vmas.len()+2 > MaxMaps {
		return unix.ENOMEM
	}
	var fd int
	if v.shm != nil {
		fd = v.shm.fd
	} else {
		var err error
		if fd, err = v.file.File.MapFD(); err != nil {
			return err
		}
	}
	n := v.clone()
	n.start, n.end, n.offset = addr, addr+length, offset
	m.unpatch(ctx, addr, addr+length)
	m.removeRange(addr, addr+length)
	m.add(n)
	ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: addr, Length: length, Prot: v.prot, FD: fd, Offset: offset,
		Flags: unix.MAP_FIXED | hostFlags(v)})
	return nil
}

// hostFlags are the host's mmap flags for a mapping like v.
func hostFlags(v *vma) int32 {
	f := int32(unix.MAP_PRIVATE)
	if v.flags&flagShared != 0 {
		f = unix.MAP_SHARED
	}
	if v.anonymous() {
		f |= unix.MAP_ANONYMOUS
	}
	if v.flags&flagNoReserve != 0 {
		f |= unix.MAP_NORESERVE
	}
	return f
}

// vma checks the arguments that need no look at the address space and returns
// the mapping that they ask for, without place.
func (a *MMapArgs) vma() (*vma, error) {
	v := &vma{prot: a.Prot & protMask, maxProt: protMask, offset: a.Offset}
	if a.Length == 0 || a.Offset&PageMask != 0 {
		return nil, unix.EINVAL
	}
	if a.Flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0 && a.Addr&PageMask != 0 {
		return nil, unix.EINVAL
	}
	switch a.Flags & mapTypeMask {
	case unix.MAP_PRIVATE:
	case unix.MAP_SHARED:
		v.flags |= flagShared
	case unix.MAP_SHARED_VALIDATE:
		const known = mapTypeMask | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE | unix.MAP_EXECUTABLE |
			unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE | unix.MAP_NONBLOCK |
			unix.MAP_STACK | unix.MAP_HUGETLB | unix.MAP_32BIT | mapHugeMask<<mapHugeShift
		if a.Flags&^known != 0 {
			return nil, unix.EOPNOTSUPP
		}
		if a.File == nil {
			return nil, unix.EINVAL
		}
		v.flags |= flagShared
	default:
		return nil, unix.EINVAL
	}
	if a.Flags&unix.MAP_HUGETLB != 0 {
		// No huge pages are set aside, as in /proc/sys/vm/nr_hugepages.
		if size := a.Flags >> mapHugeShift & mapHugeMask; a.File != nil || size != 0 && size != 21 && size != 30 {
			return nil, unix.EINVAL
		}
		return nil, unix.ENOMEM
	}
	if a.Flags&unix.MAP_GROWSDOWN != 0 {
		if v.flags&flagShared != 0 || a.File != nil {
			return nil, unix.EINVAL
		}
		v.flags |= flagGrowsDown
	}
	if a.Flags&unix.MAP_LOCKED != 0 {
		v.flags |= flagLocked
	}
	if a.Flags&unix.MAP_NORESERVE != 0 {
		v.flags |= flagNoReserve
	}
	if a.File == nil {
		v.offset, v.name = 0, a.Name
	}
	return v, nil
}

// permit checks that the file may be mapped as asked for, and sets what
// mprotect(2) may give later.
func (a *MMapArgs) permit(v *vma) error {
	f := a.File
	if !a.Executable {
		if !f.CanRead() {
			return unix.EACCES
		}
		if v.flags&flagShared != 0 && !f.CanWrite() {
			if v.prot&unix.PROT_WRITE != 0 {
				return unix.EACCES
			}
			v.maxProt &^= unix.PROT_WRITE
		}
	}
	if mnt := f.Path.Mount; mnt != nil && mnt.NoExec() {
		if v.prot&unix.PROT_EXEC != 0 {
			return unix.EPERM
		}
		v.maxProt &^= unix.PROT_EXEC
	}
	if s, ok := f.File.(vfs.Sealer); ok && v.flags&flagShared != 0 {
		if seals, err := s.Seals(); err == nil && seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			if v.prot&unix.PROT_WRITE != 0 {
				return unix.EPERM
			}
			v.maxProt &^= unix.PROT_WRITE
		}
	}
	return nil
}

// place chooses the address. mu is held.
func (m *MemoryManager) place(a MMapArgs, length uint64) (uint64, error) {
	lo, top := m.limits.Min, m.top()
	if a.Flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0 {
		if a.Addr < lo {
			return 0, unix.EPERM
		}
		if a.Addr > top || length > top-a.Addr {
			return 0, unix.ENOMEM
		}
		if a.Flags&unix.MAP_FIXED_NOREPLACE != 0 {
			if w := m.vmas.above(a.Addr); w != nil && w.start < a.Addr+length {
				return 0, unix.EEXIST
			}
			return a.Addr, nil
		}
		m.weighAnchor(a.Addr, a.Addr+length)
		if m.meetsHidden(a.Addr, a.Addr+length) {
			return 0, unix.ENOMEM
		}
		return a.Addr, nil
	}
	if a.Flags&unix.MAP_32BIT != 0 {
		if addr, ok := m.vmas.lowestHole(max(lo, 1<<30), min(top, 1<<31), length, PageSize); ok {
			return addr, nil
		}
		return 0, unix.ENOMEM
	}
	if hint := pageUp(a.Addr); a.Addr != 0 {
		hint = max(hint, lo)
		if hint < top && length <= top-hint && m.vmas.free(hint, hint+length) {
			return hint, nil
		}
	}
	return m.findRoom(length, PageSize)
}

// findRoom returns the address at which a new mapping of length goes. mu is
// held.
func (m *MemoryManager) findRoom(length, align uint64) (uint64, error) {
	if addr, ok := m.vmas.highestHole(m.limits.Min, m.layout.mmapTop, length, align); ok {
		return addr, nil
	}
	if addr, ok := m.vmas.lowestHole(m.layout.mmapTop, m.top(), length, align); ok {
		return addr, nil
	}
	return 0, unix.ENOMEM
}

// FindRoom returns an address at which length bytes are free, aligned to
// align, a power of two not below a page. Nothing is reserved.
func (m *MemoryManager) FindRoom(length, align uint64) (uint64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.findRoom(pageUp(length), align)
}
