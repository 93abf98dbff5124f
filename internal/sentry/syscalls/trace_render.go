package syscalls

import (
	"encoding/binary"
	"strconv"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// guestView renders arguments from the guest's memory. It only reads, and a
// pointer that can't be read is shown as an address.
type guestView struct {
	t    *kernel.Task
	from memory
	max  int // bytes of a string or buffer
	args kernel.Args

	result uintptr
	failed bool
}

// memory is guest memory; a Task is one.
type memory interface {
	CopyIn(addr uint64, dst []byte) (int, error)
}

const (
	maxTracePath  = unix.PathMax
	maxTraceVec   = 16 // elements of argv, iovec, pollfd
	maxTraceStr   = 4 << 10
	traceCopyStep = 256 // a string is read in steps of so many bytes
)

var native = binary.NativeEndian

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

// append renders argument i. mem is scratch space.
func (g *guestView) append(b []byte, mem *[]byte, p Param, i int) []byte {
	v := g.args[i]
	if p.Kind.isOut() && g.failed && p.Kind != PollFDs {
		return appendPtr(b, v)
	}
	switch p.Kind {
	case Dec:
		return strconv.AppendInt(b, signed(v), 10)
	case Unsigned:
		return strconv.AppendUint(b, v, 10)
	case Hex:
		return appendHex(b, v)
	case FD:
		return appendFD(b, g.t, int32(v))
	case DirFD:
		if int32(v) == unix.AT_FDCWD {
			return append(b, "AT_FDCWD"...)
		}
		return appendFD(b, g.t, int32(v))
	case PathStr:
		return g.appendString(b, mem, v, maxTracePath)
	case Str:
		return g.appendString(b, mem, v, g.max)
	case OutStr:
		return g.appendString(b, mem, v, maxTraceStr)
	case Buf:
		return g.appendBuffer(b, mem, v, g.argument(i+1))
	case OutBuf:
		return g.appendBuffer(b, mem, v, uint64(g.result))
	case Mode:
		if v&0xffff != 0 {
			b = append(b, '0')
		}
		return strconv.AppendUint(b, v&0xffff, 8)
	case OpenMode:
		if flags := g.argument(i - 1); flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
			return b // there is none
		}
		return g.append(b, mem, P(p.Name, Mode), i)
	case FcntlArg:
		return g.appendFcntlArg(b, mem, int32(g.argument(i-1)), v)
	case Flags:
		return p.Flags.append(b, v, true)
	case Enum:
		return p.Flags.append(b, uint64(uint32(v)), false)
	case OptionName:
		switch g.argument(i - 1) {
		case unix.SOL_SOCKET:
			return p.Flags.append(b, uint64(uint32(v)), false)
		case unix.IPPROTO_TCP:
			return tcpOptions.append(b, uint64(uint32(v)), false)
		}
		return strconv.AppendInt(b, signed(v), 10)
	case Signal:
		return appendSignal(b, int32(v))
	case Clock:
		return appendClock(b, int32(v))
	case StrVec:
		return g.appendStrings(b, mem, v)
	case IOVec:
		return g.appendIOVec(b, mem, v, g.argument(i+1))
	}
	return g.appendStruct(b, mem, p.Kind, v, i)
}

// argument returns argument i, or 0 if there is none.
func (g *guestView) argument(i int) uint64 {
	if i >= 0 && i < len(g.args) {
		return g.args[i]
	}
	return 0
}

// signed takes a register as the number that was probably meant: C ints come
// without sign extension.
func signed(v uint64) int64 {
	if v>>32 == 0 {
		return int64(int32(v))
	}
	return int64(v)
}

// read copies n bytes of guest memory into scratch space; fewer if the rest
// can't be read.
func (g *guestView) read(mem *[]byte, addr uint64, n int) []byte {
	if cap(*mem) < n {
		*mem = make([]byte, n)
	}
	b := (*mem)[:n]
	got, _ := g.from.CopyIn(addr, b)
	return b[:max(got, 0)]
}

// appendString renders a NUL-terminated string of which at most limit bytes
// are shown.
func (g *guestView) appendString(b []byte, mem *[]byte, addr uint64, limit int) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	start := len(b)
	b = append(b, '"')
	for shown := 0; shown < limit; {
		step := min(traceCopyStep-int(addr%traceCopyStep), limit-shown)
		s := g.read(mem, addr, step)
		for _, c := range s {
			if c == 0 {
				return append(b, '"')
			}
			b = appendEscaped(b, c)
		}
		if len(s) < step {
			return appendPtr(b[:start], addr)
		}
		shown += step
		addr += uint64(step)
	}
	return append(b, `"...`...)
}

// appendBuffer renders n bytes, of which at most max are shown.
func (g *guestView) appendBuffer(b []byte, mem *[]byte, addr, n uint64) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	want := int(min(n, uint64(g.max)))
	s := g.read(mem, addr, want)
	if len(s) < want {
		return appendPtr(b, addr)
	}
	return appendQuoted(b, s, n > uint64(want))
}

// appendQuoted renders bytes as a C string.
func appendQuoted(b, s []byte, more bool) []byte {
	b = append(b, '"')
	for _, c := range s {
		b = appendEscaped(b, c)
	}
	b = append(b, '"')
	if more {
		b = append(b, "..."...)
	}
	return b
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(b, `\n`...)
	case '\t':
		return append(b, `\t`...)
	case '\r':
		return append(b, `\r`...)
	case '"', '\\':
		return append(b, '\\', c)
	}
	if c >= 0x20 && c < 0x7f {
		return append(b, c)
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'x', hex[c>>4], hex[c&15])
}

// appendStrings renders argv or envp.
func (g *guestView) appendStrings(b []byte, mem *[]byte, addr uint64) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	start := len(b)
	b = append(b, '[')
	for i := range maxTraceVec {
		p := g.read(mem, addr+uint64(i)*8, 8)
		if len(p) < 8 {
			return appendPtr(b[:start], addr)
		}
		ptr := native.Uint64(p)
		if ptr == 0 {
			return append(b, ']')
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		b = g.appendString(b, mem, ptr, g.max)
	}
	return append(b, ", ...]"...)
}

// appendFD renders a descriptor and, if it is open, what it is.
func appendFD(b []byte, t *kernel.Task, fd int32) []byte {
	b = strconv.AppendInt(b, int64(fd), 10)
	if t == nil || t.FDs() == nil || fd < 0 {
		return b
	}
	f := t.FDs().Get(fd)
	if f == nil {
		return b
	}
	defer f.DecRef()
	name := fileName(t, f)
	if name == "" {
		return b
	}
	b = append(b, '<')
	for i := range len(name) {
		b = appendEscaped(b, name[i])
	}
	return append(b, '>')
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
