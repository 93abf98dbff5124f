package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func statRows() []Row {
	return []Row{
		full(4, "stat", sysStat, P("path", PathStr), P("buf", OutStat)),
		full(5, "fstat", sysFstat, P("fd", FD), P("buf", OutStat)),
		full(6, "lstat", sysLstat, P("path", PathStr), P("buf", OutStat)),
		full(21, "access", sysAccess, P("path", PathStr), PF("mode", Flags, accessNames)),
		full(137, "statfs", sysStatfs, P("path", PathStr), P("buf", OutStatfs)),
		full(138, "fstatfs", sysFstatfs, P("fd", FD), P("buf", OutStatfs)),
		full(262, "newfstatat", sysNewfstatat, P("dirfd", DirFD), P("path", PathStr), P("buf", OutStat), PF("flags", Flags, atFlagNames)),
		full(269, "faccessat", sysFaccessat, P("dirfd", DirFD), P("path", PathStr), PF("mode", Flags, accessNames)),
		full(332, "statx", sysStatx, P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, atFlagNames), PF("mask", Flags, statxMasks), P("buf", OutStatx)),
		full(439, "faccessat2", sysFaccessat2, P("dirfd", DirFD), P("path", PathStr), PF("mode", Flags, accessNames), PF("flags", Flags, accessFlags)),
	}
}

var accessNames = &FlagSet{
	Mask: unix.R_OK | unix.W_OK | unix.X_OK, Values: []FlagName{{unix.F_OK, "F_OK"}}, // all bits clear
	Names: []FlagName{{unix.R_OK, "R_OK"}, {unix.W_OK, "W_OK"}, {unix.X_OK, "X_OK"}},
}

var statxMasks = &FlagSet{Names: []FlagName{
	{unix.STATX_ALL, "STATX_ALL"}, {unix.STATX_BASIC_STATS, "STATX_BASIC_STATS"},
	{unix.STATX_TYPE, "STATX_TYPE"}, {unix.STATX_MODE, "STATX_MODE"}, {unix.STATX_NLINK, "STATX_NLINK"},
	{unix.STATX_UID, "STATX_UID"}, {unix.STATX_GID, "STATX_GID"}, {unix.STATX_ATIME, "STATX_ATIME"},
	{unix.STATX_MTIME, "STATX_MTIME"}, {unix.STATX_CTIME, "STATX_CTIME"}, {unix.STATX_INO, "STATX_INO"},
	{unix.STATX_SIZE, "STATX_SIZE"}, {unix.STATX_BLOCKS, "STATX_BLOCKS"}, {unix.STATX_BTIME, "STATX_BTIME"},
	{unix.STATX_MNT_ID, "STATX_MNT_ID"}, {unix.STATX_DIOALIGN, "STATX_DIOALIGN"},
	{unix.STATX_MNT_ID_UNIQUE, "STATX_MNT_ID_UNIQUE"},
}}

var accessFlags = &FlagSet{Names: []FlagName{
	{unix.AT_EACCESS, "AT_EACCESS"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}, {unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
}}

// Sizes of the structures that these calls fill in.
const (
	statSize   = 144
	statxSize  = 256
	statfsSize = 120
)

func sysStat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return statAt(t, unix.AT_FDCWD, a[0], a[1], 0)
}

func sysLstat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return statAt(t, unix.AT_FDCWD, a[0], a[1], unix.AT_SYMLINK_NOFOLLOW)
}

func sysNewfstatat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return statAt(t, a.Int(0), a[1], a[2], flags)
}

func statAt(t *kernel.Task, dirfd int32, path, buf uint64, flags uint32) (uintptr, error) {
	st, err := pathStat(t, dirfd, path, flags)
	if err != nil {
		return 0, err
	}
	return 0, copyOutStat(t, buf, &st.Attr)
}

func sysFstat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if d.Inode == nil {
		return 0, unix.EBADF
	}
	attr, err := d.Attr(t)
	if err != nil {
		return 0, err
	}
	return 0, copyOutStat(t, a[1], &attr)
}

// copyOutStat writes a struct stat.
func copyOutStat(t *kernel.Task, addr uint64, a *vfs.Attr) error {
	buf := getBuffer(statSize)
	defer buf.put()
	shown := shownAttr(t, a)
	putStat(buf.b, &shown)
	return t.CopyOutLate(addr, buf.b)
}

// shownAttr are attributes with the owner as the task's user namespace names it.
func shownAttr(t *kernel.Task, a *vfs.Attr) vfs.Attr {
	shown, users := *a, t.Credentials().UserNS
	shown.UID, shown.GID = users.FromUID(a.UID), users.FromGID(a.GID)
	return shown
}

// putStat fills in amd64's struct stat.
func putStat(b []byte, a *vfs.Attr) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], unix.Mkdev(a.DevMajor, a.DevMinor))
	le.PutUint64(b[8:], a.Ino)
	le.PutUint64(b[16:], uint64(a.Nlink))
	le.PutUint32(b[24:], a.Mode)
	le.PutUint32(b[28:], a.UID)
	le.PutUint32(b[32:], a.GID)
	le.PutUint32(b[36:], 0)
	le.PutUint64(b[40:], unix.Mkdev(a.RdevMajor, a.RdevMinor))
	le.PutUint64(b[48:], uint64(a.Size))
	le.PutUint64(b[56:], uint64(a.BlockSize))
	le.PutUint64(b[64:], a.Blocks)
	for i, ts := range [...]vfs.Time{a.Atime, a.Mtime, a.Ctime} {
		le.PutUint64(b[72+16*i:], uint64(ts.Sec))
		le.PutUint64(b[80+16*i:], uint64(ts.Nsec))
	}
	clear(b[120:statSize])
}

