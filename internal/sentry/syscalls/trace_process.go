package syscalls

import (
	"strconv"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// appendWaitStatus renders what wait4(2) tells of a child, as the macros of
// wait(2) take it apart.
func appendWaitStatus(b []byte, s uint32) []byte {
	sig := int32(s & 0x7f)
	switch {
	case s == 0xffff:
		return append(b, "[{WIFCONTINUED(s)}]"...)
	case s&0xff == 0x7f:
		b = append(b, "[{WIFSTOPPED(s) && WSTOPSIG(s) == "...)
		b = appendSignal(b, int32(s>>8&0xff))
	case sig == 0:
		b = append(b, "[{WIFEXITED(s) && WEXITSTATUS(s) == "...)
		b = strconv.AppendUint(b, uint64(s>>8&0xff), 10)
	default:
		b = append(b, "[{WIFSIGNALED(s) && WTERMSIG(s) == "...)
		b = appendSignal(b, sig)
		if s&0x80 != 0 {
			b = append(b, " && WCOREDUMP(s)"...)
		}
	}
	return append(b, "}]"...)
}

var sigactionFlags = &FlagSet{Names: []FlagName{
	{abi.SA_NOCLDSTOP, "SA_NOCLDSTOP"}, {abi.SA_NOCLDWAIT, "SA_NOCLDWAIT"}, {abi.SA_SIGINFO, "SA_SIGINFO"},
	{abi.SA_ONSTACK, "SA_ONSTACK"}, {abi.SA_RESTART, "SA_RESTART"}, {abi.SA_NODEFER, "SA_NODEFER"},
	{abi.SA_RESETHAND, "SA_RESETHAND"}, {abi.SA_RESTORER, "SA_RESTORER"},
}}

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

// appendCloneArgs renders the first version of struct clone_args, but for what
// is 0.
func appendCloneArgs(b, s []byte) []byte {
	b = append(b, "{flags="...)
	b = cloneFlags.append(b, native.Uint64(s)|native.Uint64(s[32:])&0xff, true)
	for i, name := range [...]string{1: "pidfd", 2: "child_tid", 3: "parent_tid", 5: "stack", 6: "stack_size", 7: "tls"} {
		if v := native.Uint64(s[8*i:]); name != "" && v != 0 {
			b = append(append(append(b, ", "...), name...), '=')
			b = appendHex(b, v)
		}
	}
	return append(b, '}')
}

var fdFlags = &FlagSet{Names: []FlagName{{unix.FD_CLOEXEC, "FD_CLOEXEC"}}}

var lockTypes = &FlagSet{Names: []FlagName{
	{unix.F_RDLCK, "F_RDLCK"}, {unix.F_WRLCK, "F_WRLCK"}, {unix.F_UNLCK, "F_UNLCK"},
}}

// appendFcntlArg renders fcntl(2)'s last argument, which the command before it
// explains; nothing where there is none.
func (g *guestView) appendFcntlArg(b []byte, mem *[]byte, cmd int32, v uint64) []byte {
	switch cmd {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETPIPE_SZ, unix.F_GET_SEALS, unix.F_GETSIG, unix.F_GETLEASE:
		return b
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETOWN, unix.F_SETPIPE_SZ:
		return strconv.AppendInt(b, signed(v), 10)
	case unix.F_SETFD:
		return fdFlags.append(b, v, true)
	case unix.F_SETFL:
		return openFlags.append(b, v, true)
	case unix.F_SETSIG:
		return appendSignal(b, int32(v))
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		s := g.read(mem, v, 32)
		if len(s) < 32 {
			return appendPtr(b, v)
		}
		b = append(b, "{l_type="...)
		b = lockTypes.append(b, uint64(native.Uint16(s)), false)
		b = append(b, ", l_whence="...)
		b = strconv.AppendUint(b, uint64(native.Uint16(s[2:])), 10)
		b = append(b, ", l_start="...)
		b = strconv.AppendInt(b, int64(native.Uint64(s[8:])), 10)
		b = append(b, ", l_len="...)
		b = strconv.AppendInt(b, int64(native.Uint64(s[16:])), 10)
		return append(b, '}')
	}
	return appendHex(b, v)
}

var epollEventNames = &FlagSet{Names: append(epollNames(), []FlagName{
	{unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"}, {unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"}, {unix.EPOLLET, "EPOLLET"},
}...)}

// appendEpollEvent renders struct epoll_event.
func appendEpollEvent(b, s []byte) []byte {
	b = append(b, "{events="...)
	b = epollEventNames.append(b, uint64(native.Uint32(s)), true)
	b = append(b, ", data="...)
	b = appendHex(b, native.Uint64(s[4:]))
	return append(b, '}')
}

// epollEventSize is the size of struct epoll_event, which is packed.
const epollEventSize = 12

// appendEpollEvents renders the n events that epoll_wait(2) stored.
func (g *guestView) appendEpollEvents(b []byte, mem *[]byte, addr, n uint64) []byte {
	start := len(b)
	b = append(b, '[')
	for i := range min(n, maxTraceVec) {
		if i > 0 {
			b = append(b, ", "...)
		}
		s := g.read(mem, addr+i*epollEventSize, epollEventSize)
		if len(s) < epollEventSize {
			return appendPtr(b[:start], addr)
		}
		b = appendEpollEvent(b, s)
	}
	if n > maxTraceVec {
		b = append(b, ", ..."...)
	}
	return append(b, ']')
}

// epollNames are poll(2)'s names as epoll has them.
func epollNames() []FlagName {
	names := make([]FlagName, 0, len(pollEvents.Names)+4)
	for _, n := range pollEvents.Names {
		names = append(names, FlagName{n.Value, "E" + n.Name})
	}
	return names
}
