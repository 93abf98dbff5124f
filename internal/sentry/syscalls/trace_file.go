package syscalls

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// fileTypes are the types in st_mode.
var fileTypes = &FlagSet{Names: []FlagName{
	{unix.S_IFREG, "S_IFREG"}, {unix.S_IFDIR, "S_IFDIR"}, {unix.S_IFLNK, "S_IFLNK"},
	{unix.S_IFIFO, "S_IFIFO"}, {unix.S_IFSOCK, "S_IFSOCK"}, {unix.S_IFCHR, "S_IFCHR"},
	{unix.S_IFBLK, "S_IFBLK"},
}}

func appendStat(b, s []byte) []byte {
	return appendModeAndSize(b, native.Uint32(s[24:]), native.Uint64(s[48:]))
}

func appendStatx(b, s []byte) []byte {
	return appendModeAndSize(b, uint32(native.Uint16(s[28:])), native.Uint64(s[40:]))
}

func appendModeAndSize(b []byte, mode uint32, size uint64) []byte {
	b = append(b, "{st_mode="...)
	b = fileTypes.append(b, uint64(mode&unix.S_IFMT), false)
	b = append(b, "|0"...)
	b = strconv.AppendUint(b, uint64(mode&^unix.S_IFMT), 8)
	b = append(b, ", st_size="...)
	b = strconv.AppendUint(b, size, 10)
	return append(b, ", ...}"...)
}

// statfsLayout is that of struct statfs; f_type is a magic number.
var statfsLayout = layout{size: 120, more: true, fields: []field{
	{name: "f_type", size: 8, kind: Hex}, {name: "f_bsize", offset: 8, size: 8}, {name: "f_blocks", offset: 16, size: 8},
	{name: "f_bfree", offset: 24, size: 8}, {name: "f_bavail", offset: 32, size: 8}, {name: "f_files", offset: 40, size: 8},
	{name: "f_ffree", offset: 48, size: 8}, {name: "f_namelen", offset: 64, size: 8},
}}

