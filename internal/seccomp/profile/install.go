package profile

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install puts the filter on the calling thread, which is to call execve(2): that ends the
// others. They are never filtered, whatever the profile's flags say: Go's runtime makes calls
// on them until then, of which the profile need not know. Without no_new_privs the thread needs
// CAP_SYS_ADMIN in its user namespace. The listener, close-on-exec, is nil
// unless Notify is set.
//
// The calling thread makes no other system call: from then on any may be
// refused it.
func (p *Program) Install() (listener *os.File, err error) {
	if p == nil {
		return nil, nil
	}
	// Without a listener the flag means nothing, and Linux refuses it.
	flags := p.Flags &^ (unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if p.Notify {
		flags = p.Flags&^unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fprog := unix.SockFprog{Len: uint16(len(p.Filter)), Filter: &p.Filter[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno == unix.EACCES:
		err = fmt.Errorf("%w: the process may not, since it has neither no_new_privs nor CAP_SYS_ADMIN; set process.noNewPrivileges", errno)
	case errno == unix.EINVAL:
		err = fmt.Errorf("%w: this kernel does not know one of the flags (%#x) or actions of linux.seccomp, or was built without seccomp filters", errno, flags)
	case errno == unix.EBUSY:
		err = fmt.Errorf("%w: a filter of the process has a listener already, and there can be one only; leave SCMP_ACT_NOTIFY out", errno)
	case errno != 0:
		err = errno
	case p.Notify:
		return os.NewFile(r, "seccomp listener"), nil
	default:
		return nil, nil
	}
	return nil, fmt.Errorf("installing the seccomp filter of linux.seccomp, of %d instructions: %w", len(p.Filter), err)
}