// What statx(2) always fills in, and the attributes that it can tell.
const (
	statxMask       = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	statxAttributes = unix.STATX_ATTR_MOUNT_ROOT
	// statxSyncType is AT_STATX_SYNC_TYPE: both bits at once make no sense.
	statxSyncType = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
)

func sysStatx(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags, mask := a.Uint(2), a.Uint(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH|statxSyncType) != 0 ||
		flags&statxSyncType == statxSyncType || mask&unix.STATX__RESERVED != 0 {
		return 0, unix.EINVAL
	}
	st, err := pathStat(t, a.Int(0), a[1], flags)
	if err != nil {
		return 0, err
	}
	buf := getBuffer(statxSize)
	defer buf.put()
	shown := shownAttr(t, &st.Attr)
	putStatx(buf.b, &shown)
	if st.MountRoot {
		binary.LittleEndian.PutUint64(buf.b[8:], unix.STATX_ATTR_MOUNT_ROOT)
	}
	id := uint64(st.MountID)
	if mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		binary.LittleEndian.PutUint32(buf.b[0:], statxMask&^unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE)
		id += firstUniqueID
	}
	binary.LittleEndian.PutUint64(buf.b[144:], id)
	return 0, t.CopyOutLate(a[4], buf.b)
}

// putStatx fills in struct statx but for what belongs to the mount.
func putStatx(b []byte, a *vfs.Attr) {
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b[0:], statxMask)
	le.PutUint32(b[4:], a.BlockSize)
	le.PutUint32(b[16:], a.Nlink)
	le.PutUint32(b[20:], a.UID)
	le.PutUint32(b[24:], a.GID)
	le.PutUint16(b[28:], uint16(a.Mode))
	le.PutUint64(b[32:], a.Ino)
	le.PutUint64(b[40:], uint64(a.Size))
	le.PutUint64(b[48:], a.Blocks)
	le.PutUint64(b[56:], statxAttributes)
	for i, ts := range [...]vfs.Time{a.Atime, a.Btime, a.Ctime, a.Mtime} {
		le.PutUint64(b[64+16*i:], uint64(ts.Sec))
		le.PutUint32(b[72+16*i:], ts.Nsec)
	}
	le.PutUint32(b[128:], a.RdevMajor)
	le.PutUint32(b[132:], a.RdevMinor)
	le.PutUint32(b[136:], a.DevMajor)
	le.PutUint32(b[140:], a.DevMinor)
}

func sysAccess(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return accessAt(t, unix.AT_FDCWD, a[0], a.Uint(1), 0)
}

func sysFaccessat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return accessAt(t, a.Int(0), a[1], a.Uint(2), 0)
}

func sysFaccessat2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return accessAt(t, a.Int(0), a[1], a.Uint(2), flags)
}

// realCaller is a task whose real user and group count, as for access(2).
type realCaller struct {
	*kernel.Task
	cred *auth.Credentials
}

func (r *realCaller) Credentials() *auth.Credentials { return r.cred }

// realIDs returns the credentials that access(2) goes by.
func realIDs(c *auth.Credentials) *auth.Credentials {
	root := c.UserNS.ToUID(0)
	if c.RUID == c.FSUID && c.RGID == c.FSGID && (c.RUID != root || c.Effective == c.Permitted) {
		return c
	}
	r := c.Clone()
	r.FSUID, r.FSGID = c.RUID, c.RGID
	const noSetuidFixup = 1 << 2 // SECBIT_NO_SETUID_FIXUP
	if c.SecureBits&noSetuidFixup == 0 {
		if r.Effective = c.Permitted; c.RUID != root {
			r.Effective = 0
		}
	}
	return r
}

func accessAt(t *kernel.Task, dirfd int32, addr uint64, mode, flags uint32) (uintptr, error) {
	if mode&^(unix.R_OK|unix.W_OK|unix.X_OK) != 0 {
		return 0, unix.EINVAL
	}
	var c vfs.Caller = t
	if flags&unix.AT_EACCESS == 0 {
		if cred := realIDs(t.Credentials()); cred != t.Credentials() {
			c = &realCaller{t, cred}
		}
	}
	var path string
	if addr != 0 || flags&unix.AT_EMPTY_PATH == 0 {
		var err error
		if path, err = t.CopyInPath(addr); err != nil {
			return 0, err
		}
	}
	o, err := originOf(t, dirfd, path)
	if err != nil {
		return 0, err
	}
	defer o.release()
	p, err := o.ns.Resolve(c, o.Origin, path, resolveFlags(flags))
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.Access(c, p, mode)
}

func sysStatfs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := resolveAt(t, unix.AT_FDCWD, a[0], 0)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, copyOutStatfs(t, a[1], p)
}

func sysFstatfs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := placeOf(t, a.Int(0), true)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, copyOutStatfs(t, a[1], p)
}

func copyOutStatfs(t *kernel.Task, addr uint64, p vfs.Path) error {
	s, err := p.StatFS(t)
	if err != nil {
		return err
	}
	buf := getBuffer(statfsSize)
	defer buf.put()
	b := buf.b
	clear(b)
	le := binary.LittleEndian
	for i, v := range [...]uint64{uint64(s.Type), uint64(s.BlockSize), s.Blocks, s.Free, s.Available, s.Files, s.FilesFree} {
		le.PutUint64(b[8*i:], v)
	}
	if a, err := p.Mount.RootAttr(); err == nil {
		le.PutUint64(b[56:], unix.Mkdev(a.DevMajor, a.DevMinor)) // f_fsid
	}
	le.PutUint64(b[64:], uint64(s.NameLen))
	le.PutUint64(b[72:], uint64(s.FragSize))
	le.PutUint64(b[80:], uint64(s.Flags))
	return t.CopyOutLate(addr, b)
}
