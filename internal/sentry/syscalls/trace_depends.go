package syscalls

import (
	"sync"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// The functions of this file say what an argument is that other arguments of
// the call explain; see Param.Depends.

// isKind is a Param of a kind.
func isKind(k Kind) Param { return Param{Kind: k} }

// openMode is open(2)'s mode, which is there if flags, argument i, create a
// file.
func openMode(i int) func(kernel.Args) Param {
	return func(a kernel.Args) Param {
		if a[i]&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
			return isKind(None)
		}
		return isKind(Mode)
	}
}

// optionName is the name of a socket option, whose level is argument 1.
func optionName(a kernel.Args) Param {
	if names := optionNames(a.Int(1)); names != nil {
		return Param{Kind: Enum, Flags: names}
	}
	return isKind(Dec)
}

var fdFlags = &FlagSet{Names: []FlagName{{unix.FD_CLOEXEC, "FD_CLOEXEC"}}}

// fcntlArg is fcntl(2)'s last argument.
func fcntlArg(a kernel.Args) Param {
	switch a.Int(1) {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETPIPE_SZ, unix.F_GET_SEALS, unix.F_GETSIG, unix.F_GETLEASE:
		return isKind(None)
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETOWN, unix.F_SETPIPE_SZ:
		return isKind(Dec)
	case unix.F_SETFD:
		return Param{Kind: Flags, Flags: fdFlags}
	case unix.F_SETFL:
		return Param{Kind: Flags, Flags: openFlags}
	case unix.F_SETSIG:
		return isKind(Signal)
	case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return isKind(Flock)
	case unix.F_GETLK, unix.F_OFD_GETLK:
		return isKind(InOutFlock)
	}
	return isKind(Hex)
}

// ioctlKinds are the kinds of ioctl(2)'s last argument, by the request.
var ioctlKinds = sync.OnceValue(func() map[uint32]Kind {
	return map[uint32]Kind{
		fionread: OutInt, fionbio: Int, fionclex: None, fioclex: None, fioasync: Int, fioqsize: OutLong, figetbsz: OutInt,
		unix.TCGETS: OutTermios, unix.TCSETS: Termios, unix.TCSETSW: Termios, unix.TCSETSF: Termios,
		unix.TCGETS2: OutTermios, unix.TCSETS2: Termios, unix.TCSETSW2: Termios, unix.TCSETSF2: Termios,
		unix.TCSBRK: Dec, unix.TCSBRKP: Dec, unix.TCXONC: Dec, unix.TCFLSH: Dec,
		unix.TIOCGWINSZ: OutWinsize, unix.TIOCSWINSZ: Winsize, unix.TIOCGPGRP: OutInt, unix.TIOCSPGRP: Int,
		unix.TIOCGSID: OutInt, unix.TIOCSCTTY: Dec, unix.TIOCNOTTY: None, unix.TIOCOUTQ: OutInt,
		unix.TIOCGPTN: OutInt, unix.TIOCSPTLCK: Int, unix.TIOCPKT: Int, unix.TIOCEXCL: None, unix.TIOCNXCL: None,
	}
})

// ioctlArg is ioctl(2)'s last argument.
func ioctlArg(a kernel.Args) Param {
	request := a.Uint(1)
	if k, ok := ioctlKinds()[request]; ok {
		return isKind(k)
	}
	if request == unix.TIOCGPTPEER {
		return Param{Kind: Flags, Flags: openFlags}
	}
	return isKind(Hex)
}

// prctlKinds are the kinds of what follows prctl(2)'s option. The arguments
// of options that are not here are shown as numbers.
var prctlKinds = sync.OnceValue(func() map[int32][4]Kind {
	return map[int32][4]Kind{
		unix.PR_SET_PDEATHSIG: {Signal, None, None, None}, unix.PR_GET_PDEATHSIG: {OutInt, None, None, None},
		unix.PR_SET_DUMPABLE: {Dec, None, None, None}, unix.PR_GET_DUMPABLE: {None, None, None, None},
		unix.PR_SET_KEEPCAPS: {Dec, None, None, None}, unix.PR_GET_KEEPCAPS: {None, None, None, None},
		unix.PR_SET_NAME: {Str, None, None, None}, unix.PR_GET_NAME: {OutStr, None, None, None},
		unix.PR_CAPBSET_READ: {Dec, None, None, None}, unix.PR_CAPBSET_DROP: {Dec, None, None, None},
		unix.PR_SET_SECCOMP:         {Dec, SockFprog, None, None},
		unix.PR_GET_TSC:             {OutInt, None, None, None},
		unix.PR_SET_TIMERSLACK:      {Unsigned, None, None, None},
		unix.PR_GET_TIMERSLACK:      {None, None, None, None},
		unix.PR_SET_NO_NEW_PRIVS:    {Dec, Dec, Dec, Dec},
		unix.PR_GET_NO_NEW_PRIVS:    {Dec, Dec, Dec, Dec},
		unix.PR_GET_TID_ADDRESS:     {OutAddr, None, None, None},
		unix.PR_SET_VMA:             {Dec, Addr, Unsigned, Str},
		prGetAuxv:                   {Addr, Unsigned, Dec, Dec},
		unix.PR_GET_SECUREBITS:      {None, None, None, None},
		unix.PR_SET_CHILD_SUBREAPER: {Dec, None, None, None}, unix.PR_GET_CHILD_SUBREAPER: {OutInt, None, None, None},
	}
})

