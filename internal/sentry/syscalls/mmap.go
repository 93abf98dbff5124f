package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func mmapRows() []Row {
	return []Row{
		partial(9, "mmap", sysMmap, "no huge pages are set aside (MAP_HUGETLB gives ENOMEM); MAP_SYNC is not supported",
			P("addr", Addr), P("length", Unsigned), PF("prot", Flags, protFlags), PF("flags", Flags, mmapFlags), P("fd", FD),
			P("offset", Hex)).returns(Hex),
		full(10, "mprotect", sysMprotect, P("addr", Addr), P("len", Unsigned), PF("prot", Flags, protFlags)),
		partial(11, "munmap", sysMunmap, "[vdso] and [vvar] stay", P("addr", Addr), P("length", Unsigned)),
		full(12, "brk", sysBrk, P("addr", Addr)).returns(Hex),
		full(25, "mremap", sysMremap, P("old_address", Addr), P("old_size", Unsigned), P("new_size", Unsigned),
			PF("flags", Flags, mremapFlags), P("new_address", Addr)).returns(Hex),
		partial(28, "madvise", sysMadvise, "no KSM and no hardware poisoning; MADV_COLD and MADV_PAGEOUT do nothing",
			P("addr", Addr), P("length", Unsigned), PF("advice", Enum, madviceValues)),
		full(462, "mseal", sysMseal, P("addr", Addr), P("len", Unsigned), P("flags", Hex)),
		full(216, "remap_file_pages", sysRemapFilePages, P("addr", Addr), P("size", Unsigned), P("prot", Hex), P("pgoff", Unsigned),
			PF("flags", Flags, mmapFlags)),
		full(26, "msync", sysMsync, P("addr", Addr), P("length", Unsigned), PF("flags", Flags, msyncFlags)),
		partial(27, "mincore", sysMincore, "locked memory counts as resident, though the host may swap it", P("addr", Addr), P("length", Unsigned), P("vec", OutPages).counts(-1)),
	}
}

var protFlags = &FlagSet{Names: []FlagName{
	{unix.PROT_READ, "PROT_READ"}, {unix.PROT_WRITE, "PROT_WRITE"}, {unix.PROT_EXEC, "PROT_EXEC"}, {8, "PROT_SEM"},
	{unix.PROT_GROWSDOWN, "PROT_GROWSDOWN"}, {unix.PROT_GROWSUP, "PROT_GROWSUP"},
}}

// mapType masks out how changes of a mapping are shared (MAP_TYPE).
const mapType = 0xf

