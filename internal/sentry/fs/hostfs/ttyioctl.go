package hostfs

import (
	"encoding/binary"
	"maps"
	"slices"
	"unsafe"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The sizes of the structures that ioctls of terminals take (asm/termbits.h).
const (
	sizeTermios  = 36
	sizeTermios2 = 44
	sizeWinsize  = 8
)

// ttyCall says what an ioctl on a terminal moves: so many bytes to the host,
// from it, or (for neither) its argument's value.
type ttyCall struct {
	size    int
	in, out bool
}

// ttyCalls are the requests that a host terminal answers for the guest. Those
// that speak of processes (TIOCGPGRP and its like) or put words in the user's
// mouth (TIOCSTI, TIOCLINUX) are not among them.
var ttyCalls = map[uint32]ttyCall{
	unix.TCGETS:     {size: sizeTermios, out: true},
	unix.TCSETS:     {size: sizeTermios, in: true},
	unix.TCSETSW:    {size: sizeTermios, in: true},
	unix.TCSETSF:    {size: sizeTermios, in: true},
	unix.TCGETS2:    {size: sizeTermios2, out: true},
	unix.TCSETS2:    {size: sizeTermios2, in: true},
	unix.TCSETSW2:   {size: sizeTermios2, in: true},
	unix.TCSETSF2:   {size: sizeTermios2, in: true},
	unix.TIOCGWINSZ: {size: sizeWinsize, out: true},
	unix.TIOCOUTQ:   {size: 4, out: true},
	unix.TCFLSH:     {},
	unix.TCXONC:     {},
	unix.TCSBRK:     {},
	unix.TCSBRKP:    {},
}

// TerminalRequests are the ioctls that this package makes on a donated
// terminal, in ascending order, for the sentry's seccomp filter.
func TerminalRequests() []uint32 { return slices.Sorted(maps.Keys(ttyCalls)) }

// Ioctl implements vfs.File.
func (f *donated) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	d := f.inode.donor
	if cmd == unix.TIOCINQ {
		return 0, f.pending(c, arg)
	}
	call, ok := ttyCalls[cmd]
	if !ok || !d.tty {
		return 0, unix.ENOTTY
	}
	var buf [sizeTermios2]byte
	if call.in {
		if _, err := c.CopyIn(arg, buf[:call.size]); err != nil {
			return 0, err
		}
	}
	var e unix.Errno
	if call.size > 0 {
		_, _, e = unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), uintptr(cmd), uintptr(unsafe.Pointer(&buf)))
	} else {
		_, _, e = unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), uintptr(cmd), uintptr(uint32(arg)))
	}
	if e != 0 {
		return 0, e
	}
	if call.out {
		if _, err := c.CopyOut(arg, buf[:call.size]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// pending answers FIONREAD: how many bytes can be read now.
func (f *donated) pending(c vfs.Caller, arg uint64) error {
	n, err := unix.IoctlGetInt(f.inode.donor.fd, unix.TIOCINQ)
	if err != nil {
		return err
	}
	if f.inode.donor.stored && f.desc != nil {
		end, err := size(f.inode.donor.fd)
		if err != nil {
			return err
		}
		n = int(end - f.desc.Offset())
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	_, err = c.CopyOut(arg, b[:])
	return err
}
