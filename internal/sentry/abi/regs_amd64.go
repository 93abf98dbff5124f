package abi

import "golang.org/x/sys/unix"

// Regs is the guest's integer register file, in the layout of Linux's
// user_regs_struct. Orig_rax holds the number of the system call that was
// made, or -1 when the task entered the kernel in another way.
type Regs = unix.PtraceRegs