var openHowLayout = layout{size: openHowSize, fields: []field{
	{name: "flags", size: 8, kind: Flags, flags: openFlags},
	{name: "mode", offset: 8, size: 8, kind: Mode},
	{name: "resolve", offset: 16, size: 8, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{unix.RESOLVE_NO_XDEV, "RESOLVE_NO_XDEV"}, {unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
		{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"}, {unix.RESOLVE_BENEATH, "RESOLVE_BENEATH"},
		{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"}, {resolveCached, "RESOLVE_CACHED"},
	}}},
}}

var xattrArgsLayout = layout{size: xattrArgsSize, fields: []field{
	{name: "value", size: 8, kind: Addr}, {name: "size", offset: 8, size: 4, kind: Unsigned},
	{name: "flags", offset: 12, size: 4, kind: Flags, flags: xattrFlags},
}}

var cacheRangeLayout = layout{size: 16, fields: []field{
	{name: "off", size: 8, kind: Unsigned}, {name: "len", offset: 8, size: 8, kind: Unsigned},
}}

var cachestatLayout = layout{size: cachestatSize, fields: []field{
	{name: "nr_cache", size: 8, kind: Unsigned}, {name: "nr_dirty", offset: 8, size: 8, kind: Unsigned},
	{name: "nr_writeback", offset: 16, size: 8, kind: Unsigned}, {name: "nr_evicted", offset: 24, size: 8, kind: Unsigned},
	{name: "nr_recently_evicted", offset: 32, size: 8, kind: Unsigned},
}}

var fileHandleLayout = layout{size: 8, more: true, fields: []field{
	{name: "handle_bytes", size: 4, kind: Unsigned}, {name: "handle_type", offset: 4, size: 4},
}}

var ustatLayout = layout{size: ustatSize, more: true, fields: []field{
	{name: "f_tfree", size: 4}, {name: "f_tinode", offset: 8, size: 8, kind: Unsigned},
}}

var lockTypes = &FlagSet{Names: []FlagName{
	{unix.F_RDLCK, "F_RDLCK"}, {unix.F_WRLCK, "F_WRLCK"}, {unix.F_UNLCK, "F_UNLCK"},
}}

// flockFields are those of struct flock; the last tells who holds a lock.
var flockFields = []field{
	{name: "l_type", size: 2, kind: Enum, flags: lockTypes}, {name: "l_whence", offset: 2, size: 2, kind: Enum, flags: whenceNames},
	{name: "l_start", offset: 8, size: 8}, {name: "l_len", offset: 16, size: 8}, {name: "l_pid", offset: 24, size: 4},
}

// appendPath renders a string in full.
func (g *guestView) appendPath(b []byte, mem *[]byte, addr, _ uint64) []byte {
	return g.appendString(b, mem, addr, maxTracePath)
}

func (g *guestView) appendStr(b []byte, mem *[]byte, addr, _ uint64) []byte {
	return g.appendString(b, mem, addr, g.max)
}

// appendIOVec renders a vector of n ranges whose bytes the call reads.
func (g *guestView) appendIOVec(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendVector(b, mem, addr, n, maxRW)
}

// appendRanges renders a vector without its bytes.
func (g *guestView) appendRanges(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendVector(b, mem, addr, n, 0)
}

// appendOutIOVec renders a vector into which the call wrote as many bytes as
// its result says.
func (g *guestView) appendOutIOVec(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendVector(b, mem, addr, n, uint64(g.result))
}

// appendVector renders n struct iovec with the first so many bytes of what
// they point to; those without bytes with their address.
func (g *guestView) appendVector(b []byte, mem *[]byte, addr, n, bytes uint64) []byte {
	return g.appendArray(b, mem, addr, n, sizeIovec, func(b, s []byte) []byte {
		base, length := native.Uint64(s), native.Uint64(s[8:])
		b = append(b, "{iov_base="...)
		if shown := min(length, bytes); shown > 0 {
			b = g.appendBuffer(b, mem, base, shown)
			bytes -= shown
		} else {
			b = appendPtr(b, base)
		}
		b = append(b, ", iov_len="...)
		b = strconv.AppendUint(b, length, 10)
		return append(b, '}')
	})
}

// direntTypes are the values of d_type, readdir(3).
var direntTypes = &FlagSet{Names: []FlagName{
	{unix.DT_UNKNOWN, "DT_UNKNOWN"}, {unix.DT_FIFO, "DT_FIFO"}, {unix.DT_CHR, "DT_CHR"}, {unix.DT_DIR, "DT_DIR"},
	{unix.DT_BLK, "DT_BLK"}, {unix.DT_REG, "DT_REG"}, {unix.DT_LNK, "DT_LNK"}, {unix.DT_SOCK, "DT_SOCK"},
}}

// appendDirents renders n bytes of struct linux_dirent, whose type is in the
// record's last byte.
func (g *guestView) appendDirents(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendEntries(b, mem, addr, n, 18, func(r []byte) byte { return r[len(r)-1] })
}

// appendDirents64 renders n bytes of struct linux_dirent64, whose type is
// before the name.
func (g *guestView) appendDirents64(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendEntries(b, mem, addr, n, 19, func(r []byte) byte { return r[18] })
}

// appendEntries renders the first entries of a directory: n bytes of records
// with the inode's number at 0, their length at 16 and the name at nameAt.
func (g *guestView) appendEntries(b []byte, mem *[]byte, addr, n uint64, nameAt int, typeOf func(record []byte) byte) []byte {
	const most = maxTraceVec * 280 // of the longest names
	want := int(min(n, most))
	s := g.read(mem, addr, want)
	if len(s) < want {
		return appendPtr(b, addr)
	}
	b = append(b, '[')
	for i := 0; n > 0; i++ {
		if i > 0 {
			b = append(b, ", "...)
		}
		size := 0
		if len(s) > nameAt {
			size = int(native.Uint16(s[16:]))
		}
		if i == maxTraceVec || size <= nameAt || size > len(s) {
			b = append(b, "..."...)
			break
		}
		name, _, _ := bytes.Cut(s[nameAt:size], []byte{0})
		b = append(b, "{d_ino="...)
		b = strconv.AppendUint(b, native.Uint64(s), 10)
		b = append(b, ", d_type="...)
		b = direntTypes.append(b, uint64(typeOf(s[:size])), false)
		b = append(b, ", d_name="...)
		b = append(appendQuoted(b, name, false), '}')
		s, n = s[size:], n-uint64(size)
	}
	return append(b, ']')
}
