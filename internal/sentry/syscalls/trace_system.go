package syscalls

import (
	"bytes"
	"strconv"
)

// field is a number in a structure in guest memory.
type field struct {
	name   string
	offset int
	size   int // 2, 4 or 8 bytes
}

// Fields of structures on x86-64, the ones that tell most.
var (
	sysinfoFields = []field{ // sysinfo(2)
		{"uptime", 0, 8}, {"totalram", 32, 8}, {"freeram", 40, 8}, {"totalswap", 64, 8},
		{"freeswap", 72, 8}, {"procs", 80, 2}, {"mem_unit", 104, 4},
	}
	tmsFields = []field{ // times(2)
		{"tms_utime", 0, 8}, {"tms_stime", 8, 8}, {"tms_cutime", 16, 8}, {"tms_cstime", 24, 8},
	}
	statfsFields = []field{ // statfs(2), after f_type
		{"f_bsize", 8, 8}, {"f_blocks", 16, 8}, {"f_bfree", 24, 8}, {"f_bavail", 32, 8},
		{"f_files", 40, 8}, {"f_ffree", 48, 8}, {"f_namelen", 64, 8},
	}
)

// appendFields renders fields of s: "a=1, b=2".
func appendFields(b, s []byte, fields []field) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, f.name...), '=')
		var v uint64
		switch f.size {
		case 2:
			v = uint64(native.Uint16(s[f.offset:]))
		case 4:
			v = uint64(native.Uint32(s[f.offset:]))
		default:
			v = native.Uint64(s[f.offset:])
		}
		b = strconv.AppendUint(b, v, 10)
	}
	return b
}

// appendUtsname renders struct utsname, but for the NIS domain name.
func appendUtsname(b, s []byte) []byte {
	for i, name := range [...]string{"{sysname=", ", nodename=", ", release=", ", version=", ", machine="} {
		text, _, _ := bytes.Cut(s[i*utsLen:(i+1)*utsLen], []byte{0})
		b = append(b, name...)
		b = appendQuoted(b, text, false)
	}
	return append(b, ", ...}"...)
}

// appendRusage renders the part of struct rusage that Linux keeps for all.
func appendRusage(b, s []byte) []byte {
	b = append(b, "{ru_utime="...)
	b = appendTimes(b, s, "tv_usec")
	b = append(b, ", ru_stime="...)
	b = appendTimes(b, s[16:], "tv_usec")
	b = append(b, ", ru_maxrss="...)
	b = strconv.AppendUint(b, native.Uint64(s[32:]), 10)
	return append(b, ", ...}"...)
}

// appendStatfs renders struct statfs; f_type is a magic number.
func appendStatfs(b, s []byte) []byte {
	b = append(b, "{f_type="...)
	b = appendHex(b, native.Uint64(s))
	b = append(b, ", "...)
	b = appendFields(b, s, statfsFields)
	return append(b, ", ...}"...)
}

// appendOption renders the value of a socket option: an int, as most are, or
// its bytes.
func (g *guestView) appendOption(b []byte, mem *[]byte, addr, n uint64) []byte {
	if n != 4 {
		return g.appendBuffer(b, mem, addr, n)
	}
	s := g.read(mem, addr, 4)
	if len(s) < 4 {
		return appendPtr(b, addr)
	}
	return appendInt(b, s)
}

// appendInt renders the int that a pointer points to.
func appendInt(b, s []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(int32(native.Uint32(s))), 10)
	return append(b, ']')
}
