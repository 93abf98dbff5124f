package hostfs

import "golang.org/x/sys/unix"

// identity is who a host inode is. Inode numbers are given again soon after a
// file is removed, so the birth time is part of it, where the host's file
// system keeps one. An overlay keeps none: what is copied up when it is first
// changed stays the same file under the same number, with the copy's birth.
type identity struct {
	devMajor, devMinor uint32
	ino                uint64
	birth              int64
	birthNsec          uint32
	kind               uint16
	// mount tells a directory from itself seen through a bind mount within
	// it, which would be its own ancestor.
	mount uint64
}

func (fs *FileSystem) identify(st *unix.Statx_t) identity {
	id := identity{
		devMajor: st.Dev_major, devMinor: st.Dev_minor, ino: st.Ino,
		kind: st.Mode & unix.S_IFMT,
	}
	if st.Mask&unix.STATX_BTIME != 0 && !(fs.copiesUp && st.Mnt_id == fs.mount) {
		id.birth, id.birthNsec = st.Btime.Sec, st.Btime.Nsec
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		id.mount = st.Mnt_id
	}
	return id
}

// inodeOf returns the one inode of an identity, making it if there is none.
func (fs *FileSystem) inodeOf(id identity, mode uint32) *inode {
	return fs.table.Get(id, func() *inode {
		return &inode{fs: fs, id: id, kind: mode & unix.S_IFMT}
	})
}
