package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// The vsyscall page, where old programs call gettimeofday(2), time(2) and
// getcpu(2): three entries of 1024 bytes at a fixed address of the kernel's
// half. It can't be mapped, so a jump there is a fault, which is answered as
// Linux does with vsyscall=xonly.
const (
	vsyscallPage  = 0xffffffffff600000
	vsyscallEntry = 1024
)

var vsyscalls = [...]uint64{unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_GETCPU}

// vsyscall answers a call of the vsyscall page, if that is what a fault is:
// it makes the system call and returns to the caller.
func (t *Task) vsyscall() bool {
	r := t.ctx.Regs()
	off := r.Rip - vsyscallPage
	if off%vsyscallEntry != 0 || off/vsyscallEntry >= uint64(len(vsyscalls)) {
		return false
	}
	back, err := t.CopyInUint64(r.Rsp)
	if err != nil {
		return false
	}
	nr := vsyscalls[off/vsyscallEntry]
	args := Args{r.Rdi, r.Rsi, r.Rdx}
	v, err := t.k.Syscalls.Dispatch(t, nr, args)
	if err == unix.EFAULT {
		info := &abi.Siginfo{Signo: int32(unix.SIGSEGV), Code: abi.SEGV_MAPERR}
		info.SetAddr(r.Rdi)
		t.ForceSignal(info)
		return true
	}
	r.Rax = uint64(v)
	if err != nil {
		r.Rax = negative(errnoOf(err))
	}
	r.Rip = back
	r.Rsp += 8
	t.checkRip()
	return true
}
