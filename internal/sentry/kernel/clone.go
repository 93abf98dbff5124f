package kernel

import "golang.org/x/sys/unix"

// CloneArgs are clone3(2)'s arguments, as far as they reach the kernel.
type CloneArgs struct {
	Flags      uint64
	PIDFD      uint64 // where the pidfd's number is stored, with CLONE_PIDFD
	ChildTID   uint64
	ParentTID  uint64
	ExitSignal int32
	// Stack is what the child's stack pointer is set to; 0 keeps the parent's.
	Stack uint64
	TLS   uint64
}

// Clone makes a new task, and with CLONE_VFORK waits until it has let go of
// the memory. It returns the child's TID.
func (t *Task) Clone(a *CloneArgs) (int32, error) { return 0, unix.ENOSYS }
