package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func cachestatRows() []Row {
	return []Row{
		partial(451, "cachestat", sysCachestat, "all that a file has counts as cached and clean", P("fd", FD), P("range", CacheRange), P("cstat", OutCachestat), P("flags", Hex)),
	}
}

// cachestatSize is the size of struct cachestat.
const cachestatSize = 40

// sysCachestat tells how many pages of a range are in memory.
func sysCachestat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if d.Flags()&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	var r [16]byte
	if _, err := t.CopyIn(a[1], r[:]); err != nil {
		return 0, err
	}
	if a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	attr, err := d.Attr(t)
	if err != nil {
		return 0, err
	}
	cred := t.Credentials()
	if !d.CanWrite() && cred.FSUID != attr.UID && !cred.Can(unix.CAP_FOWNER) && !cred.Can(unix.CAP_DAC_OVERRIDE) {
		return 0, unix.EPERM
	}
	var out [cachestatSize]byte
	if attr.Mode&unix.S_IFMT == unix.S_IFREG {
		off, length := binary.LittleEndian.Uint64(r[:]), binary.LittleEndian.Uint64(r[8:])
		end := uint64(attr.Size)
		if length != 0 && off+length >= off {
			end = min(end, off+length)
		}
		if off < end {
			first, last := off/mm.PageSize, (end-1)/mm.PageSize
			// Blocks tell of holes, though not where they are.
			pages := min(last-first+1, (attr.Blocks+mm.PageSize/512-1)/(mm.PageSize/512))
			binary.LittleEndian.PutUint64(out[:], pages)
		}
	}
	_, err = t.CopyOut(a[2], out[:])
	return 0, err
}
