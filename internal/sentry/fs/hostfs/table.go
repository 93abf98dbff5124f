package hostfs

import (
	"runtime"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
)

// identity is who a host inode is. Inode numbers are given again soon after a
// file is removed, so the birth time is part of it, where the host's file
// system keeps one.
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

func identify(st *unix.Statx_t) identity {
	id := identity{
		devMajor: st.Dev_major, devMinor: st.Dev_minor, ino: st.Ino,
		kind: st.Mode & unix.S_IFMT,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.birth, id.birthNsec = st.Btime.Sec, st.Btime.Nsec
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		id.mount = st.Mnt_id
	}
	return id
}

// table finds the inode of an identity, so that there is one inode for all
// names of a file. It does not keep inodes alive.
type table struct {
	mu   sync.Mutex
	byID map[identity]weak.Pointer[inode]
}

// intern returns the inode of id, making it if there is none.
func (t *table) intern(fs *FileSystem, id identity, mode uint32) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byID[id].Value(); n != nil {
		return n
	}
	if t.byID == nil {
		t.byID = map[identity]weak.Pointer[inode]{}
	}
	n := &inode{fs: fs, id: id, kind: mode & unix.S_IFMT}
	t.byID[id] = weak.Make(n)
	runtime.AddCleanup(n, t.collected, id)
	return n
}

// find returns the inode of id if there is one.
func (t *table) find(id identity) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id].Value()
}

// collected forgets an inode that is gone, unless there is a new one for its
// identity.
func (t *table) collected(id identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id].Value() == nil {
		delete(t.byID, id)
	}
}
