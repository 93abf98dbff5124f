package syscalls

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// appendValue renders a number of one of the kinds that are no pointers. Those
// of descriptors are named by guestView.append.
func appendValue(b []byte, kind Kind, flags *FlagSet, v uint64) []byte {
	switch kind {
	case None:
		return b
	case Unsigned:
		return strconv.AppendUint(b, v, 10)
	case Hex:
		return appendHex(b, v)
	case Addr:
		return appendPtr(b, v)
	case Mode:
		if v&0xffff != 0 {
			b = append(b, '0')
		}
		return strconv.AppendUint(b, v&0xffff, 8)
	case Flags:
		return flags.append(b, v, true)
	case Enum:
		return flags.append(b, uint64(uint32(v)), false)
	case Signal:
		return appendSignal(b, int32(v))
	case Dev:
		b = append(b, "makedev("...)
		b = strconv.AppendUint(b, uint64(unix.Major(v)), 10)
		b = append(b, ", "...)
		return append(strconv.AppendUint(b, uint64(unix.Minor(v)), 10), ')')
	case Clock:
		return appendClock(b, int32(v))
	}
	return strconv.AppendInt(b, signed(v), 10)
}

func appendHex(b []byte, v uint64) []byte {
	b = append(b, "0x"...)
	return strconv.AppendUint(b, v, 16)
}

func appendPtr(b []byte, v uint64) []byte {
	if v == 0 {
		return append(b, "NULL"...)
	}
	return appendHex(b, v)
}

// signed takes a register as the number that was probably meant: C ints come
// without sign extension.
func signed(v uint64) int64 {
	if v>>32 == 0 {
		return int64(int32(v))
	}
	return int64(v)
}

func appendSignal(b []byte, n int32) []byte {
	if n >= 34 && n <= 64 {
		b = append(b, "SIGRT_"...)
		return strconv.AppendInt(b, int64(n-32), 10)
	}
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return append(b, name...)
	}
	return strconv.AppendInt(b, int64(n), 10)
}

var clockNames = &FlagSet{Names: []FlagName{
	{unix.CLOCK_REALTIME, "CLOCK_REALTIME"},
	{unix.CLOCK_MONOTONIC, "CLOCK_MONOTONIC"},
	{unix.CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID"},
	{unix.CLOCK_THREAD_CPUTIME_ID, "CLOCK_THREAD_CPUTIME_ID"},
	{unix.CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW"},
	{unix.CLOCK_REALTIME_COARSE, "CLOCK_REALTIME_COARSE"},
	{unix.CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE"},
	{unix.CLOCK_BOOTTIME, "CLOCK_BOOTTIME"},
	{unix.CLOCK_REALTIME_ALARM, "CLOCK_REALTIME_ALARM"},
	{unix.CLOCK_BOOTTIME_ALARM, "CLOCK_BOOTTIME_ALARM"},
	{unix.CLOCK_TAI, "CLOCK_TAI"},
}}

func appendClock(b []byte, id int32) []byte {
	if id < 0 {
		return strconv.AppendInt(b, int64(id), 10)
	}
	return clockNames.append(b, uint64(id), false)
}
