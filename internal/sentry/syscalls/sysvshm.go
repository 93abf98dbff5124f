package syscalls

import (
	"math"

	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func sysvshmRows() []Row {
	return []Row{
		partial(29, "shmget", sysShmget, "no huge pages are set aside (SHM_HUGETLB gives ENOMEM); without SHM_NORESERVE a segment counts in full among the sandbox's files in memory",
			P("key", Hex), P("size", Unsigned), PF("shmflg", Flags, ipcFlags)),
		full(30, "shmat", sysShmat, P("shmid", Dec), P("shmaddr", Addr), PF("shmflg", Flags, shmatFlags)),
		partial(31, "shmctl", sysShmctl, "shm_nattch counts the parts of an attachment that mprotect(2) has split; SHM_LOCK locks nothing",
			P("shmid", Dec), PF("cmd", Enum, shmCommands), PD("buf", shmArg)),
		full(67, "shmdt", sysShmdt, P("shmaddr", Addr)),
	}
}

const (
	shmRdonly = 0o10000
	shmRnd    = 0o20000
	shmRemap  = 0o40000
	shmExec   = 0o100000

	shmLock    = 11
	shmUnlock  = 12
	shmStat    = 13
	shmInfo    = 14
	shmStatAny = 15

	pageSize = 4096
)

var (
	shmatFlags = &FlagSet{Names: []FlagName{
		{shmRdonly, "SHM_RDONLY"}, {shmRnd, "SHM_RND"}, {shmRemap, "SHM_REMAP"}, {shmExec, "SHM_EXEC"},
	}}
	shmCommands = &FlagSet{Values: append(ipcCommands[:len(ipcCommands):len(ipcCommands)],
		FlagName{shmLock, "SHM_LOCK"}, FlagName{shmUnlock, "SHM_UNLOCK"}, FlagName{shmStat, "SHM_STAT"},
		FlagName{shmInfo, "SHM_INFO"}, FlagName{shmStatAny, "SHM_STAT_ANY"})}
)

// sysShmget is shmget(2).
func sysShmget(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, err := t.IPC().Segments.Get(t.IPCActor(), a.Int(0), a[1], a.Uint(2))
	return uintptr(id), err
}

// sysShmat is shmat(2).
func sysShmat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	seg, err := t.IPC().Segments.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	addr, flags := a[1], a.Uint(2)
	if flags&shmRnd != 0 {
		addr &^= pageSize - 1
	}
	if addr%pageSize != 0 || addr == 0 && flags&shmRemap != 0 {
		return 0, unix.EINVAL
	}
	d, err := seg.Attach(t.IPCActor(), flags&shmRdonly != 0, flags&shmExec != 0)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	args := mm.MMapArgs{Addr: addr, Length: seg.Size(), Prot: unix.PROT_READ, Flags: unix.MAP_SHARED, File: d, Counted: true,
		CanLock: t.Credentials().Can(unix.CAP_IPC_LOCK)}
	if flags&shmRdonly == 0 {
		args.Prot |= unix.PROT_WRITE
	}
	if flags&shmExec != 0 {
		args.Prot |= unix.PROT_EXEC
	}
	switch {
	case flags&shmRemap != 0:
		args.Flags |= unix.MAP_FIXED
	case addr != 0:
		args.Flags |= unix.MAP_FIXED_NOREPLACE
	}
	got, err := t.MM().MMap(t.Context(), args)
	if err == unix.EEXIST {
		err = unix.EINVAL
	}
	return uintptr(got), err
}

// sysShmdt is shmdt(2): it unmaps what is left of the attachment at addr.
func sysShmdt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	addr := a[0]
	r, ok := t.MM().RegionAt(addr)
	if !ok {
		return 0, unix.EINVAL
	}
	defer mm.ReleaseRegions([]mm.Region{r})
	seg := ipc.SegmentOf(r.File)
	if seg == nil || r.Start != addr || r.Offset != 0 {
		return 0, unix.EINVAL
	}
	end := addr + (seg.Size()+pageSize-1)&^(pageSize-1)
	for at := addr; at < end; {
		part, ok := t.MM().RegionAt(at)
		if !ok {
			break
		}
		mine := part.File == r.File && part.Start-addr == part.Offset && part.Start < end
		mm.ReleaseRegions([]mm.Region{part})
		if mine {
			if err := t.MM().MUnmap(t.Context(), part.Start, part.End-part.Start); err != nil {
				return 0, err
			}
		}
		at = part.End
	}
	seg.Detached(t.IPCActor())
	return 0, nil
}

// sysShmctl is shmctl(2).
func sysShmctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	segs, actor, cmd := &t.IPC().Segments, t.IPCActor(), a.Int(1)&^ipc64
	switch cmd {
	case ipcInfo:
		_, _, highest := segs.Usage()
		b := make([]byte, 72) // struct shminfo64
		le.PutUint64(b[0:], ipc.MaxSegment)
		le.PutUint64(b[8:], 1)
		le.PutUint64(b[16:], 4096)
		le.PutUint64(b[24:], 4096)
		le.PutUint64(b[32:], math.MaxInt64/pageSize)
		return copyOutBytes(t, a[2], b, highest)
	case shmInfo:
		n, pages, highest := segs.Usage()
		b := make([]byte, 48) // struct shm_info
		le.PutUint32(b[0:], uint32(n))
		le.PutUint64(b[8:], pages)
		return copyOutBytes(t, a[2], b, highest)
	case shmStat, shmStatAny:
		seg, id, err := segs.ByIndex(a.Int(0))
		if err != nil {
			return 0, err
		}
		b, err := seg.Stat(actor, cmd == shmStatAny)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[2], b, id)
	}
	seg, err := segs.Find(a.Int(0))
	if err != nil {
		return 0, err
	}
	switch cmd {
	case ipcStat:
		b, err := seg.Stat(actor, false)
		if err != nil {
			return 0, err
		}
		return copyOutBytes(t, a[2], b, 0)
	case ipcSet:
		p, _, err := copyInPerm(t, a[2], ipc.PermSize)
		if err != nil {
			return 0, err
		}
		return 0, seg.Set(actor, p)
	case ipcRmid:
		return 0, seg.Remove(actor)
	case shmLock, shmUnlock:
		if t.Credentials().Can(unix.CAP_IPC_LOCK) {
			return 0, nil
		}
		return 0, seg.MayControl(actor)
	}
	return 0, unix.EINVAL
}
