package syscalls

import (
	"strconv"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

var sigactionFlags = &FlagSet{Names: []FlagName{
	{abi.SA_NOCLDSTOP, "SA_NOCLDSTOP"}, {abi.SA_NOCLDWAIT, "SA_NOCLDWAIT"}, {abi.SA_SIGINFO, "SA_SIGINFO"},
	{abi.SA_ONSTACK, "SA_ONSTACK"}, {abi.SA_RESTART, "SA_RESTART"}, {abi.SA_NODEFER, "SA_NODEFER"},
	{abi.SA_RESETHAND, "SA_RESETHAND"}, {abi.SA_RESTORER, "SA_RESTORER"},
}}

var sigactionLayout = layout{size: abi.SigactionSize, render: appendSigaction}

// appendSigaction renders struct kernel_sigaction.
func appendSigaction(b, s []byte) []byte {
	b = append(b, "{sa_handler="...)
	switch h := native.Uint64(s); h {
	case abi.SIG_DFL:
		b = append(b, "SIG_DFL"...)
	case abi.SIG_IGN:
		b = append(b, "SIG_IGN"...)
	default:
		b = appendHex(b, h)
	}
	b = append(b, ", sa_mask="...)
	b = appendSigSet(b, native.Uint64(s[24:]))
	b = append(b, ", sa_flags="...)
	b = sigactionFlags.append(b, native.Uint64(s[8:]), true)
	return append(b, '}')
}

var sigStackLayout = layout{size: 24, fields: []field{
	{name: "ss_sp", size: 8, kind: Addr},
	{name: "ss_flags", offset: 8, size: 4, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{abi.SS_ONSTACK, "SS_ONSTACK"}, {abi.SS_DISABLE, "SS_DISABLE"}, {abi.SS_AUTODISARM, "SS_AUTODISARM"},
	}}},
	{name: "ss_size", offset: 16, size: 8, kind: Unsigned},
}}

// sigeventFields are those of struct sigevent that all kinds of notification have.
var sigeventFields = []field{
	{name: "sigev_value", size: 8, kind: Hex}, {name: "sigev_signo", offset: 8, size: 4, kind: Signal},
	{name: "sigev_notify", offset: 12, size: 4, kind: Enum, flags: &FlagSet{Names: []FlagName{
		{kernel.SigevSignal, "SIGEV_SIGNAL"}, {kernel.SigevNone, "SIGEV_NONE"},
		{kernel.SigevThread, "SIGEV_THREAD"}, {kernel.SigevThreadID, "SIGEV_THREAD_ID"},
	}}},
}

// appendSigevent renders struct sigevent.
func appendSigevent(b, s []byte) []byte {
	b = appendFields(append(b, '{'), s, sigeventFields)
	if native.Uint32(s[12:]) == kernel.SigevThreadID {
		b = append(b, ", sigev_notify_thread_id="...)
		b = strconv.AppendInt(b, int64(int32(native.Uint32(s[16:]))), 10)
	}
	return append(b, '}')
}

func appendSigSetBytes(b, s []byte) []byte { return appendSigSet(b, native.Uint64(s)) }

// appendSigSet renders [INT CHLD], or ~[...] for sets that hold most.
func appendSigSet(b []byte, set uint64) []byte {
	ones := 0
	for s := set; s != 0; s &= s - 1 {
		ones++
	}
	if ones > 40 {
		b = append(b, '~')
		set = ^set
	}
	b = append(b, '[')
	first := true
	for n := int32(1); n <= 64; n++ {
		if set>>uint(n-1)&1 == 0 {
			continue
		}
		if !first {
			b = append(b, ' ')
		}
		first = false
		start := len(b)
		b = appendSignal(b, n)
		if len(b)-start > 3 && string(b[start:start+3]) == "SIG" {
			b = append(b[:start], b[start+3:]...)
		}
	}
	return append(b, ']')
}

