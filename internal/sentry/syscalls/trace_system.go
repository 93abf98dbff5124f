package syscalls

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

var sysinfoLayout = layout{size: 112, more: true, fields: []field{
	{name: "uptime", size: 8}, {name: "totalram", offset: 32, size: 8}, {name: "freeram", offset: 40, size: 8},
	{name: "totalswap", offset: 64, size: 8}, {name: "freeswap", offset: 72, size: 8},
	{name: "procs", offset: 80, size: 2, kind: Unsigned}, {name: "mem_unit", offset: 104, size: 4},
}}

var tmsLayout = layout{size: 32, fields: []field{
	{name: "tms_utime", size: 8}, {name: "tms_stime", offset: 8, size: 8}, {name: "tms_cutime", offset: 16, size: 8},
	{name: "tms_cstime", offset: 24, size: 8},
}}

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
	b = appendTimeval(b, s)
	b = append(b, ", ru_stime="...)
	b = appendTimeval(b, s[16:])
	b = append(b, ", ru_maxrss="...)
	b = strconv.AppendUint(b, native.Uint64(s[32:]), 10)
	return append(b, ", ...}"...)
}

// appendInt renders the int that a pointer points to.
func appendInt(b, s []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(int32(native.Uint32(s))), 10)
	return append(b, ']')
}

// appendLong renders the 64-bit number that a pointer points to.
func appendLong(b, s []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(native.Uint64(s)), 10)
	return append(b, ']')
}

// appendAddr renders the address that a pointer points to.
func appendAddr(b, s []byte) []byte {
	return append(appendPtr(append(b, '['), native.Uint64(s)), ']')
}

// appendPair renders int[2].
func appendPair(b, s []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(int32(native.Uint32(s))), 10)
	b = append(b, ", "...)
	b = strconv.AppendInt(b, int64(int32(native.Uint32(s[4:]))), 10)
	return append(b, ']')
}

var winsizeLayout = layout{size: 8, fields: []field{
	{name: "ws_row", size: 2, kind: Unsigned}, {name: "ws_col", offset: 2, size: 2, kind: Unsigned},
	{name: "ws_xpixel", offset: 4, size: 2, kind: Unsigned}, {name: "ws_ypixel", offset: 6, size: 2, kind: Unsigned},
}}

// termiosLayout is that of struct termios; termios(3) tells what the flags do.
var termiosLayout = layout{size: 36, more: true, fields: []field{
	{name: "c_iflag", size: 4, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{unix.BRKINT, "BRKINT"}, {unix.ISTRIP, "ISTRIP"}, {unix.INLCR, "INLCR"}, {unix.IGNCR, "IGNCR"},
		{unix.ICRNL, "ICRNL"}, {unix.IXON, "IXON"}, {unix.IXANY, "IXANY"}, {unix.IXOFF, "IXOFF"},
		{unix.IMAXBEL, "IMAXBEL"}, {unix.IUTF8, "IUTF8"},
	}}},
	{name: "c_oflag", offset: 4, size: 4, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{unix.OPOST, "OPOST"}, {unix.OLCUC, "OLCUC"}, {unix.ONLCR, "ONLCR"}, {unix.OCRNL, "OCRNL"}, {unix.ONLRET, "ONLRET"},
	}}},
	{name: "c_cflag", offset: 8, size: 4, kind: Hex},
	{name: "c_lflag", offset: 12, size: 4, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{unix.ISIG, "ISIG"}, {unix.ICANON, "ICANON"}, {unix.ECHO, "ECHO"}, {unix.ECHOE, "ECHOE"}, {unix.ECHOK, "ECHOK"},
		{unix.ECHONL, "ECHONL"}, {unix.NOFLSH, "NOFLSH"}, {unix.TOSTOP, "TOSTOP"}, {unix.ECHOCTL, "ECHOCTL"},
		{unix.ECHOKE, "ECHOKE"}, {unix.IEXTEN, "IEXTEN"},
	}}},
}}

// fprogLayout is that of struct sock_fprog; the program itself is not shown.
var fprogLayout = layout{size: 16, fields: []field{
	{name: "len", size: 2, kind: Unsigned}, {name: "filter", offset: 8, size: 8, kind: Addr},
}}

var notifSizesLayout = layout{size: 6, fields: []field{
	{name: "seccomp_notif", size: 2, kind: Unsigned}, {name: "seccomp_notif_resp", offset: 2, size: 2, kind: Unsigned},
	{name: "seccomp_data", offset: 4, size: 2, kind: Unsigned},
}}