var mmapFlags = &FlagSet{
	Mask: mapType,
	Values: []FlagName{
		{unix.MAP_SHARED, "MAP_SHARED"}, {unix.MAP_PRIVATE, "MAP_PRIVATE"}, {unix.MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"},
		{8, "MAP_DROPPABLE"},
	},
	Names: []FlagName{
		{unix.MAP_FIXED, "MAP_FIXED"}, {unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"}, {unix.MAP_32BIT, "MAP_32BIT"},
		{unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"}, {unix.MAP_DENYWRITE, "MAP_DENYWRITE"}, {unix.MAP_EXECUTABLE, "MAP_EXECUTABLE"},
		{unix.MAP_LOCKED, "MAP_LOCKED"}, {unix.MAP_NORESERVE, "MAP_NORESERVE"}, {unix.MAP_POPULATE, "MAP_POPULATE"},
		{unix.MAP_NONBLOCK, "MAP_NONBLOCK"}, {unix.MAP_STACK, "MAP_STACK"}, {unix.MAP_HUGETLB, "MAP_HUGETLB"},
		{unix.MAP_SYNC, "MAP_SYNC"}, {unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
		{21 << 26, "MAP_HUGE_2MB"}, {30 << 26, "MAP_HUGE_1GB"},
	},
}

var mremapFlags = &FlagSet{Names: []FlagName{
	{unix.MREMAP_MAYMOVE, "MREMAP_MAYMOVE"}, {unix.MREMAP_FIXED, "MREMAP_FIXED"}, {unix.MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP"},
}}

var msyncFlags = &FlagSet{Names: []FlagName{
	{unix.MS_ASYNC, "MS_ASYNC"}, {unix.MS_INVALIDATE, "MS_INVALIDATE"}, {unix.MS_SYNC, "MS_SYNC"},
}}

var madviceValues = &FlagSet{Names: []FlagName{
	{unix.MADV_NORMAL, "MADV_NORMAL"}, {unix.MADV_RANDOM, "MADV_RANDOM"}, {unix.MADV_SEQUENTIAL, "MADV_SEQUENTIAL"},
	{unix.MADV_WILLNEED, "MADV_WILLNEED"}, {unix.MADV_DONTNEED, "MADV_DONTNEED"}, {unix.MADV_FREE, "MADV_FREE"},
	{unix.MADV_REMOVE, "MADV_REMOVE"}, {unix.MADV_DONTFORK, "MADV_DONTFORK"}, {unix.MADV_DOFORK, "MADV_DOFORK"},
	{unix.MADV_MERGEABLE, "MADV_MERGEABLE"}, {unix.MADV_UNMERGEABLE, "MADV_UNMERGEABLE"},
	{unix.MADV_HUGEPAGE, "MADV_HUGEPAGE"}, {unix.MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE"}, {unix.MADV_DONTDUMP, "MADV_DONTDUMP"},
	{unix.MADV_DODUMP, "MADV_DODUMP"}, {unix.MADV_WIPEONFORK, "MADV_WIPEONFORK"}, {unix.MADV_KEEPONFORK, "MADV_KEEPONFORK"},
	{unix.MADV_COLD, "MADV_COLD"}, {unix.MADV_PAGEOUT, "MADV_PAGEOUT"}, {22, "MADV_POPULATE_READ"},
	{23, "MADV_POPULATE_WRITE"}, {24, "MADV_DONTNEED_LOCKED"}, {25, "MADV_COLLAPSE"}, {unix.MADV_HWPOISON, "MADV_HWPOISON"},
	{101, "MADV_SOFT_OFFLINE"}, {102, "MADV_GUARD_INSTALL"}, {103, "MADV_GUARD_REMOVE"},
}}

// mayLock reports whether RLIMIT_MEMLOCK does not bind the task.
func mayLock(t *kernel.Task) bool { return t.Credentials().Can(unix.CAP_IPC_LOCK) }

func sysMmap(t *kernel.Task, a kernel.Args) (uintptr, error) {
	args := mm.MMapArgs{Addr: a[0], Length: a[1], Prot: a.Int(2), Flags: a.Uint(3), Offset: a[5], CanLock: mayLock(t)}
	if args.Offset&mm.PageMask != 0 {
		return 0, unix.EINVAL
	}
	if args.Flags&unix.MAP_ANONYMOUS == 0 {
		f, err := t.File(a.Int(4))
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		if f.Flags()&unix.O_PATH != 0 {
			return 0, unix.EBADF
		}
		if err := vfs.PrepareMap(t, f.File, args.Flags&mapType != unix.MAP_PRIVATE); err != nil {
			return 0, err
		}
		args.File = f
	} else {
		args.Offset = 0
	}
	addr, err := t.MM().MMap(t.Context(), args)
	return uintptr(addr), err
}

func sysMunmap(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MUnmap(t.Context(), a[0], a[1])
}

func sysMseal(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[2] != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().MSeal(a[0], a[1])
}

func sysMprotect(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MProtect(t.Context(), a[0], a[1], a.Int(2))
}

func sysMremap(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3]>>32 != 0 {
		return 0, unix.EINVAL
	}
	addr, err := t.MM().MRemap(t.Context(), mm.MRemapArgs{
		Addr: a[0], Length: a[1], NewLength: a[2], Flags: a.Uint(3), NewAddr: a[4], CanLock: mayLock(t),
	})
	return uintptr(addr), err
}

func sysBrk(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return uintptr(t.MM().Brk(t.Context(), a[0], mayLock(t))), nil
}

func sysMadvise(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const softOffline = 101 // MADV_SOFT_OFFLINE
	if n := a.Int(2); (n == unix.MADV_HWPOISON || n == softOffline) && !t.Credentials().Can(unix.CAP_SYS_ADMIN) {
		return 0, unix.EPERM
	}
	return 0, t.MM().Madvise(t.Context(), a[0], a[1], a.Int(2))
}

func sysMsync(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MSync(t.Context(), a[0], a[1], a.Uint(2))
}

func sysMincore(t *kernel.Task, a kernel.Args) (uintptr, error) {
	addr, length, vec := a[0], a[1], a[2]
	if addr&mm.PageMask != 0 {
		return 0, unix.EINVAL
	}
	if addr > mm.TaskSize || length > mm.TaskSize-addr {
		return 0, unix.ENOMEM
	}
	pages := (length + mm.PageMask) / mm.PageSize
	if vec > mm.TaskSize || pages > mm.TaskSize-vec {
		return 0, unix.EFAULT
	}
	// In steps of a page of vec, and to the first hole: what lies before it is
	// answered.
	resident := make([]byte, min(pages, mm.PageSize))
	for pages > 0 {
		n, err := t.MM().Resident(t.Context(), addr, resident[:min(pages, mm.PageSize)])
		if err != nil {
			return 0, err
		}
		if _, err := t.CopyOut(vec, resident[:n]); err != nil {
			return 0, err
		}
		pages -= uint64(n)
		vec += uint64(n)
		addr += uint64(n) * mm.PageSize
	}
	return 0, nil
}

func sysRemapFilePages(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[2] != 0 || a[3] > 1<<51 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().RemapFilePages(t.Context(), a[0], a[1], a[3]*mm.PageSize)
}
