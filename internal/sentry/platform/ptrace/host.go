package ptrace

import (
	"syscall"
	"unsafe"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// request makes a ptrace(2) request with a number for its data.
func request(req, tid int, data uintptr) error {
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, uintptr(req), uintptr(tid), 0, data, 0, 0); e != 0 {
		return e
	}
	return nil
}

func getRegs(tid int, regs *abi.Regs) error {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, unix.PTRACE_GETREGS, uintptr(tid), 0, uintptr(unsafe.Pointer(regs)), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func setRegs(tid int, regs *abi.Regs) error {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, unix.PTRACE_SETREGS, uintptr(tid), 0, uintptr(unsafe.Pointer(regs)), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// is64 reports whether a tracee that stopped at a system call made it by the
// 64-bit entry.
func is64(tid int) bool {
	var info struct {
		op   uint8
		_    [3]uint8
		arch uint32
		_    [80]byte
	}
	const getSyscallInfo, auditArchX8664 = 0x420e, 0xc000003e
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return e != 0 || info.arch == auditArchX8664
}

// stopped is why a tracee stopped: a signal, with 0x80 for a system call, and
// a PTRACE_EVENT_* or 0.
type stopped struct {
	sig   unix.Signal
	event int
}

// wait waits until the tracee stops; false if it has ended instead.
func wait(tid int) (stopped, bool) {
	for {
		var status uint32
		_, _, e := syscall.Syscall6(syscall.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || status&0xff != 0x7f {
			return stopped{}, false
		}
		return stopped{unix.Signal(status >> 8 & 0xff), int(status >> 16)}, true
	}
}

// reap waits for a tracee that is about to end.
func reap(tid int) {
	for {
		if _, ok := wait(tid); !ok {
			return
		}
		// Stopped on its way out.
		if request(unix.PTRACE_CONT, tid, 0) != nil {
			return
		}
	}
}