// appendSigSetArg renders the structure that pselect6(2)'s last argument
// points to: the address of a signal set and its size.
func (g *guestView) appendSigSetArg(b []byte, mem *[]byte, addr, _ uint64) []byte {
	s := g.read(mem, addr, 16)
	if len(s) < 16 {
		return appendPtr(b, addr)
	}
	at, size := native.Uint64(s), native.Uint64(s[8:])
	b = append(b, "{sigmask="...)
	if set := g.read(mem, at, 8); at != 0 && len(set) == 8 {
		b = appendSigSetBytes(b, set)
	} else {
		b = appendPtr(b, at)
	}
	b = append(b, ", sigsetsize="...)
	b = strconv.AppendUint(b, size, 10)
	return append(b, '}')
}

var siginfoLayout = layout{size: abi.SiginfoSize, render: appendSiginfo}

// The values of si_code that mean the same for all signals, and SIGCHLD's;
// sigaction(2).
var (
	siginfoCodes = &FlagSet{Names: []FlagName{
		{abi.SI_USER, "SI_USER"}, {abi.SI_KERNEL, "SI_KERNEL"}, {code(abi.SI_QUEUE), "SI_QUEUE"},
		{code(abi.SI_TIMER), "SI_TIMER"}, {code(abi.SI_MESGQ), "SI_MESGQ"}, {code(abi.SI_ASYNCIO), "SI_ASYNCIO"},
		{code(abi.SI_SIGIO), "SI_SIGIO"}, {code(abi.SI_TKILL), "SI_TKILL"},
	}}
	childCodes = &FlagSet{Names: []FlagName{
		{1, "CLD_EXITED"}, {2, "CLD_KILLED"}, {3, "CLD_DUMPED"}, {4, "CLD_TRAPPED"}, {5, "CLD_STOPPED"}, {6, "CLD_CONTINUED"},
	}}
)

// code is a negative si_code as FlagSet keeps values.
func code(c int32) uint64 { return uint64(uint32(c)) }

// appendSiginfo renders siginfo_t: of the union what the code says is there.
func appendSiginfo(b, s []byte) []byte {
	info := abi.ParseSiginfo((*[abi.SiginfoSize]byte)(s))
	if info.Signo == 0 {
		return append(b, "{}"...) // waitid(2) found no child
	}
	b = append(b, "{si_signo="...)
	b = appendSignal(b, info.Signo)
	b = append(b, ", si_code="...)
	child := info.Signo == int32(unix.SIGCHLD) && info.Code > 0 && info.Code < abi.SI_KERNEL
	if child {
		b = childCodes.append(b, code(info.Code), false)
	} else {
		b = siginfoCodes.append(b, code(info.Code), false)
	}
	number := func(name string, v int64) {
		b = append(append(append(b, ", "...), name...), '=')
		b = strconv.AppendInt(b, v, 10)
	}
	address := func(name string, v uint64) {
		b = append(append(append(b, ", "...), name...), '=')
		b = appendPtr(b, v)
	}
	switch {
	case child:
		number("si_pid", int64(info.PID()))
		number("si_uid", int64(info.UID()))
		if b = append(b, ", si_status="...); info.Code == 1 { // CLD_EXITED
			b = strconv.AppendInt(b, int64(info.Status()), 10)
		} else {
			b = appendSignal(b, info.Status())
		}
	case info.Code == abi.SI_USER, info.Code == abi.SI_TKILL:
		number("si_pid", int64(info.PID()))
		number("si_uid", int64(info.UID()))
	case info.Code == abi.SI_TIMER:
		number("si_timerid", int64(info.TimerID()))
		number("si_overrun", int64(info.Overrun()))
		address("si_value", info.Value())
	case info.Code < 0:
		number("si_pid", int64(info.PID()))
		number("si_uid", int64(info.UID()))
		address("si_value", info.Value())
	case info.Code != abi.SI_KERNEL && info.Signo == int32(unix.SIGIO):
		number("si_band", info.Band())
		number("si_fd", int64(info.FD()))
	case info.Code != abi.SI_KERNEL:
		address("si_addr", info.Addr())
	}
	return append(b, '}')
}
