package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func getdentsRows() []Row {
	return []Row{
		full(78, "getdents", sysGetdents, P("fd", FD), P("dirp", OutDirents), P("count", Unsigned)),
		full(217, "getdents64", sysGetdents64, P("fd", FD), P("dirp", OutDirents64), P("count", Unsigned)),
	}
}

// maxDents bounds the buffer that one call fills.
const maxDents = mediumBuffer

func sysGetdents64(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return getdents(t, a, putDirent64)
}

func sysGetdents(t *kernel.Task, a kernel.Args) (uintptr, error) { return getdents(t, a, putDirent) }

// getdents fills the guest's buffer with entries as put lays them out.
func getdents(t *kernel.Task, a kernel.Args, put func(dst []byte, e *vfs.DirEntry) int) (uintptr, error) {
	d, err := openedFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	var g guestBuffer
	if err := g.setRange(a[1], min(uint64(a.Uint(2)), maxDents)); err != nil {
		return 0, err
	}
	// Checked before, so that no entry is taken that the guest does not get.
	if err := g.clampWritable(t); err != nil {
		return 0, err
	}
	buf := getBuffer(max(g.total, 1))
	defer buf.put()
	room := buf.b[:min(uint64(len(buf.b)), g.total)]
	filled, full := 0, false
	err = d.Readdir(t, func(e vfs.DirEntry) bool {
		n := put(room[filled:], &e)
		full = n == 0
		filled += n
		return !full
	})
	switch {
	case filled > 0:
		n, err := g.copyOut(t, room[:filled])
		if n < filled {
			return 0, err
		}
		return uintptr(n), nil
	case err != nil:
		return 0, err
	case full:
		return 0, unix.EINVAL // not even one entry fits
	}
	return 0, nil
}

// align8 rounds up to the alignment of directory entries.
func align8(n int) int { return (n + 7) &^ 7 }

// putDirent64 lays out a struct linux_dirent64: number, offset of the next,
// record length, type, name. It returns the length, or 0 if there is no room.
func putDirent64(dst []byte, e *vfs.DirEntry) int {
	const header = 19
	n := align8(header + len(e.Name) + 1)
	if n > len(dst) {
		return 0
	}
	putDirentHeader(dst[:n], e)
	dst[18] = e.Type
	clear(dst[header+copy(dst[header:n], e.Name) : n])
	return n
}

// putDirent lays out a struct linux_dirent, whose type is in the last byte.
func putDirent(dst []byte, e *vfs.DirEntry) int {
	const header = 18
	n := align8(header + len(e.Name) + 2)
	if n > len(dst) {
		return 0
	}
	putDirentHeader(dst[:n], e)
	clear(dst[header+copy(dst[header:n], e.Name) : n])
	dst[n-1] = e.Type
	return n
}

func putDirentHeader(rec []byte, e *vfs.DirEntry) {
	binary.LittleEndian.PutUint64(rec, e.Ino)
	binary.LittleEndian.PutUint64(rec[8:], uint64(e.Next))
	binary.LittleEndian.PutUint16(rec[16:], uint16(len(rec)))
}
