package boot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allThreads makes a call on every thread of the process.
func allThreads(call, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a1, a2, a3); errno != 0 {
		return errno
	}
	return nil
}

// capset sets the permitted and effective sets to keep on every thread and
// clears the inheritable one.
func capset(keep uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(keep), Permitted: uint32(keep)},
		{Effective: uint32(keep >> 32), Permitted: uint32(keep >> 32)},
	}
	return allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
}
