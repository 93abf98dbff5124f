package fuse

import (
	"bytes"
	"encoding/binary"
	"time"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The protocol's version. The layouts of version 7.31 are those that all
// servers of the last years know.
const (
	protocolMajor = 7
	protocolMinor = 31
	// oldestMinor is the first whose messages have the layouts used here.
	oldestMinor = 12
)

// Operations (enum fuse_opcode).
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opReadlink    = 5
	opSymlink     = 6
	opMknod       = 8
	opMkdir       = 9
	opUnlink      = 10
	opRmdir       = 11
	opRename      = 12
	opLink        = 13
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opSetxattr    = 21
	opGetxattr    = 22
	opListxattr   = 23
	opRemovexattr = 24
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opFsyncdir    = 30
	opAccess      = 34
	opCreate      = 35
	opInterrupt   = 36
	opFallocate   = 43
	opRename2     = 45
	opLseek       = 46
)

// What the server may tell without being asked (enum fuse_notify_code).
const (
	notifyPoll       = 1
	notifyInvalInode = 2
	notifyInvalEntry = 3
	notifyStore      = 4
	notifyDelete     = 6
)

// Sizes of headers and bodies.
const (
	inHeaderSize  = 40
	outHeaderSize = 16
	writeInSize   = 40
	attrSize      = 88
	entryOutSize  = 40 + attrSize
	attrOutSize   = 16 + attrSize
	openOutSize   = 16
	statfsSize    = 80
	direntSize    = 24
	// initOutOld is struct fuse_init_out before 7.23, initOutSize since.
	initOutOld  = 24
	initOutSize = 64
)

// rootID is the node number of the top directory.
const rootID = 1

// Flags of INIT that matter here.
const (
	initAsyncRead     = 1 << 0
	initBigWrites     = 1 << 5
	initAutoInval     = 1 << 12
	initAsyncDIO      = 1 << 15
	initNoOpen        = 1 << 17
	initParallelDirs  = 1 << 18
	initMaxPages      = 1 << 22
	initCacheLinks    = 1 << 23
	initNoOpendir     = 1 << 24
	initExplicitInval = 1 << 25

	offered = initAsyncRead | initBigWrites | initAutoInval | initAsyncDIO | initNoOpen | initParallelDirs |
		initMaxPages | initCacheLinks | initNoOpendir | initExplicitInval
)

// Flags of an open file (FOPEN_*).
const (
	openDirectIO    = 1 << 0
	openNonseekable = 1 << 2
	openStream      = 1 << 4
	openNoFlush     = 1 << 5
)

// Bits of SETATTR's valid (FATTR_*).
const (
	setMode  = 1 << 0
	setUID   = 1 << 1
	setGID   = 1 << 2
	setSize  = 1 << 3
	setAtime = 1 << 4
	setMtime = 1 << 5
)

// fsyncData is FUSE_FSYNC_FDATASYNC.
const fsyncData = 1

var le = binary.LittleEndian

// body builds a request's body.
type body []byte

func (b body) u32(vs ...uint32) body {
	for _, v := range vs {
		b = le.AppendUint32(b, v)
	}
	return b
}

func (b body) u64(vs ...uint64) body {
	for _, v := range vs {
		b = le.AppendUint64(b, v)
	}
	return b
}

// str appends a string with its NUL.
func (b body) str(s string) body { return append(append(b, s...), 0) }

// header is struct fuse_in_header but for the length.
type header struct {
	op            uint32
	unique, node  uint64
	uid, gid, pid uint32
}

// message lays out a request.
func message(h header, b body) []byte {
	m := make(body, 0, inHeaderSize+len(b))
	m = m.u32(uint32(inHeaderSize+len(b)), h.op).u64(h.unique, h.node).u32(h.uid, h.gid, h.pid, 0)
	return append(m, b...)
}

// forever is how long a time-out lasts that has no end; servers use large
// numbers for that.
const forever = 100 * 365 * 24 * time.Hour

// validity turns a time-out of the server's into a duration.
func validity(sec uint64, nsec uint32) time.Duration {
	if sec >= uint64(forever/time.Second) {
		return forever
	}
	return time.Duration(sec)*time.Second + time.Duration(min(nsec, 1e9-1))
}

// parseAttr decodes a struct fuse_attr. ok is false for a size that no file
// can have, or a type that does not exist.
func parseAttr(b []byte) (a vfs.Attr, ok bool) {
	stamp := func(sec, nsec int) vfs.Time {
		return vfs.Time{Sec: int64(le.Uint64(b[sec:])), Nsec: min(le.Uint32(b[nsec:]), 1e9-1)}
	}
	rdev := decodeDevice(le.Uint32(b[76:]))
	a = vfs.Attr{
		Ino: le.Uint64(b), Size: int64(le.Uint64(b[8:])), Blocks: le.Uint64(b[16:]),
		Atime: stamp(24, 48), Mtime: stamp(32, 52), Ctime: stamp(40, 56),
		Mode: le.Uint32(b[60:]) & (unix.S_IFMT | 0o7777), Nlink: le.Uint32(b[64:]),
		UID: le.Uint32(b[68:]), GID: le.Uint32(b[72:]),
		RdevMajor: rdev[0], RdevMinor: rdev[1], BlockSize: le.Uint32(b[80:]),
	}
	if a.BlockSize == 0 || a.BlockSize > 1<<30 {
		a.BlockSize = 4096
	}
	return a, a.Size >= 0 && validType(a.Mode)
}

