package syscalls

import (
	"unsafe"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// copyInExtensible fills v from a structure of size bytes that the guest was
// built with, as copy_struct_from_user does: what the guest's lacks is zero,
// and what it has more must be zero, else E2BIG. size has been bounded.
func copyInExtensible[T any](t *kernel.Task, addr, size uint64, v *T) error {
	known := uint64(unsafe.Sizeof(*v))
	dst := unsafe.Slice((*byte)(unsafe.Pointer(v)), known)
	n := min(size, known)
	if _, err := t.CopyIn(addr, dst[:n]); err != nil {
		return err
	}
	for rest := make([]byte, min(size-n, 256)); n < size; {
		step := min(uint64(len(rest)), size-n)
		if _, err := t.CopyIn(addr+n, rest[:step]); err != nil {
			return err
		}
		for _, b := range rest[:step] {
			if b != 0 {
				return unix.E2BIG
			}
		}
		n += step
	}
	return nil
}
