package kernel

import (
	"unsafe"

	"coffer/internal/bpf"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2) on a listener (linux/seccomp.h) that x/sys/unix lacks.
// SECCOMP_IOCTL_NOTIF_ADDFD is told by its type and number, since its
// structure may grow.
const (
	seccompIDValid      = 0x40082102
	seccompIDValidWrong = 0x80082102 // as older headers have it
	seccompSetFlags     = 0x40082104
	seccompAddFD        = unix.SECCOMP_IOC_MAGIC<<8 | 3
	ioctlTypeAndNumber  = 0xffff
)

// seccompNotif is struct seccomp_notif.
type seccompNotif struct {
	ID    uint64
	PID   uint32
	Flags uint32
	Data  bpf.Data
}

// seccompResponse is struct seccomp_notif_resp.
type seccompResponse struct {
	ID    uint64
	Value int64
	Errno int32
	Flags uint32
}

// seccompAddition is struct seccomp_notif_addfd.
type seccompAddition struct {
	ID                              uint64
	Flags, Source, Target, NewFlags uint32
}

// SeccompSizes are what SECCOMP_GET_NOTIF_SIZES tells: the sizes in bytes of
// struct seccomp_notif, seccomp_notif_resp and seccomp_data.
func SeccompSizes() [3]uint16 {
	return [3]uint16{uint16(unsafe.Sizeof(seccompNotif{})), uint16(unsafe.Sizeof(seccompResponse{})), bpf.DataSize}
}

// IoctlWaits implements vfs.BlockingController.
func (l *SeccompListener) IoctlWaits(cmd uint32) waiter.Mask {
	if cmd == unix.SECCOMP_IOCTL_NOTIF_RECV {
		return waiter.In
	}
	return 0
}

// Ioctl implements vfs.File.
func (l *SeccompListener) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	t, ok := c.(*Task)
	if !ok {
		return 0, unix.EINVAL
	}
	switch cmd {
	case unix.SECCOMP_IOCTL_NOTIF_RECV:
		return 0, l.receive(t, arg)
	case unix.SECCOMP_IOCTL_NOTIF_SEND:
		return 0, l.send(t, arg)
	case seccompIDValid, seccompIDValidWrong:
		id, err := t.CopyInUint64(arg)
		if err != nil {
			return 0, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, err := l.received(id); err != nil {
			return 0, unix.ENOENT
		}
		return 0, nil
	case seccompSetFlags:
		// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP is a hint on scheduling.
		if arg&^unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	if cmd&ioctlTypeAndNumber == seccompAddFD {
		return l.addFD(t, arg, cmd>>16&0x3fff)
	}
	return 0, unix.EINVAL
}

// receive is SECCOMP_IOCTL_NOTIF_RECV: EAGAIN while no call is there, ENOENT
// when none will come, EINVAL unless the structure is zero.
func (l *SeccompListener) receive(t *Task, addr uint64) error {
	var n seccompNotif
	if err := CopyInStruct(t, addr, &n); err != nil {
		return err
	}
	if n != (seccompNotif{}) {
		return unix.EINVAL
	}
	c := l.take()
	if c == nil {
		if l.unused() {
			return unix.ENOENT
		}
		return unix.EAGAIN
	}
	n = seccompNotif{ID: c.id, PID: uint32(c.task.TID()), Data: c.data}
	if err := CopyOutStruct(t, addr, &n); err != nil {
		l.putBack(c.id)
		return err
	}
	// Poll for Out sees it now.
	l.queue.Notify(waiter.Writable)
	return nil
}

// take marks the first call that was not received yet, or returns nil.
func (l *SeccompListener) take() *notifiedCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		if c.state == notifyNew {
			c.state = notifySent
			return c
		}
	}
	return nil
}

// putBack undoes take, if the call still waits.
func (l *SeccompListener) putBack(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, err := l.received(id); err == nil {
		c.state = notifyNew
		l.queue.Notify(waiter.Readable)
	}
}

// send is SECCOMP_IOCTL_NOTIF_SEND.
func (l *SeccompListener) send(t *Task, addr uint64) error {
	var r seccompResponse
	if err := CopyInStruct(t, addr, &r); err != nil {
		return err
	}
	if r.Flags&^unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 || r.Flags != 0 && (r.Errno != 0 || r.Value != 0) {
		return unix.EINVAL
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.received(r.ID)
	if err != nil {
		return err
	}
	c.reply(r.Value, r.Errno, r.Flags)
	return nil
}

// addFD is SECCOMP_IOCTL_NOTIF_ADDFD: it gives the process that waits a
// descriptor for a file of the supervisor's, and returns its number.
func (l *SeccompListener) addFD(t *Task, addr uint64, size uint32) (uintptr, error) {
	var a seccompAddition
	if size < uint32(unsafe.Sizeof(a)) || size > pageSize {
		return 0, unix.EINVAL
	}
	if err := copyInWhole(t, addr, size, &a); err != nil {
		return 0, err
	}
	if a.NewFlags&^unix.O_CLOEXEC != 0 || a.Flags&^(unix.SECCOMP_ADDFD_FLAG_SETFD|unix.SECCOMP_ADDFD_FLAG_SEND) != 0 ||
		a.Target != 0 && a.Flags&unix.SECCOMP_ADDFD_FLAG_SETFD == 0 {
		return 0, unix.EINVAL
	}
	d, err := t.File(int32(a.Source))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	fd, old, fds, err := l.install(&a, d)
	if err != nil {
		return 0, err
	}
	if old != nil {
		_ = fds.Close(t, old)
	}
	return uintptr(fd), nil
}

// install puts d into the table of the process that waits, in place of what is
// returned as old. The table is that of a task that does not go on meanwhile,
// since it needs mu for that.
func (l *SeccompListener) install(a *seccompAddition, d *vfs.FileDescription) (fd int32, old *vfs.FileDescription, fds *vfs.FDTable, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.received(a.ID)
	if err != nil {
		return 0, nil, nil, err
	}
	fds = c.task.fds
	limit, cloexec := c.task.Limit(unix.RLIMIT_NOFILE), a.NewFlags&unix.O_CLOEXEC != 0
	if a.Flags&unix.SECCOMP_ADDFD_FLAG_SETFD != 0 {
		fd = int32(a.Target)
		old, err = fds.InstallAt(d, fd, limit, cloexec)
	} else {
		fd, err = fds.Install(d, 0, limit, cloexec)
	}
	if err == nil && a.Flags&unix.SECCOMP_ADDFD_FLAG_SEND != 0 {
		c.reply(int64(fd), 0, 0)
	}
	return fd, old, fds, err
}

// copyInWhole fills v from a structure of size bytes, no fewer than v has. What
// it has more must be zero: E2BIG.
func copyInWhole[T any](t *Task, addr uint64, size uint32, v *T) error {
	if err := CopyInStruct(t, addr, v); err != nil {
		return err
	}
	rest := make([]byte, size-uint32(unsafe.Sizeof(*v)))
	if _, err := t.CopyIn(addr+uint64(unsafe.Sizeof(*v)), rest); err != nil {
		return err
	}
	for _, b := range rest {
		if b != 0 {
			return unix.E2BIG
		}
	}
	return nil
}
