package vfs

// Time is a point in time since the Unix epoch.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Attr holds what stat(2) and statx(2) tell of an inode.
type Attr struct {
	// DevMajor and DevMinor number the file system; Ino numbers the inode in it.
	DevMajor, DevMinor uint32
	Ino                uint64
	// Mode holds file type and permission bits (unix.S_IFMT | 07777).
	Mode     uint32
	Nlink    uint32
	UID, GID uint32
	// RdevMajor and RdevMinor are those of a device file.
	RdevMajor, RdevMinor       uint32
	Size                       int64
	Blocks                     uint64 // of 512 bytes
	BlockSize                  uint32
	Atime, Mtime, Ctime, Btime Time
}

// Which says what SetAttr changes.
type Which uint32

// The changes that SetAttr can make.
const (
	SetMode Which = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
)

// SetAttr is a change of attributes; only the fields named in Which count.
// Checks of permission are done by vfs before a file system sees it.
type SetAttr struct {
	Which        Which
	Mode         uint32 // permission bits, 07777
	UID, GID     uint32
	Size         int64
	Atime, Mtime Time
}

// StatFS is what statfs(2) tells of a file system.
type StatFS struct {
	Type                     int64
	BlockSize                int64
	Blocks, Free, Available  uint64
	Files, FilesFree         uint64
	NameLen, FragSize, Flags int64
}

// DirEntry is one row of getdents64(2). Next is the offset to seek to in
// order to go on after this entry.
type DirEntry struct {
	Ino  uint64
	Next int64
	Type uint8 // unix.DT_*
	Name string
}