// prctlArg is argument i of prctl(2).
func prctlArg(i int) func(kernel.Args) Param {
	return func(a kernel.Args) Param {
		if kinds, ok := prctlKinds()[a.Int(0)]; ok {
			return isKind(kinds[i-1])
		}
		return isKind(Hex)
	}
}

// archPrctlArg is arch_prctl(2)'s second argument.
func archPrctlArg(a kernel.Args) Param {
	switch a.Int(0) {
	case archSetFS, archSetGS:
		return isKind(Addr)
	case archGetFS, archGetGS:
		return isKind(OutAddr)
	case archGetCPUID:
		return isKind(None)
	case archSetCPUID:
		return isKind(Dec)
	}
	return isKind(Hex)
}

// semArg is semctl(2)'s last argument.
func semArg(a kernel.Args) Param {
	switch a.Int(2) &^ ipc64 {
	case semSetval:
		return isKind(Dec)
	case semGetall:
		return isKind(OutSemValues)
	case semSetall:
		return isKind(SemValues)
	case ipcSet:
		return isKind(SemDS)
	case ipcStat, semStat, semStatAny:
		return isKind(OutSemDS)
	case ipcRmid, semGetpid, semGetval, semGetncnt, semGetzcnt:
		return isKind(None)
	}
	return isKind(Addr) // the limits of IPC_INFO
}

// msgArg is msgctl(2)'s last argument.
func msgArg(a kernel.Args) Param {
	switch a.Int(1) &^ ipc64 {
	case ipcSet:
		return isKind(MsgDS)
	case ipcStat, msgStat, msgStatAny:
		return isKind(OutMsgDS)
	}
	return isKind(Addr)
}

// shmArg is shmctl(2)'s last argument.
func shmArg(a kernel.Args) Param {
	switch a.Int(1) &^ ipc64 {
	case ipcSet:
		return isKind(ShmDS)
	case ipcStat, shmStat, shmStatAny:
		return isKind(OutShmDS)
	}
	return isKind(Addr)
}

// seccompArg is seccomp(2)'s last argument.
func seccompArg(a kernel.Args) Param {
	switch a.Int(0) {
	case unix.SECCOMP_SET_MODE_FILTER:
		return isKind(SockFprog)
	case unix.SECCOMP_GET_ACTION_AVAIL:
		return isKind(Int)
	case unix.SECCOMP_GET_NOTIF_SIZES:
		return isKind(OutNotifSizes)
	}
	return isKind(Addr)
}

// futexArg is argument i, of the last three, of futex(2), whose operation says
// how many of them there are.
func futexArg(i int) func(kernel.Args) Param {
	return func(a kernel.Args) Param {
		kinds := [3]Kind{Timespec, Addr, Hex}
		last := 5
		switch a.Int(1) &^ (abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME) {
		case abi.FUTEX_WAKE, abi.FUTEX_UNLOCK_PI, abi.FUTEX_TRYLOCK_PI, abi.FUTEX_FD:
			last = 2
		case abi.FUTEX_WAIT, abi.FUTEX_LOCK_PI, abi.FUTEX_LOCK_PI2:
			last = 3
		case abi.FUTEX_REQUEUE:
			kinds[0], last = Unsigned, 4
		case abi.FUTEX_CMP_REQUEUE, abi.FUTEX_CMP_REQUEUE_PI, abi.FUTEX_WAKE_OP:
			kinds[0] = Unsigned
		}
		if i > last {
			return isKind(None)
		}
		return isKind(kinds[i-3])
	}
}
