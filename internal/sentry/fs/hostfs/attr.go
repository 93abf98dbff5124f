package hostfs

import (
	"unsafe"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// attrOf turns what the host says into vfs's terms. Ownership and device
// numbers are as the host shows them.
func attrOf(st *unix.Statx_t) vfs.Attr {
	return vfs.Attr{
		DevMajor: st.Dev_major, DevMinor: st.Dev_minor, Ino: st.Ino,
		Mode: uint32(st.Mode), Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		RdevMajor: st.Rdev_major, RdevMinor: st.Rdev_minor,
		Size: int64(st.Size), Blocks: st.Blocks, BlockSize: st.Blksize,
		Atime: timeOf(st.Atime), Mtime: timeOf(st.Mtime),
		Ctime: timeOf(st.Ctime), Btime: timeOf(st.Btime),
	}
}

func timeOf(t unix.StatxTimestamp) vfs.Time { return vfs.Time{Sec: t.Sec, Nsec: t.Nsec} }

// futimens sets the times of an open file.
func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
