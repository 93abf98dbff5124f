package syscalls

import (
	"sync"
	"unsafe"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func ptraceRows() []Row {
	return []Row{
		partial(101, "ptrace", sysPtrace,
			"no hardware breakpoints or watchpoints (the debug registers read as 0 and take nothing else), no PTRACE_SINGLEBLOCK, no thread area; PTRACE_O_SUSPEND_SECCOMP is EINVAL",
			PF("op", Enum, ptraceRequests), P("pid", Dec), P("addr", Hex), P("data", Hex)),
	}
}

// Requests and the like (linux/ptrace.h, asm/ptrace-abi.h) that x/sys/unix
// lacks.
const (
	ptraceArchPrctl     = 30
	ptraceSysemuStep    = 32
	ptracePeeksigShared = 1
	ptraceInfoEntry     = 1
	ptraceInfoExit      = 2
	ptraceInfoSeccomp   = 3
	ptraceStopSysgood   = 0x80
	ptracePeeksigMost   = 1024 // siginfos at a time; the guest asks again
)

var ptraceRequests = &FlagSet{Names: []FlagName{
	{unix.PTRACE_TRACEME, "PTRACE_TRACEME"}, {unix.PTRACE_PEEKTEXT, "PTRACE_PEEKTEXT"}, {unix.PTRACE_PEEKDATA, "PTRACE_PEEKDATA"},
	{unix.PTRACE_PEEKUSR, "PTRACE_PEEKUSER"}, {unix.PTRACE_POKETEXT, "PTRACE_POKETEXT"}, {unix.PTRACE_POKEDATA, "PTRACE_POKEDATA"},
	{unix.PTRACE_POKEUSR, "PTRACE_POKEUSER"}, {unix.PTRACE_CONT, "PTRACE_CONT"}, {unix.PTRACE_KILL, "PTRACE_KILL"},
	{unix.PTRACE_SINGLESTEP, "PTRACE_SINGLESTEP"}, {unix.PTRACE_GETREGS, "PTRACE_GETREGS"}, {unix.PTRACE_SETREGS, "PTRACE_SETREGS"},
	{unix.PTRACE_GETFPREGS, "PTRACE_GETFPREGS"}, {unix.PTRACE_SETFPREGS, "PTRACE_SETFPREGS"}, {unix.PTRACE_ATTACH, "PTRACE_ATTACH"},
	{unix.PTRACE_DETACH, "PTRACE_DETACH"}, {unix.PTRACE_SYSCALL, "PTRACE_SYSCALL"}, {ptraceArchPrctl, "PTRACE_ARCH_PRCTL"},
	{unix.PTRACE_SYSEMU, "PTRACE_SYSEMU"}, {ptraceSysemuStep, "PTRACE_SYSEMU_SINGLESTEP"},
	{unix.PTRACE_SETOPTIONS, "PTRACE_SETOPTIONS"}, {unix.PTRACE_GETEVENTMSG, "PTRACE_GETEVENTMSG"},
	{unix.PTRACE_GETSIGINFO, "PTRACE_GETSIGINFO"}, {unix.PTRACE_SETSIGINFO, "PTRACE_SETSIGINFO"},
	{unix.PTRACE_GETREGSET, "PTRACE_GETREGSET"}, {unix.PTRACE_SETREGSET, "PTRACE_SETREGSET"}, {unix.PTRACE_SEIZE, "PTRACE_SEIZE"},
	{unix.PTRACE_INTERRUPT, "PTRACE_INTERRUPT"}, {unix.PTRACE_LISTEN, "PTRACE_LISTEN"}, {unix.PTRACE_PEEKSIGINFO, "PTRACE_PEEKSIGINFO"},
	{unix.PTRACE_GETSIGMASK, "PTRACE_GETSIGMASK"}, {unix.PTRACE_SETSIGMASK, "PTRACE_SETSIGMASK"},
	{unix.PTRACE_SECCOMP_GET_FILTER, "PTRACE_SECCOMP_GET_FILTER"}, {unix.PTRACE_GET_SYSCALL_INFO, "PTRACE_GET_SYSCALL_INFO"},
}}

// ptraceFunc answers a request that t makes about the stopped task o. addr and
// data are ptrace(2)'s arguments.
type ptraceFunc func(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error)

var ptraceFuncs = sync.OnceValue(func() map[uint64]ptraceFunc {
	return map[uint64]ptraceFunc{
		unix.PTRACE_PEEKTEXT:           ptracePeek,
		unix.PTRACE_PEEKDATA:           ptracePeek,
		unix.PTRACE_POKETEXT:           ptracePoke,
		unix.PTRACE_POKEDATA:           ptracePoke,
		unix.PTRACE_PEEKUSR:            ptracePeekUser,
		unix.PTRACE_POKEUSR:            ptracePokeUser,
		unix.PTRACE_CONT:               ptraceResume(kernel.ResumeFreely),
		unix.PTRACE_SYSCALL:            ptraceResume(kernel.ResumeSyscall),
		unix.PTRACE_SYSEMU:             ptraceResume(kernel.ResumeEmulate),
		unix.PTRACE_SINGLESTEP:         ptraceResume(kernel.ResumeStep),
		ptraceSysemuStep:               ptraceResume(kernel.ResumeEmulateStep),
		unix.PTRACE_DETACH:             ptraceDetach,
		unix.PTRACE_LISTEN:             ptraceListen,
		unix.PTRACE_SETOPTIONS:         ptraceSetOptions,
		unix.PTRACE_GETEVENTMSG:        ptraceGetMessage,
		unix.PTRACE_GETSIGINFO:         ptraceGetSiginfo,
		unix.PTRACE_SETSIGINFO:         ptraceSetSiginfo,
		unix.PTRACE_PEEKSIGINFO:        ptracePeekSiginfo,
		unix.PTRACE_GETSIGMASK:         ptraceGetMask,
		unix.PTRACE_SETSIGMASK:         ptraceSetMask,
		unix.PTRACE_GETREGS:            ptraceGetRegs,
		unix.PTRACE_SETREGS:            ptraceSetRegs,
		unix.PTRACE_GETFPREGS:          ptraceGetFPRegs,
		unix.PTRACE_SETFPREGS:          ptraceSetFPRegs,
		unix.PTRACE_GETREGSET:          ptraceGetRegset,
		unix.PTRACE_SETREGSET:          ptraceSetRegset,
		ptraceArchPrctl:                ptraceArch,
		unix.PTRACE_GET_SYSCALL_INFO:   ptraceSyscallInfo,
		unix.PTRACE_SECCOMP_GET_FILTER: ptraceGetFilter,
	}
})

// sysPtrace is ptrace(2). A request that there is not is EIO.
func sysPtrace(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[0] == unix.PTRACE_TRACEME {
		return 0, t.TraceMe()
	}
	o := t.PIDs().Task(a.Int(1))
	if o == nil {
		return 0, unix.ESRCH
	}
	switch a[0] {
	case unix.PTRACE_ATTACH:
		return 0, t.Attach(o, false, 0)
	case unix.PTRACE_SEIZE:
		if a[2] != 0 {
			return 0, unix.EIO
		}
		return 0, t.Attach(o, true, a[3])
	case unix.PTRACE_INTERRUPT:
		return 0, t.Interrupt(o)
	case unix.PTRACE_KILL:
		return 0, t.KillTracee(o)
	}
	s, err := t.Stopped(o)
	if err != nil {
		return 0, err
	}
	f := ptraceFuncs()[a[0]]
	if f == nil {
		return 0, unix.EIO
	}
	return f(t, s, a[2], a[3])
}

// ptracePeek reads a word of memory to where data points.
func ptracePeek(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	var word [8]byte
	err := o.Do(func() error {
		_, err := o.MM().ReadRemote(addr, word[:])
		return eio(err)
	})
	if err != nil {
		return 0, err
	}
	_, err = t.CopyOut(data, word[:])
	return 0, err
}

// ptracePoke writes the word data, whatever the memory's protection.
func ptracePoke(_ *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	word := *(*[8]byte)(unsafe.Pointer(&data))
	return 0, o.Do(func() error {
		_, err := o.MM().PokeRemote(addr, word[:])
		return eio(err)
	})
}

// eio is what ptrace(2) says for memory that is not there.
func eio(err error) error {
	if err == unix.EFAULT {
		return unix.EIO
	}
	return err
}

func ptraceResume(mode int32) ptraceFunc {
	return func(_ *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
		sig, err := ptraceSignal(data)
		if err != nil {
			return 0, err
		}
		return 0, o.Resume(mode, sig)
	}
}

// ptraceSignal is the signal that a task is to go on with: EIO if that is none.
func ptraceSignal(data uint64) (int32, error) {
	if data > abi.NumSignals {
		return 0, unix.EIO
	}
	return int32(data), nil
}

func ptraceDetach(_ *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	sig, err := ptraceSignal(data)
	if err != nil {
		return 0, err
	}
	return 0, o.Detach(sig)
}

func ptraceListen(_ *kernel.Task, o kernel.StoppedTask, _, _ uint64) (uintptr, error) {
	return 0, o.Listen()
}

func ptraceSetOptions(_ *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	return 0, o.SetPtraceOptions(data)
}

func ptraceGetMessage(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	return 0, t.CopyOutUint64(data, o.Message())
}

func ptraceGetSiginfo(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	info, err := o.Siginfo()
	if err != nil {
		return 0, err
	}
	b := info.Bytes()
	_, err = t.CopyOut(data, b[:])
	return 0, err
}

func ptraceSetSiginfo(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	var b [abi.SiginfoSize]byte
	if _, err := t.CopyIn(data, b[:]); err != nil {
		return 0, err
	}
	info := abi.ParseSiginfo(&b)
	return 0, o.SetSiginfo(&info)
}

// peekSiginfoArgs is struct ptrace_peeksiginfo_args.
type peekSiginfoArgs struct {
	Off   uint64
	Flags uint32
	Nr    int32
}

// ptracePeekSiginfo returns how many pending siginfos it has copied.
func ptracePeekSiginfo(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	var a peekSiginfoArgs
	if err := kernel.CopyInStruct(t, addr, &a); err != nil {
		return 0, err
	}
	if a.Flags&^ptracePeeksigShared != 0 || a.Nr < 0 {
		return 0, unix.EINVAL
	}
	list := o.QueuedSignals(a.Flags&ptracePeeksigShared != 0, a.Off, int(min(a.Nr, ptracePeeksigMost)))
	for i := range list {
		b := list[i].Bytes()
		if _, err := t.CopyOut(data+uint64(i)*abi.SiginfoSize, b[:]); err != nil {
			if i > 0 {
				err = nil
			}
			return uintptr(i), err
		}
	}
	return uintptr(len(list)), nil
}

func ptraceGetMask(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	if addr != 8 {
		return 0, unix.EINVAL
	}
	var mask abi.SignalSet
	if err := o.Do(func() error {
		mask = o.TraceeMask()
		return nil
	}); err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint64(data, uint64(mask))
}

func ptraceSetMask(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	if addr != 8 {
		return 0, unix.EINVAL
	}
	mask, err := t.CopyInUint64(data)
	if err != nil {
		return 0, err
	}
	return 0, o.Do(func() error {
		o.SetTraceeMask(abi.SignalSet(mask))
		return nil
	})
}

// syscallInfo is struct ptrace_syscall_info; Union begins with the number or
// the result.
type syscallInfo struct {
	Op     uint8
	_      [3]byte
	Arch   uint32
	IP, SP uint64
	Union  [8]uint64
}

// ptraceSyscallInfo is PTRACE_GET_SYSCALL_INFO: it copies what fits, and
// returns how much there is.
func ptraceSyscallInfo(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	info := syscallInfo{Arch: unix.AUDIT_ARCH_X86_64}
	size := unsafe.Offsetof(info.Union)
	err := o.Do(func() error {
		r := o.Context().Regs()
		info.IP, info.SP = r.Rip, r.Rsp
		kind := o.Kind()
		if kind != kernel.StopSeccomp && o.Code()&ptraceStopSysgood == 0 {
			return nil
		}
		switch kind {
		case kernel.StopEntry, kernel.StopSeccomp:
			info.Op = ptraceInfoEntry
			info.Union = [8]uint64{r.Orig_rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
			size += 7 * 8
			if kind == kernel.StopSeccomp {
				info.Op = ptraceInfoSeccomp
				info.Union[7] = o.Message()
				size += 4
			}
		case kernel.StopExit:
			info.Op = ptraceInfoExit
			info.Union[0] = r.Rax
			if e := -int64(r.Rax); e > 0 && e < 4096 {
				info.Union[1] = 1
			}
			size += 8 + 1
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&info)), size)
	if _, err := t.CopyOut(data, b[:min(addr, uint64(size))]); err != nil {
		return 0, err
	}
	return size, nil
}

// ptraceGetFilter is PTRACE_SECCOMP_GET_FILTER: it returns how many
// instructions filter number addr has, and copies them unless data is 0.
func ptraceGetFilter(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	if mode, _ := t.SeccompMode(); !t.Credentials().Can(unix.CAP_SYS_ADMIN) || mode != 0 {
		return 0, unix.EACCES
	}
	code, err := o.SeccompFilterAt(addr)
	if err != nil || data == 0 {
		return uintptr(len(code)), err
	}
	_, err = t.CopyOut(data, unsafe.Slice((*byte)(unsafe.Pointer(&code[0])), len(code)*int(unsafe.Sizeof(code[0]))))
	return uintptr(len(code)), err
}
