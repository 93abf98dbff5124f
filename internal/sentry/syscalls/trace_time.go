package syscalls

import (
	"strconv"

	"golang.org/x/sys/unix"
)

func appendTimespec(b, s []byte) []byte   { return appendTime(b, s, "tv_nsec") }
func appendTimeval(b, s []byte) []byte    { return appendTime(b, s, "tv_usec") }
func appendItimerspec(b, s []byte) []byte { return appendInterval(b, s, appendTimespec) }
func appendItimerval(b, s []byte) []byte  { return appendInterval(b, s, appendTimeval) }
func appendTimespecs(b, s []byte) []byte  { return appendTimePair(b, s, appendFileTime) }
func appendTimevals(b, s []byte) []byte   { return appendTimePair(b, s, appendTimeval) }

func appendTime(b, s []byte, fraction string) []byte {
	b = append(b, "{tv_sec="...)
	b = strconv.AppendInt(b, int64(native.Uint64(s)), 10)
	b = append(append(append(b, ", "...), fraction...), '=')
	b = strconv.AppendInt(b, int64(native.Uint64(s[8:])), 10)
	return append(b, '}')
}

func appendInterval(b, s []byte, time func(b, s []byte) []byte) []byte {
	b = append(b, "{it_interval="...)
	b = time(b, s)
	b = append(b, ", it_value="...)
	b = time(b, s[16:])
	return append(b, '}')
}

// appendTimePair renders the times of access and of modification.
func appendTimePair(b, s []byte, time func(b, s []byte) []byte) []byte {
	b = time(append(b, '['), s)
	b = time(append(b, ", "...), s[16:])
	return append(b, ']')
}

// appendFileTime renders a time of utimensat(2), which may be a word.
func appendFileTime(b, s []byte) []byte {
	switch native.Uint64(s[8:]) {
	case unix.UTIME_NOW:
		return append(b, "UTIME_NOW"...)
	case unix.UTIME_OMIT:
		return append(b, "UTIME_OMIT"...)
	}
	return appendTimespec(b, s)
}

var timezoneLayout = layout{size: 8, fields: []field{
	{name: "tz_minuteswest", size: 4}, {name: "tz_dsttime", offset: 4, size: 4},
}}

var timexModes = &FlagSet{Names: []FlagName{
	{0xa001, "ADJ_OFFSET_SS_READ"}, {0x8001, "ADJ_OFFSET_SINGLESHOT"},
	{unix.ADJ_OFFSET, "ADJ_OFFSET"}, {unix.ADJ_FREQUENCY, "ADJ_FREQUENCY"}, {unix.ADJ_MAXERROR, "ADJ_MAXERROR"},
	{unix.ADJ_ESTERROR, "ADJ_ESTERROR"}, {unix.ADJ_STATUS, "ADJ_STATUS"}, {unix.ADJ_TIMECONST, "ADJ_TIMECONST"},
	{unix.ADJ_TAI, "ADJ_TAI"}, {unix.ADJ_SETOFFSET, "ADJ_SETOFFSET"}, {unix.ADJ_MICRO, "ADJ_MICRO"},
	{unix.ADJ_NANO, "ADJ_NANO"}, {unix.ADJ_TICK, "ADJ_TICK"},
}}

var timexStatus = &FlagSet{Names: []FlagName{
	{unix.STA_PLL, "STA_PLL"}, {unix.STA_PPSFREQ, "STA_PPSFREQ"}, {unix.STA_PPSTIME, "STA_PPSTIME"},
	{unix.STA_FLL, "STA_FLL"}, {unix.STA_INS, "STA_INS"}, {unix.STA_DEL, "STA_DEL"}, {unix.STA_UNSYNC, "STA_UNSYNC"},
	{unix.STA_FREQHOLD, "STA_FREQHOLD"}, {unix.STA_NANO, "STA_NANO"},
}}

// timexFields are those of struct timex up to its time, but for modes.
var timexFields = []field{
	{name: "offset", offset: 8, size: 8}, {name: "freq", offset: 16, size: 8}, {name: "maxerror", offset: 24, size: 8},
	{name: "esterror", offset: 32, size: 8}, {name: "status", offset: 40, size: 4, kind: Flags, flags: timexStatus},
	{name: "constant", offset: 48, size: 8}, {name: "precision", offset: 56, size: 8}, {name: "tolerance", offset: 64, size: 8},
}

// appendTimex renders struct timex. A call of which no mode is set reads no
// more than that.
func (g *guestView) appendTimex(b []byte, mem *[]byte, addr, _ uint64) []byte {
	const size = 208
	s := g.read(mem, addr, size)
	if len(s) < size {
		return appendPtr(b, addr)
	}
	modes := native.Uint32(s)
	b = append(b, "{modes="...)
	b = timexModes.append(b, uint64(modes), true)
	if modes == 0 && !g.returned {
		return append(b, '}')
	}
	b = appendFields(append(b, ", "...), s, timexFields)
	b = appendTimeval(append(b, ", time="...), s[72:])
	return append(b, ", ...}"...)
}