// encodeDevice and decodeDevice are the kernel's new_encode_dev.
func encodeDevice(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&^0xff<<12 }
func decodeDevice(d uint32) [2]uint32         { return [2]uint32{d >> 8 & 0xfff, d&0xff | d>>12&0xfff00} }

func validType(mode uint32) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		return true
	}
	return false
}

// entry is struct fuse_entry_out: what a name leads to.
type entry struct {
	node, generation     uint64
	nameValid, attrValid time.Duration
	attr                 vfs.Attr
}

// parseEntry decodes an entry. Node 0 says that the name does not exist: then
// the attributes do not count. EIO for nonsense.
func parseEntry(b []byte) (entry, error) {
	if len(b) < entryOutSize {
		return entry{}, unix.EIO
	}
	e := entry{
		node: le.Uint64(b), generation: le.Uint64(b[8:]),
		nameValid: validity(le.Uint64(b[16:]), le.Uint32(b[32:])),
		attrValid: validity(le.Uint64(b[24:]), le.Uint32(b[36:])),
	}
	if e.node == 0 {
		return e, nil
	}
	var ok bool
	if e.attr, ok = parseAttr(b[40:]); !ok || e.node == rootID {
		return entry{}, unix.EIO
	}
	return e, nil
}

// parseAttrOut decodes a struct fuse_attr_out.
func parseAttrOut(b []byte) (vfs.Attr, time.Duration, error) {
	if len(b) != attrOutSize {
		return vfs.Attr{}, 0, unix.EIO
	}
	a, ok := parseAttr(b[16:])
	if !ok {
		return vfs.Attr{}, 0, unix.EIO
	}
	return a, validity(le.Uint64(b), le.Uint32(b[8:])), nil
}

// parseOpen decodes a struct fuse_open_out.
func parseOpen(b []byte) (handle uint64, flags uint32, err error) {
	if len(b) != openOutSize {
		return 0, 0, unix.EIO
	}
	return le.Uint64(b), le.Uint32(b[8:]), nil
}

// parseStatfs decodes a struct fuse_statfs_out.
func parseStatfs(b []byte) (vfs.StatFS, error) {
	if len(b) != statfsSize {
		return vfs.StatFS{}, unix.EIO
	}
	return vfs.StatFS{
		Type: unix.FUSE_SUPER_MAGIC, Blocks: le.Uint64(b), Free: le.Uint64(b[8:]), Available: le.Uint64(b[16:]),
		Files: le.Uint64(b[24:]), FilesFree: le.Uint64(b[32:]), BlockSize: int64(le.Uint32(b[40:])),
		NameLen: int64(le.Uint32(b[44:])), FragSize: int64(le.Uint32(b[48:])),
	}, nil
}

// maxName is FUSE_NAME_MAX.
const maxName = 1024

// parseDirents calls emit with the entries of a READDIR answer until it says
// no. It returns whether it did, and the offset after the last entry that was
// seen; n is how many there were. EIO for names that cannot be.
func parseDirents(b []byte, emit func(vfs.DirEntry) bool) (n int, next int64, more bool, err error) {
	for len(b) >= direntSize {
		length := int(min(le.Uint32(b[16:]), maxName+1))
		if length == 0 || length > maxName {
			return n, next, false, unix.EIO
		}
		if len(b) < direntSize+length {
			break
		}
		name := b[direntSize : direntSize+length]
		if bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 {
			return n, next, false, unix.EIO
		}
		e := vfs.DirEntry{Ino: le.Uint64(b), Next: int64(le.Uint64(b[8:])), Type: uint8(le.Uint32(b[20:]) & 0xf), Name: string(name)}
		if !emit(e) {
			return n, next, false, nil
		}
		n, next = n+1, e.Next
		b = b[min(len(b), (direntSize+length+7)&^7):]
	}
	return n, next, true, nil
}

// agreed is what INIT agrees on.
type agreed struct {
	minor             uint32
	maxRead, maxWrite uint32
	flags             uint32
}

// maxData bounds what one READ or WRITE carries: 32 pages, Linux's default. A
// message fits into the largest step of a read(2) or write(2) by far.
const maxData = 128 << 10

// parseInit decodes a struct fuse_init_out. EPROTO for a version that is not
// spoken here.
func parseInit(b []byte) (agreed, error) {
	if len(b) < initOutOld || len(b) < initOutSize && le.Uint32(b[4:]) >= 23 {
		return agreed{}, unix.EPROTO
	}
	if le.Uint32(b) != protocolMajor || le.Uint32(b[4:]) < oldestMinor {
		return agreed{}, unix.EPROTO
	}
	a := agreed{minor: min(le.Uint32(b[4:]), protocolMinor), flags: le.Uint32(b[12:]) & offered, maxRead: maxData}
	a.maxWrite = min(max(le.Uint32(b[20:]), 4096), maxData)
	if a.flags&initMaxPages != 0 && len(b) >= initOutSize {
		most := min(max(uint32(le.Uint16(b[28:])), 1), maxData/4096) * 4096
		a.maxRead, a.maxWrite = most, min(a.maxWrite, most)
	}
	return a, nil
}
